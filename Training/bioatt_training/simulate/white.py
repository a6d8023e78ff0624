"""Propagation of noise from the line integrals to the image."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from bioatt.core.noise import noise_sd
from bioatt.simulation.tomography import MU_WATER, Geometry, Kernel, backproject, fbp

SIDE, SLICES = 128, 16


def noise_image(
    views: np.ndarray,
    geometry: Geometry,
    shape: tuple[int, int],
    pixel_mm: float,
    kernel: Kernel,
    *,
    device: str = "cpu",
) -> np.ndarray:
    """Noise in HU (z, y, x) from noise views (z, views, cells); device as in `bioatt.simulation.tomography.project`."""
    image = fbp(views, geometry, shape, pixel_mm, kernel, upsample=2, extend=False, device=device)
    return image * np.float32(1000 / MU_WATER)


def white_image(geometry: Geometry, kernel: Kernel, pixel_mm: float) -> np.ndarray:
    """Sixteen slices (z, 128, 128) HU around the isocentre, reconstructed from unit white noise; deterministic."""
    views = np.random.default_rng(1).standard_normal((SLICES, geometry.views, geometry.cells), np.float32)
    return noise_image(views, geometry, (SIDE, SIDE), pixel_mm, kernel)


def propagated(variance: np.ndarray, geometry: Geometry, shape: tuple[int, int], pixel_mm: float) -> np.ndarray:
    """Variance of the image (z, y, x), up to a kernel constant, from that of the line integrals."""
    cosine = geometry.rays()[1][:, 1]
    per_view = variance * (cosine**2 / geometry.views**2).astype(np.float32)
    return backproject(per_view, geometry, shape, pixel_mm, power=2)


@lru_cache(maxsize=64)
def texture_gain(geometry: Geometry, kernel: Kernel, pixel_mm: float) -> float:
    """noise_sd in HU of a reconstruction ÷ the root of Σ_views (weight² · variance of the line integrals).

    Measured on white noise around the isocentre; it includes the kernel's bandwidth, the pixel size and what the 9×9
    window misses.
    """
    geometry = geometry.coarser(views=4)  # the number of views cancels near the isocentre
    image = white_image(geometry, kernel, pixel_mm)
    unit = propagated(np.ones((1, geometry.views, geometry.cells), np.float32), geometry, (SIDE, SIDE), pixel_mm)
    scale = 20 / image.std()
    return noise_sd(50 + image * scale) / scale / float(np.sqrt(unit.mean()))
