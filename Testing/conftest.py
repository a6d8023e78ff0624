"""What every storey's tests share."""

from __future__ import annotations

import locale
import sys
from collections.abc import Iterator

import pytest


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
