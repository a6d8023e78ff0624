"""Channels of model observers: images (count, size, size) whose inner products with a patch are the observer's input.

Frequencies are in cycles per pixel. `responses` applies any of these channels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import eval_laguerre

from bioatt.core.errors import InputError

Array = NDArray[np.float64]

DENSE = (0.005, 1.4, 1.67, 10)
"""First σ, ratio of successive σ, Q and number of dense differences of Gaussians (Abbey 2001, JOSA A 18:473)."""


def laguerre_gauss(size: int, width_px: float, count: int = 6) -> Array:
    """Laguerre-Gauss functions (Gallas 2003, 10.1364/JOSAA.20.001725) of a width in pixels, for round signals.

    √2/a · exp(−π r²/a²) · L_k(2π r²/a²), k = 0 … count − 1.
    """
    if width_px <= 0:
        raise InputError(f"a channel's width must be positive, not {width_px:g}")
    square = np.pi * _radius(size) ** 2 / width_px**2
    return np.stack([np.sqrt(2) / width_px * np.exp(-square) * eval_laguerre(k, 2 * square) for k in range(count)])


def differences_of_gaussians(size: int) -> Array:
    """The dense differences of Gaussians (Abbey 2001): exp(−(f/(Qσ))²/2) − exp(−(f/σ)²/2), round bands of frequency."""
    first, ratio, q, count = DENSE
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    widths = first * ratio ** np.arange(count)
    bands = [
        np.exp(-0.5 * (frequency / (q * width)) ** 2) - np.exp(-0.5 * (frequency / width) ** 2) for width in widths
    ]
    return np.stack([np.fft.fftshift(np.fft.ifft2(band).real) for band in bands])


def gabor(size: int, *, orientations: int = 2) -> Array:
    """Even Gabor functions: four octaves centred at 3/128 to 3/16 cycles/px, each in `orientations` directions."""
    y, x = _grid(size)
    found = []
    for centre in 3 / 128 * 2.0 ** np.arange(4):
        width = 4 * np.log(2) / (np.pi * (2 / 3) * centre)  # full width at half maximum; the band spans an octave
        envelope = np.exp(-4 * np.log(2) * (x * x + y * y) / width**2)
        for angle in np.pi * np.arange(orientations) / orientations:
            found.append(envelope * np.cos(2 * np.pi * centre * (x * np.cos(angle) + y * np.sin(angle))))
    return np.stack(found)


def responses(patches: NDArray, channels: Array) -> Array:
    """Inner products (n, count) of patches (n, size, size) with channels (count, size, size)."""
    patches = np.asarray(patches, np.float64)
    if patches.ndim != 3 or patches.shape[1:] != channels.shape[1:]:
        raise InputError(f"patches must be (n, {channels.shape[1]}, {channels.shape[2]}), not {patches.shape}")
    return patches.reshape(len(patches), -1) @ channels.reshape(len(channels), -1).T


def _grid(size: int) -> tuple[Array, Array]:
    """(y, x) in pixels from the middle pixel, size // 2."""
    y, x = np.mgrid[:size, :size] - float(size // 2)
    return y, x


def _radius(size: int) -> Array:
    return np.hypot(*_grid(size))
