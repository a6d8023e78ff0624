"""Input of a denoiser: one axial slice, and its noise measured without the reference."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bioatt.core.errors import InputError
from bioatt.core.noise import noise_sd
from bioatt_training.simulate.texture import tissue_nps

UNKNOWN_NOISE_HU = 20.0
"""Noise level assumed for slices without soft tissue."""


@dataclass(frozen=True)
class Noise:
    """Standard deviation in HU; radial power spectrum at `frequency` (1/mm), None if it could not be measured."""

    sigma: float
    frequency: NDArray[np.float64] | None = None
    power: NDArray[np.float64] | None = None

    def spectrum(self, shape: tuple[int, int], pixel_mm: float) -> NDArray[np.float64]:
        """Power of the discrete Fourier transform of this noise on a grid, E|DFT|², zero frequency first."""
        if self.frequency is None or self.power is None:
            return np.full(shape, self.sigma**2 * shape[0] * shape[1])
        fy, fx = (np.fft.fftfreq(n, pixel_mm) for n in shape)
        radius = np.hypot(fy[:, None], fx[None, :])
        # filtered back projection leaves no noise at zero frequency
        power = np.interp(radius, [0, *self.frequency], [0.3 * self.power[0], *self.power])
        return power * (self.sigma**2 * power.size / power.mean())


@dataclass(frozen=True)
class Image:
    """A slice hu (y, x) int16 and the size of its pixels. known: its noise, if it is part of a larger slice."""

    hu: NDArray[np.int16]
    pixel_mm: float
    thickness_mm: float = 5.0
    known: Noise | None = None

    @cached_property
    def noise(self) -> Noise:
        """Measured in the slice's own soft tissue."""
        if self.known is not None:
            return self.known
        sigma = noise_sd(self.hu)
        if not np.isfinite(sigma):
            return Noise(UNKNOWN_NOISE_HU)
        try:
            frequency, power = tissue_nps(self.hu[None].astype(np.float32), self.pixel_mm, np.array([sigma]))
        except InputError:
            return Noise(sigma)
        return Noise(sigma, frequency, power)

    def middle(self, side: int) -> tuple[Image, tuple[slice, slice]]:
        """The central `side` pixels, with the noise of the whole slice, and their position (rows, columns)."""
        y, x = (max(n - side, 0) // 2 for n in self.hu.shape)
        part = (slice(y, y + side), slice(x, x + side))
        return replace(self, hu=np.ascontiguousarray(self.hu[part]), known=self.noise), part
