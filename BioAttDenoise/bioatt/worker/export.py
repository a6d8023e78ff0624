"""Export of a client's denoised volume as a DICOM series derived from the original series."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bioatt.core.canonical import canonical
from bioatt.core.errors import InputError
from bioatt.core.volume import Volume
from bioatt.io.dicom.read import read_series
from bioatt.io.dicom.write import write_derived_series


def export(request: dict[str, Any], volume_of: Callable[[dict[str, Any]], Volume]) -> dict[str, Any]:
    """Write the request's `volume` as a series derived from `source` into the folder `output` (worker_protocol.md).

    Raises InputError if the source is a different scan, or as `read_series` and `write_derived_series`.
    """
    source = read_series(Path(request["source"]["path"]), request["source"].get("series"))
    warnings = write_derived_series(
        on_grid_of(source, volume_of(request["volume"])),
        Path(request["output"]["path"]),
        model_name=request["model"]["name"],
        model_version=request["model"]["version"],
        strength=float(request["strength"]),
        strength_asked=request.get("strength_asked") or "",
        organ_strength=request.get("organ_strength"),
    )
    return {"slices": len(source.sources), "warnings": list(warnings)}


def on_grid_of(source: Volume, volume: Volume) -> Volume:
    """The source's slices with another volume's HU, whatever its axis order.

    Raises InputError if the two do not cover the same voxels.
    """
    there, given = canonical(source), canonical(volume)
    same = there.volume.shape == given.volume.shape and np.allclose(
        there.volume.ijk_to_lps, given.volume.ijk_to_lps, atol=0.01
    )
    if not same:
        raise InputError(
            "the DICOM series does not match the volume's slices: choose the series that it was denoised from"
        )
    return source.with_hu(there.undo(given.volume.hu))
