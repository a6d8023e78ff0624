"""What every storey's tests share."""

from __future__ import annotations

import locale
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("BIOATT_TUNING", "off")  # what is fastest differs from run to run

SLOW_TESTS = Path(__file__).with_name("slow_tests.txt")
"""Names of the test functions that `make test-fast` leaves out, for the CPU time of all their cases."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of SLOW_TESTS as slow, beside those that are marked where they are."""
    slow = set(SLOW_TESTS.read_text(encoding="utf-8").split())
    for item in items:
        if getattr(item, "originalname", item.name) in slow:
            item.add_marker("slow")


@pytest.fixture(autouse=True)
def denormals_as_usual() -> Iterator[None]:
    """The command line flushes denormal numbers for its whole process, which here is the tests' too."""
    yield
    if torch := sys.modules.get("torch"):
        torch.set_flush_denormal(False)


@pytest.fixture(autouse=True)
def locale_as_usual() -> Iterator[None]:
    """SimpleITK's DICOM writer, which tests alone use, leaves the process in the C locale, where text is ASCII."""
    before = locale.setlocale(locale.LC_CTYPE)
    yield
    locale.setlocale(locale.LC_CTYPE, before)
