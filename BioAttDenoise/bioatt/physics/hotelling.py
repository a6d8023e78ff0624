"""Channelised Hotelling observer: detectability d′ of a signal from channel responses, without the bias of few images.

Sample means and covariances make a plain estimate of d′ too high. With n images of Gaussian responses in p channels its
distribution is known (Hotelling's T²), which gives unbiased estimates and exact intervals (Wunderlich 2015,
10.1109/TMI.2014.2360496).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import ncf, norm

from bioatt.core.errors import InputError

LEVEL = 0.95


@dataclass(frozen=True)
class Detectability:
    """d′ of an observer with the bounds of its 95 % interval."""

    d: float
    low: float
    high: float

    @property
    def auc(self) -> tuple[float, float, float]:
        """Area under the ROC curve Φ(d′/√2), with its bounds."""
        value, low, high = (float(norm.cdf(one / math.sqrt(2))) for one in (self.d, self.low, self.high))
        return value, low, high


def hotelling(absent: NDArray, present: NDArray) -> Detectability:
    """d′ from independent images without and with the signal: responses (n0, p), (n1, p).

    Raises InputError for arrays of other shape or fewer images than p + 4 in all.
    """
    absent, present = _checked(absent, present)
    (n0, p), n1 = absent.shape, len(present)
    freedom = n0 + n1 - 2
    scatter = sum((len(one) - 1) * np.atleast_2d(np.cov(one.T)) for one in (absent, present))
    delta = present.mean(0) - absent.mean(0)
    square = float(delta @ np.linalg.solve(scatter / freedom, delta))
    unbiased = (freedom - p - 1) / freedom * square - p * (1 / n0 + 1 / n1)
    share = n0 * n1 / (n0 + n1)
    f = (freedom - p + 1) / (freedom * p) * share * square
    low, high = (
        math.sqrt(_noncentrality(f, p, freedom - p + 1, tail) / share) for tail in ((1 + LEVEL) / 2, (1 - LEVEL) / 2)
    )
    return Detectability(math.sqrt(max(unbiased, 0.0)), low, high)


def paired(absent: NDArray, present: NDArray) -> float:
    """d′ from images with the same noise without and with the signal: responses (n, p) each.

    What the noise adds to the mean difference is estimated from the spread of the pairs' differences and taken off; a
    signal that is the same in every pair has none (the known difference of means of Wunderlich and Noo 2009,
    IEEE Trans Med Imaging 28:1198), and d′ is then known several times better than from independent images.
    """
    absent, present = _checked(absent, present)
    if absent.shape != present.shape:
        raise InputError(f"pairs have the same shape, not {absent.shape} and {present.shape}")
    n, p = absent.shape
    covariance = np.atleast_2d(np.cov(absent.T) + np.cov(present.T)) / 2
    difference = present - absent
    delta = difference.mean(0)
    square = float(delta @ np.linalg.solve(covariance, delta))
    own = float(np.trace(np.linalg.solve(covariance, np.atleast_2d(np.cov(difference.T))))) / n
    return math.sqrt(max((n - p - 2) / (n - 1) * (square - own), 0.0))


def _checked(absent: NDArray, present: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    absent, present = np.asarray(absent, np.float64), np.asarray(present, np.float64)
    if absent.ndim != 2 or present.ndim != 2 or absent.shape[1] != present.shape[1]:
        raise InputError(f"responses are (n, channels), alike in channels, not {absent.shape} and {present.shape}")
    if min(len(absent), len(present)) < absent.shape[1] + 4:
        raise InputError(f"{absent.shape[1]} channels need at least {absent.shape[1] + 4} images of each kind")
    return absent, present


def _noncentrality(f: float, p: int, rest: int, probability: float) -> float:
    """λ at which F(p, rest, λ) stays below f with this probability; 0 where no λ does."""

    def excess(value: float) -> float:
        return float(ncf.cdf(f, p, rest, value)) - probability

    if excess(0.0) <= 0:
        return 0.0
    top = max(4 * p * f, 10.0)
    while excess(top) > 0:
        top *= 2
    return float(brentq(excess, 0.0, top))
