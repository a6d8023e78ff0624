"""Regions of anatomy in which noise can be measured, and its level."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import median_filter, uniform_filter

from bioatt.core.errors import InputError
from bioatt.core.noise import noise_sd

WINDOW = 9
"""Side of the window of local standard deviations in pixels, as in `bioatt.core.noise.noise_sd`."""


def local_moments(image: np.ndarray, size: int = WINDOW) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over size × size pixels of an image (y, x), float32."""
    image = np.clip(np.asarray(image, np.float32), -1100, 3100)
    shift = np.float32(image.mean())
    mean = uniform_filter(image - shift, size)
    square = uniform_filter((image - shift) ** 2, size)
    return mean + shift, np.sqrt(np.maximum(square - mean * mean, 0))


def soft_tissue(hu: np.ndarray) -> np.ndarray:
    """(y, x) bool: the local mean over 9×9 pixels is 0 to 150 HU."""
    mean = local_moments(hu)[0]
    return (mean > 0) & (mean < 150)


def flat_tissue(hu: np.ndarray, sigma: float) -> np.ndarray:
    """(y, x) bool: soft tissue whose local standard deviation is due to noise (`sigma` HU), not edges."""
    mean, deviation = local_moments(hu)
    return (mean > 0) & (mean < 150) & (deviation < 1.4 * sigma)


def slice_noise(hu: np.ndarray) -> np.ndarray:
    """(z,) noise in HU of a volume (z, y, x), measured by slice and smoothed by the median of five.

    Slices without enough soft tissue use their neighbours' noise. Raises InputError if no slice has any.
    """
    measured = np.array([noise_sd(plane) for plane in hu])
    known = np.flatnonzero(np.isfinite(measured))
    if not known.size:
        raise InputError("no soft tissue (0 to 150 HU) to measure noise: give the scan's noise in HU")
    filled = np.interp(np.arange(len(hu)), known, measured[known])
    return median_filter(filled, 5, mode="nearest")


def mode(values: np.ndarray, width: float = 0.1) -> float:
    """Mode of positive values, with their histogram smoothed by `width` (relative to the median).

    Standard deviations of 9×9 windows scatter by a tenth, so this is the mode that `noise_sd` would find.
    """
    step = width * float(np.median(values)) / 8
    bins = np.rint(np.minimum(values / step, 1000)).astype(int)
    taps = np.exp(-0.5 * (np.arange(-32, 33) / 8) ** 2)
    return step * int(np.argmax(np.convolve(np.bincount(bins), taps)[32:-32]))
