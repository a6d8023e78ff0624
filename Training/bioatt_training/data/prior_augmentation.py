"""Random perturbation of priors in training, so that a model does not depend on a single prior source."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CONCENTRATION = 0.5
"""Concentration of the Dirichlet distribution of random priors."""
DRAWS = 20_000


def perturb(p: NDArray[np.float32], share: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """With probability `share`, a perturbed prior instead of p (N,), which sums to 1; otherwise p.

    One third each are uniform, softened (√p, like an uncertain source) and mixed with a random distribution (like a
    wrong source). The result sums to 1.
    """
    if rng.random() >= share:
        return p
    kind = rng.integers(3)
    if kind == 0:
        changed = np.ones_like(p)
    elif kind == 1:
        changed = np.sqrt(p)
    else:
        changed = p + rng.dirichlet(np.full(p.size, CONCENTRATION)).astype(np.float32)
    return (changed / changed.sum()).astype(np.float32)


def largest_rise(descriptors: int, share: float) -> float | None:
    """Largest increase of a probability over the slice's own, towards 1, that training covers for this many
    descriptors.

    If the slice's own is 0, nine of ten mixed priors rise as far for their highest descriptor: half the largest value
    of a random distribution. None for a share of 0: training saw only the slices' own priors.
    """
    if not share:
        return None
    drawn = np.random.default_rng(0).dirichlet(np.full(descriptors, CONCENTRATION), DRAWS)
    return round(float(np.percentile(drawn.max(axis=1) / 2, 10)), 2)
