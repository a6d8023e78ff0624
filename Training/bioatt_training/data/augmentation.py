"""Augmentation of training patches consistent with CT: a smoother or sharper kernel, and inserts in the tissue.

Both are linear, as reconstruction is, so that scan, inserted noise and target stay consistent.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from bioatt.core.errors import InputError
from bioatt.simulation.tomography import FAMILY, Kernel, kernel_named

Patch = NDArray[np.float32]

SMOOTHEST_PER_MM, SHARPEST_PER_MM = 0.3, 2.0
"""Range of the frequency at which a smoother kernel halves the contrast: a blur of 1.5 mm width at most."""
MOST_BOOST = 0.8
"""Largest share by which a sharper kernel raises the fine detail."""
MOST_INSERTS = 3
CONTRAST_HU = (8.0, 1000.0)
RADIUS_MM = (1.0, 15.0)
RANGE_HU = (-1000.0, 2500.0)
"""Range of the sum of tissue and insert."""


def kernel_change(shape: tuple[int, int], pixel_mm: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Transfer function from a kernel to a random other one, on the frequencies of `scipy.fft.rfft2` of `shape`.

    Half are smoother (Gaussian), half sharper (detail beyond a random frequency is raised). The mean stays.
    """
    frequency = frequencies(shape, pixel_mm)
    at = np.exp(rng.uniform(np.log(SMOOTHEST_PER_MM), np.log(SHARPEST_PER_MM)))
    smoother = np.exp2(-((frequency / at) ** 2))
    if rng.random() < 0.5:
        return smoother.astype(np.float32)
    return (1 + rng.uniform(0, MOST_BOOST) * (1 - smoother)).astype(np.float32)


def frequencies(shape: tuple[int, int], pixel_mm: float) -> NDArray[np.float64]:
    """Radial frequency (1/mm) of each coefficient of `scipy.fft.rfft2`."""
    return np.hypot(fft.fftfreq(shape[0], pixel_mm)[:, None], fft.rfftfreq(shape[1], pixel_mm))


def filtered(image: Patch, factor: NDArray[np.float32]) -> Patch:
    """The image with its spectrum multiplied; the periodic boundary affects a few border pixels."""
    return np.asarray(fft.irfft2(fft.rfft2(image) * factor, image.shape), np.float32)


def inserts(scan: Patch, pixel_mm: float, kernel: str | None, rng: np.random.Generator) -> Patch:
    """One to three ellipses to be added to the patch `scan` (y, x) HU, their edges as sharp as `kernel` shows them.

    Contrast and size are drawn evenly on a log scale. kernel: as the scan names it; B40 where it is unknown.
    """
    drawn = np.zeros_like(scan)
    for _ in range(int(rng.integers(1, MOST_INSERTS + 1))):
        centre = rng.integers(scan.shape)
        around = float(np.median(scan[tuple(slice(max(c - 3, 0), c + 4) for c in centre)]))
        contrast = rng.choice([-1, 1]) * np.exp(rng.uniform(*np.log(CONTRAST_HU)))
        low, high = (bound - around for bound in RANGE_HU)
        contrast = np.clip(contrast, min(low, 0), max(high, 0))
        drawn += np.float32(contrast) * _ellipse(scan.shape, centre, pixel_mm, rng)
    return filtered(drawn, _response(kernel).response(frequencies(scan.shape, pixel_mm)).astype(np.float32))


def _ellipse(
    shape: Sequence[int], centre: NDArray[np.int64], pixel_mm: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """A random ellipse: 1 inside, 0 outside, partial coverage on its edge."""
    radius = np.exp(rng.uniform(*np.log(RADIUS_MM))) / pixel_mm
    a, b = radius, radius * rng.uniform(0.4, 1)
    angle = rng.uniform(0, np.pi)
    y, x = np.ogrid[: shape[0], : shape[1]]
    u = (x - centre[1]) * np.cos(angle) + (y - centre[0]) * np.sin(angle)
    v = (y - centre[0]) * np.cos(angle) - (x - centre[1]) * np.sin(angle)
    level = np.hypot(u / a, v / b)
    inside_px = (1 - level) * level / np.maximum(np.hypot(u / a**2, v / b**2), 1e-6)  # distance to the edge, nearly
    return np.clip(inside_px + 0.5, 0, 1).astype(np.float32)


def _response(kernel: str | None) -> Kernel:
    try:
        return kernel_named(kernel or "B40")
    except InputError:
        return FAMILY["B40"]
