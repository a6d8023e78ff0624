"""Noise within an organ: the local standard deviation where the organ is homogeneous.

A slice is split by a Gaussian of SMOOTHED_MM into coarse and fine detail. In pure noise the ratio of their variances is
constant, whatever the noise level; vessels and borders add coarse detail. Of all windows within the eroded organ, the
half with the lowest ratio of coarse to fine detail is used, so that windows are selected by their content and not by
their noise. The organ's noise is the median of their standard deviations. The windows are selected in the scan before
denoising, and the same windows are measured afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, uniform_filter

from bioatt.anatomy.regions import box_of, voxels_by_value
from bioatt.core.errors import Cancelled

WINDOWS_MM = (14.0, 10.0, 7.0)
"""Sides of the windows: an organ is measured in the largest in which it is homogeneous. The first is about the size of
a region drawn by hand; the noise that remains after denoising is coarse, and smaller windows miss part of it."""
SMOOTHED_MM = 2.0
STEP_MM = 3.0
"""Noise is measured on slices at least this far apart."""
CHOSEN = 0.5
LEAST_WINDOWS = 20
TEXTURED = 4.0
"""An organ is not homogeneous if its windows have a ratio of coarse to fine detail this many times that of the scan's
smoothest organ."""
FINER = 9.0
"""Nor is an organ with this many times the fine detail of the organ with the least: noise varies less within a scan."""

Array = NDArray[np.float32]


@dataclass(frozen=True)
class OrganNoise:
    """Noise of an organ.

    sd: HU, for each scan. coarseness: ratio of the variances of coarse and fine detail in the selected windows. fine:
    variance of fine detail, HU². bound: no window is homogeneous, so anatomy contributes and `sd` is an upper bound.
    """

    sd: tuple[float, ...]
    coarseness: float
    fine: float
    bound: bool = False


def noise_by_value(
    scans: Sequence[NDArray],
    regions: NDArray[np.uint8],
    spacing: tuple[float, float, float],
    cancelled: Callable[[], bool] | None = None,
) -> dict[int, OrganNoise]:
    """Noise for each value of `regions` (z, y, x), eroded labels, that contains enough windows.

    scans: HU (z, y, x); the first determines the windows. Raises Cancelled when `cancelled()` returns True.
    """
    found: dict[int, OrganNoise] = {}
    open_values = {int(value) for value in np.flatnonzero(voxels_by_value(regions)) if value}
    smoothest: set[int] = set()
    for side_mm in WINDOWS_MM:
        measured = _in_windows(scans, regions, spacing, side_mm, open_values | smoothest, cancelled)
        if not measured:
            continue
        smoothest = smoothest & measured.keys() or {min(measured, key=lambda value: measured[value].coarseness)}
        coarsest = TEXTURED * min(measured[value].coarseness for value in smoothest)
        finest = FINER * min(one.fine for one in [*found.values(), *measured.values()])
        for value in open_values & measured.keys():
            own = measured[value]
            found[value] = replace(own, bound=own.coarseness > coarsest or own.fine > finest)
        open_values -= {value for value, noise in found.items() if not noise.bound}
    return found


def _in_windows(
    scans: Sequence[NDArray],
    regions: NDArray[np.uint8],
    spacing: tuple[float, float, float],
    side_mm: float,
    values: set[int],
    cancelled: Callable[[], bool] | None,
) -> dict[int, OrganNoise]:
    """Noise for these values of `regions` in windows of one size."""
    side = max(5, 2 * round(side_mm / (spacing[0] + spacing[1]) - 0.5) + 1)  # odd, in pixels
    sigma = SMOOTHED_MM / spacing[1], SMOOTHED_MM / spacing[0]
    held: dict[int, list[list[Array]]] = {}
    for k in range(0, len(regions), max(1, int(STEP_MM / spacing[2]))):
        if cancelled is not None and cancelled():
            raise Cancelled("cancelled")
        fitting = {value: _windows(regions[k] == value, side) for value in values}
        windows = {value: inside for value, inside in fitting.items() if inside is not None}
        if not windows:
            continue
        box = box_of(np.any([*windows.values()], axis=0), side // 2 + int(4 * max(sigma)) + 1)
        first = scans[0][k][box].astype(np.float32)
        smooth = gaussian_filter(first, sigma)
        fine = np.maximum(_variance(first - smooth, side), 1e-3)
        coarseness = (_variance(smooth, side) / fine).astype(np.float32)
        variances = [_variance(scan[k][box].astype(np.float32), side) for scan in scans]
        for value, inside in windows.items():
            held.setdefault(value, []).append([one[inside[box]] for one in (coarseness, fine, *variances)])
    measured = {value: _noise(parts) for value, parts in held.items()}
    return {value: noise for value, noise in measured.items() if noise is not None}


def _windows(region: NDArray[np.bool_], side: int) -> NDArray[np.bool_] | None:
    """(y, x) bool: centres of the windows that lie in a region; None if there are none."""
    if np.count_nonzero(region) < side * side:
        return None
    box = box_of(region, 0)
    share = uniform_filter(region[box].astype(np.float32), side, mode="constant")
    inside = np.zeros_like(region)
    inside[box] = share > 1 - 0.5 / side**2
    return inside if inside.any() else None


def _noise(parts: list[list[Array]]) -> OrganNoise | None:
    """Noise from coarseness, fine detail and the scans' variances in each slice's windows; None for too few windows."""
    coarseness, fine, *variances = (np.concatenate(column) for column in zip(*parts, strict=True))
    if coarseness.size < LEAST_WINDOWS:
        return None
    chosen = coarseness <= np.quantile(coarseness, CHOSEN)
    sd = tuple(float(np.sqrt(np.median(variance[chosen]))) for variance in variances)
    return OrganNoise(sd, float(np.median(coarseness[chosen])), float(np.median(fine[chosen])))


def _variance(image: Array, side: int) -> Array:
    """Variance over side × side pixels, corrected for sample size."""
    values = np.clip(image, -1100, 3100) - 40  # centred so that float32 squares keep the variance despite rounding
    mean = uniform_filter(values, side)
    return np.maximum(uniform_filter(values * values, side) - mean * mean, 0) * np.float32(side**2 / (side**2 - 1))
