"""Smoothing of priors along z: anatomy changes little over a few millimetres."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bioatt.core.noise import CONTEXT_SLICES
from bioatt.core.volume import Volume
from bioatt.priors.base import AnatomicalPrior, Prior

SIGMA_MM = 4.0


class SmoothedPrior:
    """Another prior's probabilities, smoothed along z with a Gaussian of SIGMA_MM."""

    def __init__(self, prior: AnatomicalPrior) -> None:
        self.prior = prior

    def probabilities(self, volume: Volume, *, cancelled: Callable[[], bool] | None = None) -> Prior:
        """See AnatomicalPrior."""
        prior = self.prior.probabilities(volume, cancelled=cancelled)
        return replace(prior, p=smoothed(np.asarray(prior.p), volume.spacing[2]))


def smoothed(p: NDArray[np.float32], step_mm: float, sigma_mm: float = SIGMA_MM) -> NDArray[np.float32]:
    """Smooth p (slices, N), slices step_mm apart, over at most CONTEXT_SLICES neighbours on either side."""
    total = np.zeros(p.shape, np.float64)
    weight = np.zeros((len(p), 1))
    reach = min(CONTEXT_SLICES, len(p) - 1)
    for offset in range(-reach, reach + 1):
        share = np.exp(-0.5 * (offset * step_mm / sigma_mm) ** 2)
        here = slice(max(0, -offset), len(p) - max(0, offset))
        there = slice(max(0, offset), len(p) - max(0, -offset))
        total[here] += share * p[there]
        weight[here] += share
    return (total / weight).astype(np.float32)
