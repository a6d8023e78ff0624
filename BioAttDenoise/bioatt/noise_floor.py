"""How noisy the quiet parts of a slice are: what the network's weights are chosen by.

`metrics.noise_sd`, the mode, jumps where a slice has quiet and noisy parts alike, above and beside the shoulders say;
a low percentile does not, and leans towards little noise, where the weights take the least away.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from bioatt.metrics import local_moments
from bioatt.priors.smoothing import CONTEXT_SLICES

TISSUE_HU = (-150.0, 150.0)
"""Local means of fat and soft tissue."""
PERCENTILE = 10.0
LEAST_VARIANCE = 0.01
"""Of 9×9 px in HU², below which none differs by 1 HU: a filled or blanked area, no tissue."""


def noise_floor(image: NDArray) -> float:
    """10th percentile of the standard deviation over 9×9 px in fat and soft tissue, in HU, of one slice (y, x).

    NaN where a slice has fewer than 200 pixels of them. In a torso of even noise it is 0.75 to 0.9 of the noise.
    """
    mean, variance = local_moments(image, 9)
    inside = (mean > TISSUE_HU[0]) & (mean < TISSUE_HU[1]) & (variance > LEAST_VARIANCE)
    if np.count_nonzero(inside) < 200:
        return math.nan
    return float(np.sqrt(np.percentile(variance[inside], PERCENTILE)))


def noise_floors(hu: NDArray) -> NDArray[np.float32]:
    """`noise_floor` of axial slices (z, y, x) with air as padding, each averaged with its neighbours (z,).

    Weights fall linearly to nothing beyond `CONTEXT_SLICES` on either side, so that what follows from them does not
    flicker along z. NaN where there is no tissue that far.
    """
    floors = np.array([noise_floor(image) for image in hu])
    known = np.isfinite(floors)
    ramp = CONTEXT_SLICES + 1 - np.abs(np.arange(-CONTEXT_SLICES, CONTEXT_SLICES + 1))
    sums, weights = (
        np.convolve(part, ramp)[CONTEXT_SLICES : CONTEXT_SLICES + len(floors)]
        for part in (np.where(known, floors, 0.0), known.astype(float))
    )
    return np.where(weights > 0, sums / np.maximum(weights, 1), np.nan).astype(np.float32)
