"""Compact description of noise for resampling: local level, spectrum, and power by direction."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import fft, ndimage

LEVEL_STEP = 8
"""Pixels between stored values of a level."""
SPECTRUM_SIDE = 64
WINDOW_STEP = SPECTRUM_SIDE // 2
DIRECTIONS = 12
"""Sectors of the half-plane of frequencies, from −90° to 90° of atan2(f_y, f_x)."""
LEVEL_SIGMA_PX = 10.0
LOWEST_LEVEL_HU = 0.5


def direction_of(shape: tuple[int, int]) -> NDArray[np.float64]:
    """Direction of each coefficient of `rfft2` of `shape` as a fractional sector index: 0 is the first sector's
    centre.
    """
    angle = np.arctan2(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1]))
    return (angle / np.pi + 0.5) * DIRECTIONS - 0.5


def local_level(noise: NDArray[np.int16]) -> NDArray[np.float32]:
    """Local standard deviation of a slice's noise (y, x), smoothed over about 2 cm, in HU."""
    variance = ndimage.gaussian_filter(noise.astype(np.float32) ** 2, LEVEL_SIGMA_PX)
    return np.sqrt(np.maximum(variance, LOWEST_LEVEL_HU**2))


def coarse_level(level: NDArray[np.float32]) -> NDArray[np.float32]:
    """Every `LEVEL_STEP`-th value, at the centre of its step; the last steps are padded."""
    whole = np.pad(level, [(0, -length % LEVEL_STEP) for length in level.shape], mode="edge")
    return whole[LEVEL_STEP // 2 :: LEVEL_STEP, LEVEL_STEP // 2 :: LEVEL_STEP]


def periodograms(noise: NDArray[np.float32]) -> NDArray[np.float32]:
    """Power by frequency of noise (y, x) in windows of 64² (rows, columns, 64, 33), under a Hann taper."""
    taper = np.outer(*[np.hanning(SPECTRUM_SIDE + 2)[1:-1]] * 2).astype(np.float32)
    windows = sliding_window_view(noise, (SPECTRUM_SIDE, SPECTRUM_SIDE))[::WINDOW_STEP, ::WINDOW_STEP]
    centred = windows - windows.mean(axis=(2, 3), keepdims=True)
    return np.abs(fft.rfft2(centred * taper)).astype(np.float32) ** 2


def direction_shares(power: NDArray[np.float32], total: NDArray[np.float32]) -> NDArray[np.float32]:
    """Power by direction of 3 × 3 windows relative to the scan's (rows, columns, 12); the power-weighted mean is 1."""
    sector = np.rint(direction_of((SPECTRUM_SIDE, SPECTRUM_SIDE))).astype(int) % DIRECTIONS
    in_sector = (np.arange(DIRECTIONS)[:, None, None] == sector).reshape(DIRECTIONS, -1)
    found = ndimage.uniform_filter(power, (3, 3, 1, 1), mode="nearest").reshape(*power.shape[:2], -1) @ in_sector.T
    known = in_sector @ total.ravel()
    shares: NDArray[np.float32] = found / known * (known.sum() / found.sum(axis=2, keepdims=True))
    return shares.astype(np.float32)
