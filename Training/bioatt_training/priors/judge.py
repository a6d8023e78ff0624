"""How good a prior is: presence AUC, log-loss against equal shares beside two baselines, reliability."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata

from bioatt.network.embedded import share
from bioatt_training.priors.labelled import LabelledSlices

LEAST_PATIENTS = 5
"""An organ seen in fewer patients is reported, but does not count in the mean over organs."""
BINS = 10
_TINY = 1e-6


@dataclass(frozen=True)
class Judgement:
    """Figures of one prior on labelled slices; by descriptor where they are arrays (N,), NaN where undefined.

    auc: area under the ROC curve of presence over sure labels; auc_p: the same of p, a descriptor's share, which also
    falls as others appear. gap: `reliability_gap` of p against the target share, presence_gap of presence.
    log_loss: −Σ target · log p, mean over slices; entropy is the least it can be; constant, region: the baselines'.
    top1: slices whose largest p is of a visible descriptor.
    """

    descriptors: tuple[str, ...]
    patients: NDArray[np.int64]
    slices: NDArray[np.int64]
    auc: NDArray[np.float64]
    auc_p: NDArray[np.float64]
    gap: NDArray[np.float64]
    presence_gap: NDArray[np.float64]
    log_loss: float
    entropy: float
    constant: float
    region: float
    top1: float
    judged: int

    @property
    def scored(self) -> NDArray[np.bool_]:
        """(N,) descriptors seen in at least LEAST_PATIENTS patients."""
        return self.patients >= LEAST_PATIENTS

    @property
    def macro_auc(self) -> float:
        """Mean AUC of presence over the scored descriptors."""
        return float(np.nanmean(self.auc[self.scored]))

    @property
    def macro_auc_p(self) -> float:
        """Mean AUC of p over the scored descriptors."""
        return float(np.nanmean(self.auc_p[self.scored]))


def judge(
    logits: NDArray[np.float32], data: LabelledSlices, folds: NDArray[np.int64], names: Sequence[str]
) -> Judgement:
    """Judge calibrated logits (n, N) of networks that were not trained on the row's fold, as the baselines were not."""
    presence = torch.sigmoid(torch.from_numpy(logits))
    p = share(presence).numpy()
    columns = range(len(names))
    sure = [data.sure[:, column] for column in columns]

    def areas(score: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.array([area_under_roc(score[sure[c], c], data.presence[sure[c], c]) for c in columns])

    def gaps(score: NDArray[np.float32], truth: NDArray[np.floating]) -> NDArray[np.float64]:
        return np.array([reliability_gap(score[:, column], truth[:, column]) for column in columns])

    return Judgement(
        descriptors=tuple(names),
        patients=np.array([len(np.unique(data.patients[data.presence[:, column]])) for column in columns]),
        slices=data.presence.sum(axis=0),
        auc=areas(logits),
        auc_p=areas(p),
        gap=gaps(p, data.target),
        presence_gap=gaps(presence.numpy(), data.presence.astype(np.float32)),
        log_loss=log_loss(p, data.target),
        entropy=log_loss(data.target, data.target),
        constant=log_loss(_baseline(data, folds, np.zeros(len(data))), data.target),
        region=log_loss(_baseline(data, folds, data.regions), data.target),
        top1=float(np.take_along_axis(data.presence, p.argmax(axis=1)[:, None], axis=1).mean()),
        judged=len(data),
    )


def area_under_roc(score: NDArray[np.floating], present: NDArray[np.bool_]) -> float:
    """Chance that a slice with the organ scores above one without, ties as half (Mann–Whitney U); NaN without both."""
    positive, negative = int(present.sum()), int((~present).sum())
    if positive == 0 or negative == 0:
        return float("nan")
    ranks = rankdata(score)
    return float((ranks[present].sum() - positive * (positive + 1) / 2) / (positive * negative))


def log_loss(p: NDArray[np.floating], target: NDArray[np.floating]) -> float:
    """−Σ target · log p, mean over slices; both (n, N)."""
    return float(-(target * np.log(np.maximum(p, _TINY))).sum(axis=1).mean())


def reliability_gap(p: NDArray[np.floating], target: NDArray[np.floating]) -> float:
    """Expected calibration error of one descriptor: |mean p − mean target| in BINS bins of equal width over p's range,
    weighted by the slices in each."""
    edges = np.linspace(p.min(), p.max() + _TINY, BINS + 1)
    which = np.clip(np.digitize(p, edges) - 1, 0, BINS - 1)
    gaps = [abs(float(p[which == k].sum()) - float(target[which == k].sum())) for k in range(BINS)]
    return sum(gaps) / len(p)


def _baseline(data: LabelledSlices, folds: NDArray[np.int64], group: NDArray) -> NDArray[np.float64]:
    """Mean target of the other folds' slices in the same group, or of all their slices where none is."""
    p = np.zeros(data.target.shape)
    for fold in np.unique(folds):
        others = folds != fold
        for value in np.unique(group[~others]):
            like = others & (group == value)
            p[~others & (group == value)] = data.target[like if like.any() else others].mean(axis=0)
    return p
