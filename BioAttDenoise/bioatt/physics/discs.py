"""Shift of the mean HU in small discs, as measured by a reader's region of interest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

Array = NDArray[np.float64]


def disc_shifts(
    reference: NDArray,
    test: NDArray,
    mask: NDArray,
    pixel_mm: float,
    *,
    diameter_mm: float = 10.0,
    count: int = 200,
    seed: int = 0,
) -> Array:
    """Mean of test − reference (HU) over up to `count` random discs that lie wholly inside a mask (z, y, x)."""
    radius = diameter_mm / 2 / pixel_mm
    reach = int(np.ceil(radius))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.hypot(y, x) <= radius
    deep = np.stack([distance_transform_edt(np.pad(plane, 1))[1:-1, 1:-1] > radius + 1 for plane in mask])
    places = np.argwhere(deep)
    rng = np.random.default_rng(seed)
    chosen = places[rng.permutation(len(places))[:count]]
    difference = np.asarray(test, np.float64) - reference
    return np.array(
        [difference[k, r - reach : r + reach + 1, c - reach : c + reach + 1][disc].mean() for k, r, c in chosen]
    )
