"""How much of a scan's noise a strength removes, and which strength removes a given share."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bioatt.core.noise import LEAST_VARIANCE, MIN_PIXELS, SOFT_TISSUE_HU, local_covariance, local_moments, noise_sd

HOMOGENEOUS = 1.25
"""Places whose local SD is above this multiple of the scan's noise hold edges and are left out."""


@dataclass(frozen=True)
class NoiseRemoval:
    """Noise of a scan by strength s: variance(s) = before − 2 s shared + s² change, in HU².

    Means over homogeneous soft tissue of the local variance of the scan, its covariance with what the network takes
    away, and the variance of that. noise_hu: `noise_sd` of the scan.
    """

    noise_hu: float
    before: float
    shared: float
    change: float

    def removed(self, strength: float) -> float:
        """Share of the noise SD that a strength removes."""
        left = self.before - 2 * strength * self.shared + strength**2 * self.change
        return 1 - math.sqrt(max(left, 0.0) / self.before)

    def strength(self, share: float) -> float:
        """The smallest strength that removes this share of the noise SD; the one that removes most where none does."""
        if share <= 0 or self.change <= 0:
            return 0.0
        most = min(max(self.shared / self.change, 0.0), 1.0)
        if self.removed(most) <= share:
            return most
        fall = self.before * (1 - (1 - share) ** 2)
        return (self.shared - math.sqrt(self.shared**2 - self.change * fall)) / self.change


def measure(slices: Iterable[tuple[NDArray[np.float32], NDArray[np.float32]]]) -> NoiseRemoval | None:
    """From some slices of a scan, each before and after the network, (y, x) HU; None without enough soft tissue.

    Local variances over 9×9 pixels miss the part of the noise that is coarser, as `noise_sd` does.
    """
    pairs = list(slices)
    noise = noise_sd(np.stack([before for before, _ in pairs])) if pairs else math.nan
    sums, count = np.zeros(3), 0
    for before, after in pairs:
        taken = before - after
        mean, variance = local_moments(before)
        place = (mean > SOFT_TISSUE_HU[0]) & (mean < SOFT_TISSUE_HU[1])
        place &= (variance > LEAST_VARIANCE) & (variance < (HOMOGENEOUS * noise) ** 2)
        shared, change = local_covariance(before, taken), local_covariance(taken, taken)
        sums += [each[place].sum(dtype=np.float64) for each in (variance, shared, change)]
        count += np.count_nonzero(place)
    if count < MIN_PIXELS:
        return None
    before_variance, shared_variance, change_variance = (float(each) for each in sums / count)
    return NoiseRemoval(noise, before_variance, shared_variance, change_variance)
