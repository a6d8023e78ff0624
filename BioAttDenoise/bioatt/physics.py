"""What a CT physicist measures beside pixel errors: noise power spectrum, task transfer function, shift of small discs.

Definitions of AAPM TG-233 (Samei 2019, 10.1002/mp.13763). Lengths in mm, frequencies in 1/mm. Needs no torch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from bioatt.errors import InputError

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
        """First frequency at which the curve falls to `level` (f50 of a TTF: 0.5); NaN where it never does."""
        below = np.flatnonzero(self.value <= level)
        if not below.size or below[0] == 0:
            return float("nan")
        k = int(below[0])
        (f0, f1), (v0, v1) = self.frequency[k - 1 : k + 1], self.value[k - 1 : k + 1]
        return float(f0 + (v0 - level) / (v0 - v1) * (f1 - f0))


def nps_2d(patches: NDArray, pixel_mm: float) -> Array:
    """Noise power spectrum (h, w) in HU² mm² of noise patches (n, h, w), zero frequency first.

    pixel² / (h·w) · mean |DFT(patch − trend)|², the trend a polynomial of second order in x and y; its integral over
    frequency is the variance.
    """
    patches = np.asarray(patches, np.float64)
    if patches.ndim != 3 or min(patches.shape[1:]) < 8:
        raise InputError(f"a noise spectrum needs patches (n, h, w) of at least 8 pixels, not {patches.shape}")
    count, height, width = patches.shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], -1).reshape(-1, 6)
    flat = patches.reshape(count, -1).T
    flat = flat - terms @ np.linalg.lstsq(terms, flat, rcond=None)[0]
    power = np.abs(np.fft.fft2(flat.T.reshape(patches.shape))) ** 2
    return power.mean(0) * pixel_mm**2 / (height * width)


def nps(patches: NDArray, pixel_mm: float) -> Spectrum:
    """Radial mean of `nps_2d` up to the Nyquist frequency, in steps of one frequency sample; zero is left out."""
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
    """Non-overlapping patches (n, size, size) of a volume (z, y, x) that lie wholly inside a mask."""
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


def ttf(images: NDArray, centre_yx: tuple[float, float], radius_mm: float, pixel_mm: float) -> Spectrum:
    """Task transfer function of a disc's edge in images (n, y, x) of the same disc, 1 at zero frequency.

    Pixels within the smaller of `radius_mm` and 10 mm of the edge give the edge spread over the distance to it, in
    steps of a tenth of a pixel, averaged over all images; its derivative under a Hann window gives the transfer.
    centre_yx in pixels. Raises InputError where the ring does not fit the images.
    """
    images = np.asarray(images, np.float64)
    height, width = images.shape[1:]
    reach = min(radius_mm, 10.0)
    y, x = np.mgrid[:height, :width]
    distance = np.hypot(y - centre_yx[0], x - centre_yx[1]) * pixel_mm - radius_mm
    room = min(centre_yx[0], centre_yx[1], height - 1 - centre_yx[0], width - 1 - centre_yx[1]) * pixel_mm
    if room < radius_mm + reach:
        raise InputError(f"the edge of a disc of {radius_mm:g} mm and {reach:g} mm around it must lie in the image")
    near = np.abs(distance) < reach
    step = pixel_mm / 10
    index = ((distance[near] + reach) / step).astype(int)
    bins = int(2 * reach / step)
    index = np.minimum(index, bins - 1)
    samples = np.bincount(index, minlength=bins)
    spread = np.bincount(index, images.mean(0)[near], minlength=bins)
    filled = samples > 0
    position = (np.arange(bins) + 0.5) * step
    edge = np.interp(position, position[filled], spread[filled] / samples[filled])
    line = np.gradient(edge, step)
    middle = int(np.argmax(np.abs(np.convolve(line, np.ones(15), "same"))))
    taper = 0.5 + 0.5 * np.cos(np.pi * np.clip((np.arange(bins) - middle) / (bins / 2), -1, 1))
    transfer = np.abs(np.fft.rfft(line * taper, 16 * bins))
    frequency = np.fft.rfftfreq(16 * bins, step)
    # the difference quotient spans two steps
    transfer = transfer / np.maximum(np.sinc(2 * frequency * step), 1e-3)
    shown = frequency <= 0.5 / pixel_mm
    return Spectrum(np.asarray(frequency[shown], np.float64), transfer[shown] / transfer[0])


def disc_shifts(
    reference: NDArray,
    test: NDArray,
    mask: NDArray,
    pixel_mm: float,
    *,
    diameter_mm: float = 10.0,
    count: int = 200,
    seed: int = 0,
) -> Array:
    """Mean of test − reference (HU) over up to `count` random discs that lie wholly inside a mask (z, y, x)."""
    radius = diameter_mm / 2 / pixel_mm
    reach = int(np.ceil(radius))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.hypot(y, x) <= radius
    deep = np.stack([distance_transform_edt(np.pad(plane, 1))[1:-1, 1:-1] > radius + 1 for plane in mask])
    places = np.argwhere(deep)
    rng = np.random.default_rng(seed)
    chosen = places[rng.permutation(len(places))[:count]]
    difference = np.asarray(test, np.float64) - reference
    return np.array(
        [difference[k, r - reach : r + reach + 1, c - reach : c + reach + 1][disc].mean() for k, r, c in chosen]
    )
