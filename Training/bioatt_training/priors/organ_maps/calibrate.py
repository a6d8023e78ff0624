"""Calibration on patients not used in training: one temperature for the maps, Platt scaling for presence.

Temperature: Guo 2017, arXiv 1706.04599. Presence: Platt scaling of the score, with offsets shrunk to their mean for
descriptors with few slices.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar
from torch import Tensor

from bioatt.network.organ_maps import OrganMapNetwork
from bioatt.priors.organ_maps import network_input
from bioatt_training.priors.organ_maps.slices import FINE, OrganSlices, cells_of

_SHRINKAGE = 1.0


def temperature(network: OrganMapNetwork, data: OrganSlices) -> float:
    """Divisor of the logits that minimises the cross-entropy on outlined slices; cells with several possible classes
    use the sum over them.
    """
    held = [_slice_logits(network, data, int(row)) for row in np.flatnonzero(data.outlined)]

    def loss(t: float) -> float:
        return float(np.mean([_cross_entropy(logits / t, labels, possible) for logits, labels, possible in held]))

    return float(minimize_scalar(loss, bounds=(0.5, 4.0), method="bounded").x)


def _slice_logits(network: OrganMapNetwork, data: OrganSlices, row: int) -> tuple[Tensor, Tensor, Tensor]:
    """(C, cells) logits, (FINE², cells) labels, (C,) possible classes of the cells around the body."""
    window, shown, where = network_input(cells_of(data.images[row]))
    with torch.inference_mode():
        logits = network(shown, where)[0]
    size = logits.shape[-2:]
    labels = np.zeros([FINE * side for side in size], np.uint8)
    inner, outer = [], []
    for extent in window:
        first, last = max(extent.start, 0), min(extent.stop, data.labels.shape[-1] // FINE)
        outer.append(slice(FINE * first, FINE * last))
        inner.append(slice(FINE * (first - extent.start), FINE * (last - extent.start)))
    labels[tuple(inner)] = data.labels[row][tuple(outer)]
    four = torch.from_numpy(labels)[None].long()
    return (
        logits.flatten(1),
        torch.nn.functional.pixel_unshuffle(four, FINE).flatten(1),
        torch.from_numpy(data.possible[row]),
    )


def _cross_entropy(logits: Tensor, labels: Tensor, possible: Tensor) -> float:
    log_p = logits.log_softmax(dim=0)
    unknown = log_p[possible].logsumexp(dim=0)
    return -float(torch.where(labels == 0, unknown[None], log_p.gather(0, labels)).mean())


def presence_line(
    score: NDArray[np.float64], present: NDArray[np.bool_], sure: NDArray[np.bool_]
) -> tuple[float, list[float]]:
    """Common slope and offset (N,) by descriptor for the log-odds of presence; score (n, N) is that of
    `presence_score`.
    """
    n = score.shape[1]

    def loss(x: NDArray[np.float64]) -> float:
        logits = x[0] * score + x[1:]
        entropy = np.logaddexp(0, logits) - present * logits
        return float((entropy * sure).sum() / sure.sum() * n + _SHRINKAGE * 0.01 * ((x[1:] - x[1:].mean()) ** 2).sum())

    x = minimize(loss, np.concatenate([[1.0], np.zeros(n)]), method="L-BFGS-B").x
    return float(x[0]), [float(value) for value in x[1:]]
