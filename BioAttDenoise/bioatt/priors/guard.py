"""Guard against priors outside a model's training range: they are blended with the prior used in training.

The attention multiplies features by Σₙ pₙ Aₙ (BioAtt, equations 5–6), so a p far from those in training gives features
of a magnitude that later layers have not seen. Models are trained with their own prior q and with mixtures of q and
random distributions; the metadata's `training.prior_rise` is the largest rise of pₙ above qₙ in training, as a
fraction of the way to 1. A model trained with every prior, including those that sum to less than 1, states 1 or
nothing, and nothing is blended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bioatt.priors.base import Prior

_TOLERANCE = 1e-3


class PriorGuard:
    """p of each slice of one volume, blended if it is outside the training range.

    prior: the requested prior. rise: largest (pₙ − qₙ) / (1 − qₙ) in range; None accepts every prior.
    reference() returns q with the same rows; it is called only if some pₙ exceeds `rise`.
    shares: (slices,), the share of q in the p that the network received; for a spatial prior the largest over pixels.
    """

    def __init__(self, prior: Prior, rise: float | None, reference: Callable[[], Prior]) -> None:
        self.prior, self.rise = prior, rise
        self.shares = np.zeros(len(prior.p), np.float32)
        self._reference = reference
        self._trained: Prior | None = None

    def __call__(self, k: int) -> NDArray[np.float32]:
        """p (N,) or (N, H, W) for slice k; unchanged if in range."""
        p = self.prior.p[k]
        normalised = bool(np.all(np.abs(p.sum(axis=0) - 1) < _TOLERANCE))
        if self.rise is None or (normalised and float(p.max()) <= self.rise):
            return p
        if self._trained is None:
            self._trained = self._reference()
        mixed, share = blended(p, np.asarray(self._trained.p[k]), self.rise)
        self.shares[k] = share.max()
        return mixed if share.any() else p

    def warnings(self) -> list[str]:
        """One warning if slices were blended."""
        touched = self.shares[self.shares > 0]
        if not touched.size or self._trained is None:
            return []
        return [
            f"the prior from {self.prior.source} is outside the model's training range on {touched.size} of "
            f"{len(self.shares)} slices: there it was blended with up to {100 * touched.max():.0f} % of the prior "
            f"{self._trained.source}"
        ]


def blended(
    p: NDArray[np.float32], q: NDArray[np.float32], rise: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return (1 − s) p + s q and s, for the smallest s with (pₙ − qₙ) / (1 − qₙ) ≤ rise for every n.

    p: (N,) or (N, H, W); q: (N,), sums to 1; s: () or (H, W). If p sums to less than 1, q fills the rest; if it sums to
    more, p is scaled down.
    """
    anchor = q.reshape(-1, *(1,) * (p.ndim - 1))
    total = p.sum(axis=0)
    off = np.abs(total - 1) >= _TOLERANCE
    missing = np.where(off, np.clip(1 - total, 0, 1), 0)
    complete = np.where(off, p / np.maximum(total, 1) + missing * anchor, p)
    worst = ((complete - anchor) / np.maximum(1 - anchor, _TOLERANCE)).max(axis=0)
    weight = np.where(worst > rise, rise / np.maximum(worst, rise), 1).astype(np.float32)
    mixed = np.where(weight < 1, weight * complete + (1 - weight) * anchor, complete).astype(np.float32)
    return mixed, np.asarray(1 - weight * (1 - missing), np.float32)


def trained_rise(metadata: Mapping[str, Any]) -> float | None:
    """`training.prior_rise` from a model's metadata; None (every prior is in range) if it is 1 or not stated."""
    rise = metadata.get("training", {}).get("prior_rise")
    return None if rise is None or rise >= 1 else float(rise)
