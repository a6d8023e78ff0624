"""Contents of the job queue: requests to the engine process, and jobs that wait for the replies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Request:
    """A request of the worker protocol. Its fields may hold arrays at any depth; the queue writes each to a file and
    sends the file name.
    """

    kind: str
    fields: dict[str, Any] = field(default_factory=dict)

    def arrays(self) -> list[np.ndarray]:
        """The arrays among the fields."""
        found: list[np.ndarray] = []
        _replaced(self.fields, found.append)
        return found

    def named(self, names: list[str]) -> dict[str, Any]:
        """The fields, with each array replaced by its file name."""
        left = iter(names)
        return _replaced(self.fields, lambda array: next(left))


class Kind(Enum):
    """What a job is for."""

    BACKGROUND = "background"
    """Detects packages and devices, or preloads a model."""
    PREVIEW = "preview"
    STRENGTH = "strength"
    """Measures the noise of a scan, which defines low, medium and high."""
    MAPS = "maps"
    ORGANS = "organs"
    """Finds and measures organs."""
    DENOISE = "denoise"
    FILES = "files"
    """Works on files only: downloads or removes a model, or denoises a folder. Leaves the scene alone."""

    @property
    def rank(self) -> int:
        """A job replaces a waiting job of the same or lower rank."""
        return {"background": 0, "denoise": 2, "files": 2}.get(self.value, 1)

    @property
    def yields(self) -> bool:
        """Whether it waits for the running job and yields to any other that starts."""
        return self in (Kind.PREVIEW, Kind.STRENGTH)


class Phase(Enum):
    """Progress of the denoising or file job that the user started."""

    IDLE = "idle"
    PREPARING = "preparing"
    RUNNING = "running"
    CANCELLING = "cancelling"


class Stage(Enum):
    """Steps of a job before its first `progress`."""

    SENDING = "sending"
    """Writing the voxels for the engine process."""
    STARTING = "starting"
    """The engine process loads the model and analyses the whole volume."""


@dataclass
class Job:
    """A request in progress; without a request, it waits until the packages of `needs` are installed. Exactly one of
    on_result, on_error and on_cancelled is called, once, on the main thread.

    needs: a source of anatomy whose packages must be installed first. install: whether the user is asked to install
    them.
    """

    kind: Kind
    request: Request | None
    on_result: Callable[[dict[str, Any]], None]
    on_error: Callable[[Exception], None]
    on_cancelled: Callable[[], None]
    on_progress: Callable[[dict[str, Any]], None]
    needs: str | None = None
    install: bool = False
    files: list[str] = field(default_factory=list)
    identity: int | None = None
    cancelled_at: float | None = None
    stage: Stage | None = None


def _replaced(value: Any, replace: Callable[[np.ndarray], Any]) -> Any:
    """A copy of nested dicts, with every array replaced by `replace(array)`."""
    if isinstance(value, np.ndarray):
        return replace(value)
    if isinstance(value, dict):
        return {key: _replaced(each, replace) for key, each in value.items()}
    return value
