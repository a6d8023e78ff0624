"""The request `organs` (Docs/worker_protocol.md)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bioatt.worker import messages

Save = Callable[[str, np.ndarray], str]
"""save(name, array) puts an array into the private folder and returns its name."""


def measured(request: dict[str, Any], folder: Path, device: str, cancelled: Callable[[], bool], save: Save) -> Any:
    """Fields of the result of `organs`, but for the seconds. Raises InputError, Cancelled."""
    from bioatt.anatomy.measure import MUSCLE_NAME, measure_organs
    from bioatt.anatomy.sources import label_volume, organs_of, probability_volume
    from bioatt.core.canonical import canonical
    from bioatt.io.grids import check_same_grid

    scan = messages.volume_of(request["volume"], folder)
    after = None if request.get("after") is None else messages.volume_of(request["after"], folder)
    if after is not None:
        check_same_grid(scan, after)
    form = canonical(scan)
    source = messages.anatomy_of(request.get("anatomy"), folder, device)
    organs = organs_of(source, form.volume, scan, cancelled=cancelled)
    count = form.volume.shape[0]
    labels = label_volume(organs, count)
    table = measure_organs(
        labels,
        form.volume,
        None if after is None else canonical(after).volume,
        reference=request.get("reference") or MUSCLE_NAME,
        anatomy=organs.source,
        cancelled=cancelled,
    )
    identity = request["id"]
    maps = [
        {"name": name, "array": save(f"map-{identity}-{k}.npy", form.undo(probability_volume(organs, name, count)))}
        for k, name in enumerate(request.get("maps") or ())
    ]
    return {
        "table": table,
        "array": save(f"labels-{identity}.npy", form.undo(labels)),
        "segments": _segments(labels),
        "maps": maps,
        "anatomy": organs.source,
    }


def _segments(labels: np.ndarray) -> list[dict[str, Any]]:
    from bioatt.anatomy.terminology import segments_of

    return [
        {
            "value": segment.value,
            "name": segment.name,
            "color": [part / 255 for part in segment.color],
            "terminology": segment.terminology,
        }
        for segment in segments_of(np.unique(labels))
    ]
