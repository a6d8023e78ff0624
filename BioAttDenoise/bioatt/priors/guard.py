"""Guard against priors outside a model's training: they are blended with the prior that the model was trained on.

The attention multiplies features by Σₙ pₙ Aₙ (BioAtt, equations 5–6); a p far from those of the training gives features
of a magnitude that later layers have not seen. Models are trained under their own prior q and under mixtures of q with
random distributions; `training.prior_rise` of the metadata is the largest rise of pₙ above qₙ in training, as a
fraction of the way to 1. A model that was trained under every prior, also under those that sum to less than 1, states
1 or nothing, and nothing is blended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bioatt.priors.base import Prior

_TOLERANCE = 1e-3


class PriorGuard:
    """p of each slice of one volume, blended where it is outside the training range.

    prior: the one that was asked for. rise: largest (pₙ − qₙ) / (1 − qₙ) in range; None accepts every prior.
    reference() returns q with the same rows; it is called only where some pₙ exceeds `rise`.
    shares: (slices,), the share of q in what the network was given; of a spatial prior the largest over its pixels.
    """

    def __init__(self, prior: Prior, rise: float | None, reference: Callable[[], Prior]) -> None:
        self.prior, self.rise = prior, rise
        self.shares = np.zeros(len(prior.p), np.float32)
        self._reference = reference
        self._trained: Prior | None = None

    def __call__(self, k: int) -> NDArray[np.float32]:
        """p (N,) or (N, H, W) for slice k; unchanged where it is in range."""
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
        """One line where slices were blended."""
        touched = self.shares[self.shares > 0]
        if not touched.size or self._trained is None:
            return []
        return [
            f"the prior from {self.prior.source} is outside the model's training range on {touched.size} of "
            f"{len(self.shares)} slices: blended there with the prior {self._trained.source}, by up to "
            f"{100 * touched.max():.0f} %"
        ]


def blended(
    p: NDArray[np.float32], q: NDArray[np.float32], rise: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(1 − s) p + s q and s, for the smallest s with (pₙ − qₙ) / (1 − qₙ) ≤ rise for every n.

    p: (N,) or (N, H, W); q: (N,), sums to 1; s: () or (H, W). Where p sums to less than 1, q fills the rest; where it
    sums to more, p is scaled down.
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
    """`training.prior_rise` of a model's metadata; None, every prior is in range, where it is 1 or not stated."""
    rise = metadata.get("training", {}).get("prior_rise")
    return None if rise is None or rise >= 1 else float(rise)
