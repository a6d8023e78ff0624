"""Exceptions as `error` replies and log entries, without paths or patient names."""

from __future__ import annotations

import errno
import traceback
from pathlib import Path

from bioatt.core.errors import BioAttError, Cancelled, InputError


def outline(error: BaseException) -> str:
    """A traceback without paths and source lines, which can contain patient names."""
    frames = [
        f"  {Path(frame.filename).name}:{frame.lineno} in {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
    ]
    return "\n".join([*frames, f"{type(error).__name__}: {_message(error)}"])


def _message(error: BaseException) -> str:
    """The message in one line; for an OSError only its reason, without the path."""
    text = error.strerror if isinstance(error, OSError) else str(error)
    return " ".join((text or "").split()) or type(error).__name__


def describe(error: BaseException) -> dict[str, str]:
    """Fields of an `error` reply: kind and message (one line)."""
    message = _message(error)
    if isinstance(error, Cancelled):
        return {"kind": "cancelled", "message": message}
    if isinstance(error, InputError):
        return {"kind": "input", "message": message}
    if isinstance(error, MemoryError) or "memory ran out" in message or "out of memory" in message.lower():
        return {"kind": "memory", "message": message}
    if isinstance(error, BioAttError):
        return {"kind": "engine", "message": message}
    if isinstance(error, ImportError):
        return {"kind": "install", "message": message}
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return {"kind": "disk", "message": "no space left in the folder for temporary files"}
    return {"kind": "internal", "message": f"{type(error).__name__}: {message}"}
