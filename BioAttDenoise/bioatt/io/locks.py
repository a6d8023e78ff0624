"""Locks between processes, on one machine or on several that share a file system with locks.

The system releases them when their process ends, however it ends.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bioatt.core.errors import InputError


class BusyError(InputError):
    """Another process holds the lock."""


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold a lock file, which is created and removed again; messages call the locked object `what`.

    Raises BusyError immediately if another process holds the lock, OSError if the file cannot be created.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(descriptor)
            if _same(descriptor, path):
                break
        except OSError:
            os.close(descriptor)
            raise BusyError(f"{what} is in use by another process") from None
        os.close(descriptor)  # the previous process has removed the file meanwhile
    try:
        yield
    finally:
        with suppress(OSError):  # Windows cannot remove an open file
            path.unlink()
        os.close(descriptor)


def _same(descriptor: int, path: Path) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), path.stat())
    return False


def _lock(descriptor: int) -> None:
    """Take the lock. Raises OSError if another process has it."""
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
