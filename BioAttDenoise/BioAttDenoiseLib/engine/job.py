"""What the queue of jobs holds: requests for the engine's process, and jobs that wait for their answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Request:
    """A request of the worker's protocol. Its fields may hold arrays, at any depth: the queue puts each into a file,
    whose name is sent.
    """

    kind: str
    fields: dict[str, Any] = field(default_factory=dict)

    def arrays(self) -> list[np.ndarray]:
        """The arrays among the fields."""
        found: list[np.ndarray] = []
        _replaced(self.fields, found.append)
        return found

    def named(self, names: list[str]) -> dict[str, Any]:
        """The fields, with names in the places of the arrays."""
        left = iter(names)
        return _replaced(self.fields, lambda array: next(left))


class Kind(Enum):
    """What a job is for."""

    BACKGROUND = "background"
    """Finds out what this computer has, or loads a model before it is needed."""
    PREVIEW = "preview"
    STRENGTH = "strength"
    """The noise of a scan is measured, for what low, medium and high mean."""
    MAPS = "maps"
    ORGANS = "organs"
    """Organs are found and measured."""
    DENOISE = "denoise"
    FILES = "files"
    """Files alone: those of a model come or go, or a folder is denoised. No matter of the scene."""

    @property
    def rank(self) -> int:
        """A job takes the place of one that waits with the same rank or a lower one."""
        return {"background": 0, "denoise": 2, "files": 2}.get(self.value, 1)

    @property
    def yields(self) -> bool:
        """Whether it waits for what runs, and makes way for whatever else begins."""
        return self in (Kind.PREVIEW, Kind.STRENGTH)


class Phase(Enum):
    """How far the denoising or file job is that the user started."""

    IDLE = "idle"
    PREPARING = "preparing"
    RUNNING = "running"
    CANCELLING = "cancelling"


class Stage(Enum):
    """What is done for a job before its first `progress`."""

    SENDING = "sending"
    """The voxels are written for the engine's process."""
    STARTING = "starting"
    """The engine's process loads the model and looks at the whole volume."""


@dataclass
class Job:
    """A request on its way; without a request, the wait for what `needs` names. Exactly one of on_result, on_error and
    on_cancelled is called, once, on the main thread.

    needs: a source of anatomy whose packages must be there first. install: whether the user is asked to install them.
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
    """A copy of nested dicts, with every array exchanged for what `replace` answers."""
    if isinstance(value, np.ndarray):
        return replace(value)
    if isinstance(value, dict):
        return {key: _replaced(each, replace) for key, each in value.items()}
    return value
