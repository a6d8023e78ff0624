"""Fixtures and settings shared by all tests."""

from __future__ import annotations

import locale
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("BIOATT_TUNING", "off")  # the fastest settings differ from run to run

SLOW_TESTS = Path(__file__).with_name("slow_tests.txt")
"""Test functions that `make test-fast` leaves out because of the total CPU time of their cases."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests in SLOW_TESTS as slow, in addition to those marked in their files."""
    slow = set(SLOW_TESTS.read_text(encoding="utf-8").split())
    for item in items:
        if getattr(item, "originalname", item.name) in slow:
            item.add_marker("slow")


@pytest.fixture(autouse=True)
def torch_as_usual() -> Iterator[None]:
    """Undo what changes PyTorch for the whole process and thus for the other tests: the command line's flushing of
    denormals, and the number of threads that an engine chooses, on which the last digits of sums depend.
    """
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else None
    yield
    if torch := sys.modules.get("torch"):
        torch.set_flush_denormal(False)
        if threads and threads != torch.get_num_threads():
            torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def locale_as_usual() -> Iterator[None]:
    """Restore the locale: SimpleITK's DICOM writer, used only in tests, leaves the process in the ASCII C locale."""
    before = locale.setlocale(locale.LC_CTYPE)
    yield
    locale.setlocale(locale.LC_CTYPE, before)
