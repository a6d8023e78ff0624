"""Measurements on patient scans before and after denoising: NPS in organs, HU by tissue and the structure check."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bioatt.core.metrics import hu_bias
from bioatt.core.noise import noise_map
from bioatt.core.structure import removed_structure
from bioatt.core.volume import Volume
from bioatt.physics.nps import nps, patches_inside

PATCHES_PX = (32, 24, 16)
MIN_PATCHES = 6
UNIFORM_HU = (-150.0, 200.0)
"""Mean HU of organs whose noise spectrum is measured; excludes lung and bone."""


def measure(scan: Volume, after: Volume | None, regions: NDArray[np.uint8], names: dict[int, str]) -> dict[str, Any]:
    """{"nps": {organ: {"before", "after": {"frequency", "value", "peak", "mean"}, "patches"}}, "hu_by_tissue": {tissue:
    mean change}, "structure": {"voxels", "slices", "alarm"}, "images": …} of axial volumes on one grid.

    regions: eroded organ labels (z, y, x), names: of its values. images: {"before", "after"} (y, x), noise maps,
    medians over the slices. HU by tissue and the structure check need `after`, else they are None.
    """
    scans = {"before": scan.hu} | ({} if after is None else {"after": after.hu})
    spectra = {}
    for value, name in names.items():
        inside = regions == value
        if inside.any() and UNIFORM_HU[0] < scan.hu[inside].mean() < UNIFORM_HU[1]:
            found = _spectra(scans, inside, scan.pixel_mm)
            if found is not None:
                spectra[name] = found
    result: dict[str, Any] = {
        "nps": spectra,
        "images": {name: np.median(noise_map(hu), axis=0) for name, hu in scans.items()},
        "hu_by_tissue": None,
        "structure": None,
    }
    if after is not None:
        check = removed_structure(scan.hu, after.hu, scan.spacing)
        result["hu_by_tissue"] = hu_bias(scan.hu, after.hu)
        result["structure"] = {
            "voxels": int(check.marks.sum()),
            "slices": int(check.marks.any((1, 2)).sum()),
            "alarm": check.alarm,
        }
    return result


def _spectra(scans: dict[str, NDArray], inside: NDArray[np.bool_], pixel_mm: float) -> dict[str, Any] | None:
    """Radial spectra of each scan in a region; None if no patches fit."""
    for side in PATCHES_PX:
        patches = {name: patches_inside(hu, inside, side) for name, hu in scans.items()}
        count = len(patches["before"])
        if count >= MIN_PATCHES:
            curves = {name: nps(one, pixel_mm) for name, one in patches.items()}
            return {
                "patches": count,
                **{
                    name: {
                        "frequency": one.frequency.tolist(),
                        "value": one.value.tolist(),
                        "peak": one.peak,
                        "mean": one.mean,
                    }
                    for name, one in curves.items()
                },
            }
    return None
