"""Noise by place: the local standard deviation of HU. Needs no torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, uniform_filter

SIZE_PX = 9


def noise_map(hu: NDArray) -> NDArray[np.float32]:
    """Local σ in HU, (z, y, x) float32, over 9×9 pixels of each slice's detail finer than about 2.5 pixels.

    Taking the smooth part away first keeps gentle shading out; edges stay visible as what they are, not noise. The
    detail of white noise has 0.97 of its σ, that of smooth kernels less: compare maps, do not read them as the σ of
    `metrics.noise_sd`.
    """
    found = np.empty(hu.shape, np.float32)
    for plane, out in zip(hu, found, strict=True):
        values = plane.astype(np.float32)
        detail = values - gaussian_filter(values, 2.5)
        mean = uniform_filter(detail, SIZE_PX)
        out[...] = np.sqrt(np.maximum(uniform_filter(detail * detail, SIZE_PX) - mean * mean, 0))
    return found
