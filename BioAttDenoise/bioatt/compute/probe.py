"""A synthetic slice for timing and comparing backends and precisions: a noisy torso, the same on every machine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from bioatt.core.volume import Volume

WIDTH_MM = 365.0
NOISE_HU = 35.0
"""About the noise at a quarter of the dose."""
_PARTS = (
    ((0.0, 0.0), (0.92, 0.72), -100.0),
    ((0.0, 0.0), (0.84, 0.64), 45.0),
    ((-0.42, -0.05), (0.26, 0.42), -850.0),
    ((0.42, -0.05), (0.26, 0.42), -850.0),
    ((0.0, 0.42), (0.11, 0.13), 450.0),
)
"""Centre and semi-axes (as fractions of half the width) and HU: fat, soft tissue, lungs, spine."""


def probe(side_px: int, slices: int = 1) -> Volume:
    """(slices, side_px, side_px) float32: the torso of `clean_torso` with coarse noise, 2 mm apart."""
    rng, clean = np.random.default_rng(0), clean_torso(side_px)
    hu = np.empty((slices, *clean.shape), np.float32)
    for image in hu:
        noise = gaussian_filter(rng.normal(size=clean.shape), 0.8)
        image[...] = clean + NOISE_HU * noise / noise.std()
    return Volume(hu, spacing=(WIDTH_MM / side_px, WIDTH_MM / side_px, 2.0))


def clean_torso(side_px: int) -> NDArray[np.float32]:
    """(side_px, side_px) HU without noise."""
    y, x = (np.mgrid[:side_px, :side_px] + 0.5) * 2 / side_px - 1
    hu = np.full((side_px, side_px), -1000.0, np.float32)
    for (middle, height), (wide, high), value in _PARTS:
        hu[((x - middle) / wide) ** 2 + ((y - height) / high) ** 2 < 1] = value
    return hu
