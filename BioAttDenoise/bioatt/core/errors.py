"""Errors that a caller can act on. The command line turns each into one line and an exit status (see `cli`)."""

from __future__ import annotations

from collections.abc import Sequence


class BioAttError(Exception):
    """Base class of the engine's errors. The message is one line that states the problem and how to fix it."""


class InputError(BioAttError, ValueError):
    """The caller's input cannot be used (exit status 2): a wrong file, an unknown model, an option out of range."""


class SeveralVolumesError(InputError):
    """A file or series holds several volumes and none was chosen. volumes: their distinguishing labels, in order."""

    def __init__(self, message: str, volumes: Sequence[str]) -> None:
        super().__init__(message)
        self.volumes = tuple(volumes)


class Cancelled(BioAttError):
    """The caller's `cancelled()` returned True; nothing was written (exit status 130)."""
