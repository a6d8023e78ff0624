"""Channelised Hotelling observer: detectability d′ of a signal from channel responses, without the bias of few images.

Sample means and covariances make a plain estimate of d′ too high; with n images of Gaussian responses in p channels the
bias is known (Wunderlich 2015, 10.1109/TMI.2014.2360496).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from bioatt.core.errors import InputError


def paired(absent: NDArray, present: NDArray) -> float:
    """d′ from images with the same noise without and with the signal: responses (n, p) each.

    What the noise adds to the mean difference is estimated from the spread of the pairs' differences and taken off; a
    signal that is the same in every pair has none (the known difference of means of Wunderlich and Noo 2009,
    IEEE Trans Med Imaging 28:1198), and d′ is then known several times better than from independent images.
    Raises InputError for other shapes, and for fewer than p + 4 pairs.
    """
    absent, present = np.asarray(absent, np.float64), np.asarray(present, np.float64)
    if absent.ndim != 2 or absent.shape != present.shape:
        raise InputError(f"responses are (n, channels), pairs of one shape, not {absent.shape} and {present.shape}")
    n, p = absent.shape
    if n < p + 4:
        raise InputError(f"{p} channels need at least {p + 4} pairs of images")
    covariance = np.atleast_2d(np.cov(absent.T) + np.cov(present.T)) / 2
    difference = present - absent
    delta = difference.mean(0)
    square = float(delta @ np.linalg.solve(covariance, delta))
    own = float(np.trace(np.linalg.solve(covariance, np.atleast_2d(np.cov(difference.T))))) / n
    return math.sqrt(max((n - p - 2) / (n - 1) * (square - own), 0.0))
