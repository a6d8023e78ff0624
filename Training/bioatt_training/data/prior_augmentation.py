"""Train under priors better and worse than the one at hand, so that the model does not depend on a single source."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def perturb(p: NDArray[np.float32], share: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """With chance `share`, another prior in place of p (N,), which sums to 1; else p.

    A third each: flat (uniform), softened (√p, as an unsure source gives) and mixed with a random distribution (as a
    wrong one gives). The result sums to 1.
    """
    if rng.random() >= share:
        return p
    kind = rng.integers(3)
    if kind == 0:
        changed = np.ones_like(p)
    elif kind == 1:
        changed = np.sqrt(p)
    else:
        changed = p + rng.dirichlet(np.full(p.size, 0.5)).astype(np.float32)
    return (changed / changed.sum()).astype(np.float32)
