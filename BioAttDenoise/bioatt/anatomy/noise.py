"""Noise within an organ: the local standard deviation where the organ is homogeneous.

A slice is split by a Gaussian of SMOOTHED_MM into coarse and fine detail. In noise alone the variances of the two stand
in a constant proportion, whatever the noise's size; vessels and borders add coarse detail. Of all windows that lie
within the eroded organ, the half with the least coarse for its fine detail counts, so that windows are chosen by what
they hold and not by how quiet they are. The organ's noise is the median of their standard deviation. The windows are
chosen in the scan before denoising, and the same are measured after it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, uniform_filter

WINDOWS_MM = (14.0, 10.0, 7.0)
"""Sides of the windows, about those of a region drawn by hand: an organ is measured in the largest that fit into it.
What is left of denoised noise is coarse, and smaller windows miss a part of it."""
SMOOTHED_MM = 2.0
STEP_MM = 3.0
"""Noise is measured on slices that lie at least this far apart."""
CHOSEN = 0.5
LEAST_WINDOWS = 20
TEXTURED = 4.0
"""An organ whose chosen windows have this many times the coarse detail of the scan's most homogeneous organ has anatomy
in every window: its noise is at most what is measured."""

Array = NDArray[np.float32]


@dataclass(frozen=True)
class OrganNoise:
    """sd: HU of each scan. coarseness: variance of coarse over that of fine detail in the chosen windows. side_mm: the
    windows' side."""

    sd: tuple[float, ...]
    coarseness: float
    side_mm: float


def noise_by_value(
    scans: Sequence[NDArray], regions: NDArray[np.uint8], spacing: tuple[float, float, float]
) -> dict[int, OrganNoise]:
    """Noise in each value of `regions` (z, y, x), eroded labels, that holds enough windows.

    scans: HU (z, y, x), the first of which chooses the windows.
    """
    found: dict[int, OrganNoise] = {}
    for side_mm in WINDOWS_MM:
        found = _in_windows(scans, regions, spacing, side_mm, [*found]) | found
    return found


def textured(noise: Mapping[int, OrganNoise]) -> set[int]:
    """The values with anatomy in every window (see TEXTURED)."""
    widest = max((one.side_mm for one in noise.values()), default=0.0)
    smoothest = min((one.coarseness for one in noise.values() if one.side_mm == widest), default=0.0)
    return {value for value, one in noise.items() if one.coarseness > TEXTURED * smoothest}


def _in_windows(
    scans: Sequence[NDArray],
    regions: NDArray[np.uint8],
    spacing: tuple[float, float, float],
    side_mm: float,
    known: list[int],
) -> dict[int, OrganNoise]:
    """`noise_by_value` in windows of one side, of the values that are not known yet."""
    side = max(5, 2 * round(side_mm / (spacing[0] + spacing[1]) - 0.5) + 1)  # odd, in pixels
    stride = max(1, int(STEP_MM / spacing[2]))
    held: dict[int, list[tuple[Array, ...]]] = {}
    for k in range(0, len(regions), stride):
        values = [int(value) for value in np.unique(regions[k]) if value and int(value) not in known]
        if not values:
            continue
        first = scans[0][k].astype(np.float32)
        smooth = gaussian_filter(first, (SMOOTHED_MM / spacing[1], SMOOTHED_MM / spacing[0]))
        coarseness = _variance(smooth, side) / np.maximum(_variance(first - smooth, side), 1e-3)
        variances = [_variance(scan[k].astype(np.float32), side) for scan in scans]
        for value in values:
            inside = uniform_filter((regions[k] == value).astype(np.float32), side, mode="constant") > 1 - 0.5 / side**2
            held.setdefault(value, []).append((coarseness[inside], *(variance[inside] for variance in variances)))
    measured = {value: _noise(parts, side_mm) for value, parts in held.items()}
    return {value: noise for value, noise in measured.items() if noise is not None}


def _noise(parts: list[tuple[Array, ...]], side_mm: float) -> OrganNoise | None:
    coarseness, *variances = (np.concatenate(column) for column in zip(*parts, strict=True))
    if coarseness.size < LEAST_WINDOWS:
        return None
    chosen = coarseness <= np.quantile(coarseness, CHOSEN)
    sd = tuple(float(np.sqrt(np.median(variance[chosen]))) for variance in variances)
    return OrganNoise(sd, float(np.median(coarseness[chosen])), side_mm)


def _variance(image: Array, side: int) -> Array:
    """Variance over side × side pixels, without the bias of a small sample."""
    values = np.clip(image, -1100, 3100) - 40  # float32 squares must not lose the variance to rounding
    mean = uniform_filter(values, side)
    return np.maximum(uniform_filter(values * values, side) - mean * mean, 0) * (side**2 / (side**2 - 1))
