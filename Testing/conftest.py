"""What every storey's tests share."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def denormals_as_usual() -> Iterator[None]:
    """The command line flushes denormal numbers for its whole process, which here is the tests' too."""
    yield
    if torch := sys.modules.get("torch"):
        torch.set_flush_denormal(False)
