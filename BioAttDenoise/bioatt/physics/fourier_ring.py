"""Fourier ring correlation of an image with the ground truth, patch by patch, to detect hallucinated structure.

The correlation is 1 at frequencies where two images agree, and about 0 where they share nothing. If a denoised patch
agrees with the truth only up to a lower frequency than its input, the denoiser introduced an error (after the scanning
correlation of DIDSR/sfrc, which has no input to compare with).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bioatt.core.errors import InputError

Array = NDArray[np.float64]

LEVEL = 0.5
"""Correlation below which a frequency counts as lost."""


def ring_correlation(images: NDArray, truths: NDArray) -> Array:
    """Correlation (n, size // 2) of patches (n, size, size) with the truth, by ring of frequency k / size, k from 1.

    Patch means are subtracted, and a Hann window suppresses the borders.
    """
    if images.shape != truths.shape or images.ndim != 3 or images.shape[1] != images.shape[2]:
        raise InputError(f"patches must be square (n, size, size) and of one shape, not {images.shape}")
    size = images.shape[1]
    window = np.outer(np.hanning(size + 1)[:size], np.hanning(size + 1)[:size])
    a, b = (
        np.fft.fft2((one - one.mean((1, 2), keepdims=True)) * window) for one in (np.asarray(images, float), truths)
    )
    steps = np.fft.fftfreq(size) * size
    ring = np.rint(np.hypot(steps[:, None], steps[None, :])).astype(int).ravel()
    rings = size // 2

    def by_ring(values: Array) -> Array:
        sums = [np.bincount(ring, plane.ravel(), minlength=rings + 1)[1 : rings + 1] for plane in values]
        return np.stack(sums) if sums else np.empty((0, rings))

    power = by_ring(np.abs(a) ** 2) * by_ring(np.abs(b) ** 2)
    return by_ring((a * b.conj()).real) / np.sqrt(np.maximum(power, np.finfo(float).tiny))


def lost_from(correlation: Array, size: int, pixel_mm: float) -> Array:
    """First frequency (n,) in 1/mm at which each correlation falls below LEVEL; one ring beyond the last if never."""
    below = correlation < LEVEL
    first = np.where(below.any(1), below.argmax(1), correlation.shape[1])
    return (first + 1) / (size * pixel_mm)
