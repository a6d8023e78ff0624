"""Silence for libraries that write to the process's stderr past Python: decoders in C and C++."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

_LOCK = RLock()


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Nothing reaches file descriptor 2 in here; where it is closed, nothing is done."""
    with _LOCK:
        try:
            kept = os.dup(2)
        except OSError:
            yield
            return
        try:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 2)
            os.close(null)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
