"""The share of a scan's noise that a strength removes, and the strength that removes a given share."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bioatt.core.noise import LEAST_VARIANCE, MIN_PIXELS, SOFT_TISSUE_HU, local_covariance, local_moments, noise_sd

HOMOGENEOUS = 1.25
"""Positions whose local SD exceeds this multiple of the scan's noise contain edges and are excluded."""
MOST_PLACES = 50_000
_STRENGTHS = np.linspace(0, 1, 33)


@dataclass(frozen=True, eq=False)
class NoiseRemoval:
    """Noise of a scan as a function of strength s: the median local SD in homogeneous soft tissue.

    noise_hu: `noise_sd` of the scan. before, shared, change: (positions,) HU², the local variance of the scan, its
    covariance with the residual that the network removes, and the variance of that residual. The local variance at s is
    before − 2 s shared + s² change.
    """

    noise_hu: float
    before: NDArray[np.float32]
    shared: NDArray[np.float32]
    change: NDArray[np.float32]

    def removed(self, strength: float) -> float:
        """Share of the noise SD that a strength removes."""
        left = self.before - 2 * strength * self.shared + strength**2 * self.change
        return 1 - math.sqrt(max(float(np.median(left)), 0.0) / float(np.median(self.before)))

    def strength(self, share: float) -> float:
        """The smallest strength that removes this share of the noise SD, or the one that removes most if none does."""
        if share <= 0:
            return 0.0
        reached = np.maximum.accumulate([self.removed(strength) for strength in _STRENGTHS])
        first = int(np.searchsorted(reached, share))
        if first == len(_STRENGTHS):
            return float(_STRENGTHS[int(np.argmax(reached))])
        low, high = float(_STRENGTHS[max(first - 1, 0)]), float(_STRENGTHS[first])
        for _ in range(12):
            middle = (low + high) / 2
            low, high = (middle, high) if self.removed(middle) < share else (low, middle)
        return high


def measure(slices: Iterable[tuple[NDArray[np.float32], NDArray[np.float32]]]) -> NoiseRemoval | None:
    """Measure slices of a scan before and after the network, (y, x) HU; None without enough soft tissue.

    Like `noise_sd`, local variances over 9×9 pixels miss coarser noise.
    """
    pairs = list(slices)
    noise = noise_sd(np.stack([before for before, _ in pairs])) if pairs else math.nan
    found = [np.zeros((3, 0), np.float32)]
    for before, after in pairs:
        taken = before - after
        mean, variance = local_moments(before)
        place = (mean > SOFT_TISSUE_HU[0]) & (mean < SOFT_TISSUE_HU[1])
        place &= (variance > LEAST_VARIANCE) & (variance < (HOMOGENEOUS * noise) ** 2)
        moments = variance, local_covariance(before, taken), local_covariance(taken, taken)
        found.append(np.stack([each[place] for each in moments]))
    places = np.concatenate(found, axis=1)
    if places.shape[1] < MIN_PIXELS:
        return None
    before, shared, change = places[:, :: math.ceil(places.shape[1] / MOST_PLACES)]
    return NoiseRemoval(noise, before, shared, change)
