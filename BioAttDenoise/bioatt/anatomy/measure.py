"""Organ tables: volume, mean, noise, contrast-to-noise ratio and mean shift by organ, before and after denoising."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bioatt.anatomy.descriptors import ANATOMY_SET, DescriptorSet, load_descriptor_set
from bioatt.anatomy.noise import OrganNoise, noise_by_value
from bioatt.anatomy.regions import MUSCLE, eroded, voxels_by_value, with_muscle
from bioatt.core.errors import InputError
from bioatt.core.volume import Volume

MUSCLE_NAME = "muscle"
BLOCK_MM = 10.0
"""Side of the cubes whose means give the spread of the residual."""
STANDARD_ERRORS = 3.0
LEAST_SHIFT_HU = 1.0
"""Shift of a mean that is always allowed, since CT stores whole HU."""
_VALUES = 256


def measure_organs(
    labels: NDArray[np.uint8],
    before: Volume,
    after: Volume | None = None,
    *,
    reference: str = MUSCLE_NAME,
    anatomy: str = "labels",
    cancelled: Callable[[], bool] | None = None,
) -> dict[str, Any]:
    """Measure the table that `bioatt organs --json` writes (Docs/organs.md), for canonical volumes on one grid.

    labels: (z, y, x) as `label_volume`. reference: tissue for contrast, an organ or the muscle next to the spine.
    Means, noise and shift refer to the eroded organ. A mean may shift by STANDARD_ERRORS standard errors of the mean
    residual, estimated from the spread of its means over cubes of BLOCK_MM, but at least by LEAST_SHIFT_HU.
    Raises InputError if the grids differ or the reference is unknown, Cancelled when `cancelled()` returns True.
    """
    scans = [before] if after is None else [before, after]
    if any(scan.shape != labels.shape for scan in scans):
        raise InputError("the denoised scan has a different grid from the scan: give the one denoised from it")
    names = load_descriptor_set(ANATOMY_SET)
    against = _value_of(reference, names)
    regions = eroded(with_muscle(labels, before.hu, before.spacing, 1 + names.column_named("spine")), before.spacing)
    images = [scan.hu for scan in scans]
    noise = noise_by_value(images, regions, before.spacing, cancelled)
    means, shifts = _means(images, regions), _shifts(images, regions, before.spacing)
    compared = [_compared(means, noise, against, k) for k in range(2)]
    counts, measured = voxels_by_value(labels), voxels_by_value(regions)
    voxel_ml = float(np.prod(before.spacing)) / 1000
    rows = []
    for value in (int(v) for v in np.flatnonzero(counts) if v):
        rows.append(
            {
                "organ": names.descriptors[value - 1],
                "value": value,
                "volume_ml": float(counts[value] * voxel_ml) if before.even else None,
                "cut_off": bool((labels[[0, -1]] == value).any()),
                "measured_ml": float(measured[value] * voxel_ml) if before.even else None,
                "noise_is_bound": value in noise and noise[value].bound,
                **_numbers(means, noise, compared, value),
                **shifts.get(value, {"shift": None, "shift_limit": None, "moved": None}),
            }
        )
    return {
        "anatomy": anatomy,
        "reference": reference if against == MUSCLE else names.descriptors[against - 1],
        "reference_before": compared[0],
        "reference_after": compared[1],
        "organs": rows,
        "warnings": _warnings(rows, before),
        "research_use_only": True,
    }


def _value_of(reference: str, names: DescriptorSet) -> int:
    if reference.strip().lower() == MUSCLE_NAME:
        return MUSCLE
    try:
        return 1 + names.column_named(reference)
    except InputError as error:
        raise InputError(f"reference: {error}, or {MUSCLE_NAME}") from None


def _means(images: Sequence[NDArray], regions: NDArray[np.uint8]) -> list[NDArray[np.float64]]:
    """Mean HU of each scan by value, NaN for absent values."""
    counts = voxels_by_value(regions)
    found = []
    for image in images:
        sums = np.zeros(_VALUES)
        for plane, region in zip(image, regions, strict=True):
            sums += np.bincount(region.ravel(), weights=plane.ravel(), minlength=_VALUES)
        found.append(np.where(counts > 0, sums / np.maximum(counts, 1), np.nan))
    return found


def _compared(
    means: list[NDArray[np.float64]], noise: dict[int, OrganNoise], against: int, scan: int
) -> dict[str, float] | None:
    if scan >= len(means) or against not in noise:
        return None
    return {"mean": float(means[scan][against]), "noise": noise[against].sd[scan]}


def _numbers(
    means: list[NDArray[np.float64]],
    noise: dict[int, OrganNoise],
    compared: list[dict[str, float] | None],
    value: int,
) -> dict[str, float | None]:
    """Mean, noise and contrast-to-noise ratio |mean - reference| / noise of the reference, for both scans."""
    found: dict[str, float | None] = {}
    for k, name in enumerate(("before", "after")):
        mean = float(means[k][value]) if k < len(means) and np.isfinite(means[k][value]) else None
        sd = noise[value].sd[k] if k < len(means) and value in noise else None
        to = compared[k]
        cnr = abs(mean - to["mean"]) / to["noise"] if mean is not None and to is not None and to["noise"] > 0 else None
        found |= {f"mean_{name}": mean, f"noise_{name}": sd, f"cnr_{name}": cnr}
    return found


def _shifts(
    images: Sequence[NDArray], regions: NDArray[np.uint8], spacing: tuple[float, float, float]
) -> dict[int, dict[str, Any]]:
    """Shift of each value's mean, its limit by noise, and whether it exceeds that, by cubes; {} for one scan."""
    if len(images) < 2:
        return {}
    side = [max(1, round(BLOCK_MM / step)) for step in spacing]
    across = np.arange(regions.shape[2]) // side[0]
    down = np.arange(regions.shape[1]) // side[1]
    place = down[:, None] * (across[-1] + 1) + across
    blocks = int(place.max()) + 1
    sums: dict[int, list[NDArray[np.float64]]] = {}
    counts: dict[int, list[NDArray[np.float64]]] = {}
    for start in range(0, len(regions), side[2]):
        slab = slice(start, start + side[2])
        inside = regions[slab] > 0
        key = (regions[slab].astype(np.int64) * blocks + place)[inside]
        change = images[1][slab][inside].astype(np.float64) - images[0][slab][inside]
        total = np.bincount(key, change, minlength=_VALUES * blocks).reshape(_VALUES, blocks)
        count = np.bincount(key, minlength=_VALUES * blocks).reshape(_VALUES, blocks)
        for value in np.flatnonzero(count.any(axis=1)):
            there = count[value] > 0
            sums.setdefault(int(value), []).append(total[value][there])
            counts.setdefault(int(value), []).append(count[value][there].astype(float))
    return {value: _shift(np.concatenate(sums[value]), np.concatenate(counts[value])) for value in sums}


def _shift(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> dict[str, Any]:
    """Shift from the sums of change and the voxel counts of an organ's cubes."""
    shift = float(sums.sum() / counts.sum())
    if len(sums) < 2:
        return {"shift": shift, "shift_limit": None, "moved": None}
    # variance of a ratio of sums over independent cubes (Cochran, Sampling Techniques, 3rd ed., section 6.3)
    spread = ((sums - shift * counts) ** 2).sum() * len(sums) / (len(sums) - 1)
    limit = max(LEAST_SHIFT_HU, STANDARD_ERRORS * float(np.sqrt(spread)) / float(counts.sum()))
    return {"shift": shift, "shift_limit": limit, "moved": abs(shift) > limit}


def _warnings(rows: list[dict[str, Any]], volume: Volume) -> list[str]:
    found = [
        f"{row['organ']}: the mean moved by {row['shift']:+.1f} HU, noise allows {row['shift_limit']:.1f}: compare both"
        for row in rows
        if row["moved"]
    ]
    if not rows:
        found.append("no organ was found")
    if not volume.even:
        found.append("slices are missing or unevenly spaced: organ volumes are not measured")
    return found
