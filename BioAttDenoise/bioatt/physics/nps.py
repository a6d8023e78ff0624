"""Noise power spectrum (AAPM TG-233: Samei 2019, 10.1002/mp.13763). Lengths in mm, frequencies in 1/mm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bioatt.core.errors import InputError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Spectrum:
    """A radial curve: value at frequency (1/mm)."""

    frequency: Array
    value: Array

    @property
    def peak(self) -> float:
        """Frequency of the largest value."""
        return float(self.frequency[np.argmax(self.value)])

    @property
    def mean(self) -> float:
        """Average frequency, weighted by the value."""
        return float(np.average(self.frequency, weights=self.value))

    def falls_to(self, level: float) -> float:
        """First frequency at which the curve falls to `level` (f50 of a TTF: 0.5); NaN if it never does."""
        below = np.flatnonzero(self.value <= level)
        if not below.size or below[0] == 0:
            return float("nan")
        k = int(below[0])
        (f0, f1), (v0, v1) = self.frequency[k - 1 : k + 1], self.value[k - 1 : k + 1]
        return float(f0 + (v0 - level) / (v0 - v1) * (f1 - f0))


def nps_2d(patches: NDArray, pixel_mm: float) -> Array:
    """Noise power spectrum (h, w) in HU² mm² of noise patches (n, h, w), zero frequency first.

    pixel² / (h·w) · mean |DFT(patch − trend)|², where the trend is a second-order polynomial in x and y; its integral
    over frequency is the variance.
    """
    patches = np.asarray(patches, np.float64)
    if patches.ndim != 3 or min(patches.shape[1:]) < 8:
        raise InputError(f"a noise spectrum needs patches (n, h, w) of at least 8 x 8 pixels, not {patches.shape}")
    count, height, width = patches.shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], -1).reshape(-1, 6)
    flat = patches.reshape(count, -1).T
    flat = flat - terms @ np.linalg.lstsq(terms, flat, rcond=None)[0]
    power = np.abs(np.fft.fft2(flat.T.reshape(patches.shape))) ** 2
    return power.mean(0) * pixel_mm**2 / (height * width)


def nps(patches: NDArray, pixel_mm: float) -> Spectrum:
    """Radial mean of `nps_2d` up to the Nyquist frequency, in steps of one frequency sample, without zero."""
    power = nps_2d(patches, pixel_mm)
    fy, fx = (np.fft.fftfreq(n, pixel_mm) for n in power.shape)
    radius = np.hypot(fy[:, None], fx[None, :])
    step = 1 / (max(power.shape) * pixel_mm)
    index = np.rint(radius / step).astype(int)
    last = int(0.5 / pixel_mm / step)
    sums = np.bincount(index.ravel(), power.ravel(), minlength=last + 1)
    counts = np.bincount(index.ravel(), minlength=last + 1)
    wanted = np.arange(1, last + 1)
    return Spectrum(wanted * step, sums[wanted] / counts[wanted])


def patches_inside(image: NDArray, mask: NDArray, size: int) -> NDArray:
    """Non-overlapping patches (n, size, size) of a volume (z, y, x) that lie entirely inside a mask."""
    found = []
    for plane, inside in zip(image, mask, strict=True):
        total = np.pad(inside.astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
        filled = total[size:, size:] - total[:-size, size:] - total[size:, :-size] + total[:-size, :-size]
        free = filled == size * size
        while free.any():
            y, x = np.unravel_index(int(np.argmax(free)), free.shape)
            found.append(plane[y : y + size, x : x + size])
            free[max(y - size + 1, 0) : y + size, max(x - size + 1, 0) : x + size] = False
    return np.stack(found) if found else np.empty((0, size, size), image.dtype)
