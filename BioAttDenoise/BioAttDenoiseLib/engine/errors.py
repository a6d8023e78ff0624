"""Errors of the engine, with what the user can do about them."""

from __future__ import annotations

try:
    from slicer.i18n import tr as _
except ImportError:  # outside Slicer

    def _(text: str) -> str:
        return text


def hint(kind: str) -> str:
    """What the user can do about an error of a kind; empty if the message already says so."""
    if kind == "memory":
        return _(
            "The computer ran out of memory. Close other programs, denoise fewer slices, or choose a smaller tile "
            "size under Advanced."
        )
    if kind == "disk":
        return _(
            "The disk is full. Free some space, or choose another folder for temporary files in "
            "Edit / Application Settings / Modules."
        )
    if kind == "install":
        return _('The engine installation is incomplete. Press "Check installation" under Advanced.')
    if kind == "crash":
        return _(
            "The denoising process ended unexpectedly. Your scene is unchanged; press Denoise to try again. "
            "The log under Advanced has details."
        )
    if kind == "killed":
        return _(
            "The denoising process was ended by the operating system. Your scene is unchanged; press Denoise to try "
            "again. If it happens again, memory may be low: close other programs, or choose a smaller tile size "
            "under Advanced. The log there has details."
        )
    if kind == "internal":
        return _(
            "This is a bug in BioAttDenoise. Your scene is unchanged; please report it with the log under Advanced."
        )
    return ""


class EngineError(Exception):
    """A job that failed. kind: input, memory, disk, install, crash, killed, engine, internal, protocol; str() is the
    message for the user.
    """

    def __init__(self, kind: str, message: str) -> None:
        self.kind = kind
        super().__init__(message)


def as_engine_error(error: BaseException) -> EngineError | ValueError:
    """Convert any exception to one the panel can show; ValueError and EngineError are returned unchanged."""
    if isinstance(error, (EngineError, ValueError)):
        return error
    if isinstance(error, MemoryError):
        return EngineError("memory", hint("memory"))
    return EngineError("internal", f"{type(error).__name__}: {error}\n{hint('internal')}")
