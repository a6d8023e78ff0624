"""The request `organs` (Docs/worker_protocol.md)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bioatt.worker import messages

if TYPE_CHECKING:
    from bioatt.core.segments import Segment

Save = Callable[[str, np.ndarray], str]
"""save(name, array) writes an array to the private folder and returns its name."""


def measured(
    request: dict[str, Any], folder: Path, device: str, cancelled: Callable[[], bool], save: Save
) -> dict[str, Any]:
    """Fields of the result of `organs`, except the seconds. Raises InputError, Cancelled."""
    from bioatt.anatomy.measure import MUSCLE_NAME
    from bioatt.anatomy.organs import find_organs

    after, identity = request.get("after"), request["id"]
    found = find_organs(
        messages.volume_of(request["volume"], folder),
        messages.anatomy_of(request.get("anatomy"), folder, device),
        after=None if after is None else messages.volume_of(after, folder),
        reference=request.get("reference") or MUSCLE_NAME,
        cancelled=cancelled,
    )
    return {
        "table": found.table,
        "array": save(f"labels-{identity}.npy", found.labels),
        "segments": [_described(segment) for segment in found.segments],
        "maps": [
            {"name": name, "array": save(f"map-{identity}-{k}.npy", found.probability(name))}
            for k, name in enumerate(request.get("maps") or ())
        ],
        "anatomy": found.probabilities.source,
    }


def _described(segment: Segment) -> dict[str, Any]:
    return {
        "value": segment.value,
        "name": segment.name,
        "color": [part / 255 for part in segment.color],
        "terminology": segment.terminology,
    }
