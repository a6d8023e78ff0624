"""Where a prior meets a model: one that the model was not trained for is blended with one that it was trained for.

The attention multiplies features by Σₙ pₙ Aₙ (BioAtt, equations 5–6): under a p far from those of the training the
features have a size that no later layer has seen. Trained models saw their own prior q, and q mixed with random
distributions; `training.prior_rise` of their metadata says how far a pₙ then rose from qₙ towards 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bioatt.priors.base import Prior

_TOLERANCE = 1e-3


class PriorGuard:
    """Keeps the p of each slice near the trained prior. Ends with its volume.

    rise: largest (pₙ − qₙ) / (1 − qₙ) that is in range; None lets every prior pass. reference() gives the prior of the
    training, q, with the rows of the prior to guard; it is asked only where some pₙ exceeds `rise`.
    shares: by slice, the share of q in what the model was shown; of a spatial prior the largest of its pixels.
    """

    def __init__(self, slices: int, rise: float | None, reference: Callable[[], Prior]) -> None:
        self.rise = rise
        self.shares = np.zeros(slices, np.float32)
        self._reference = reference
        self._trained: Prior | None = None

    def __call__(self, k: int, p: NDArray[np.float32]) -> NDArray[np.float32]:
        """p (N,) or (N, H, W) of slice k, blended as far as it must be; p itself where it is in range."""
        total = p.sum(axis=0)
        whole = bool(np.all(np.abs(total - 1) < _TOLERANCE))
        if self.rise is None or (whole and float(p.max()) <= self.rise):
            return p
        if self._trained is None:
            self._trained = self._reference()
        shown, share = blended(p, np.asarray(self._trained.p[k]), self.rise)
        self.shares[k] = share.max()
        return shown if share.any() else p

    def warnings(self, source: str) -> list[str]:
        """One line where slices were blended; source: of the prior that was asked for."""
        touched = self.shares[self.shares > 0]
        if not touched.size or self._trained is None:
            return []
        return [
            f"the prior from {source} lies outside the model's training on {touched.size} of {len(self.shares)} "
            f"slices: blended there with the prior {self._trained.source}, of which the network was shown up to "
            f"{100 * touched.max():.0f} %"
        ]


def blended(
    p: NDArray[np.float32], q: NDArray[np.float32], rise: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(1 − s) p + s q with the least s for which no pₙ rises by more than `rise` of the way from qₙ to 1, and s.

    p (N,) or (N, H, W), q (N,), sums to 1; s is () or (H, W). Where p sums to less than 1, q takes what is missing;
    where to more, p is scaled.
    """
    anchor = q.reshape(-1, *(1,) * (p.ndim - 1))
    total = p.sum(axis=0)
    off = np.abs(total - 1) >= _TOLERANCE
    missing = np.where(off, np.clip(1 - total, 0, 1), 0)
    complete = np.where(off, p / np.maximum(total, 1) + missing * anchor, p)
    worst = ((complete - anchor) / np.maximum(1 - anchor, _TOLERANCE)).max(axis=0)
    kept = np.where(worst > rise, rise / np.maximum(worst, rise), 1).astype(np.float32)
    shown = np.where(kept < 1, kept * complete + (1 - kept) * anchor, complete).astype(np.float32)
    return shown, np.asarray(1 - kept * (1 - missing), np.float32)


def trained_rise(metadata: Mapping[str, Any]) -> float | None:
    """`training.prior_rise` of a model's metadata; None where its file does not tell."""
    rise = metadata.get("training", {}).get("prior_rise")
    return None if rise is None else float(rise)
