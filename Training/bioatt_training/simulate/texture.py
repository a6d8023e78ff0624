"""Noise texture: radial power spectrum, and the kernel fitted to it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.fft
from scipy.ndimage import uniform_filter
from scipy.optimize import least_squares, nnls

from bioatt.core.errors import InputError
from bioatt.simulation.tomography import Geometry, Kernel
from bioatt_training.simulate.tissue import flat_tissue
from bioatt_training.simulate.white import white_image

LAGS = 16
DETREND = 21
EDGE_FROM = 0.25  # 1/mm: a boost below it would be anatomy mistaken for noise
_GEOMETRY = Geometry().coarser(views=4)


def radial_nps(image: np.ndarray, pixel_mm: float, where: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Radial noise power spectrum of an image or stack ((z,) y, x): frequencies in 1/mm and NPS in HU²·mm².

    Fourier transform of the autocovariance between the pixels of `where` (same shape, bool; any outline) after
    subtracting their local mean over 21×21 pixels, up to 16 pixels apart under a Hann window. By the Wiener–Khinchin
    theorem, this is the spectrum of a field known only in irregular regions. Raises InputError for fewer than 2,000
    pixels.
    """
    stack = image[None] if image.ndim == 2 else image
    masks = np.ones(stack.shape, bool) if where is None else where.reshape(stack.shape)
    if masks.sum() < 2000:
        raise InputError("too little homogeneous tissue to measure the noise spectrum: give the kernel")
    shape = [scipy.fft.next_fast_len(n + LAGS, real=True) for n in stack.shape[1:]]
    products, pairs = np.zeros(shape), np.zeros(shape)
    for plane, mask in zip(stack, masks, strict=True):
        inside = mask.astype(np.float64)
        level = uniform_filter(np.where(mask, plane, 0).astype(np.float64), DETREND)
        share = np.maximum(uniform_filter(inside, DETREND), 1e-6)
        residual = np.where(mask, plane - level / share, 0)
        products += _autocorrelation(residual, shape)
        pairs += _autocorrelation(inside, shape)
    lags = np.arange(-LAGS, LAGS)
    covariance = products[np.ix_(lags, lags)] / np.maximum(pairs[np.ix_(lags, lags)], 1)
    covariance *= np.outer(*[0.5 + 0.5 * np.cos(np.pi * lags / LAGS)] * 2)
    spectrum = np.fft.fft2(np.fft.ifftshift(covariance)).real * pixel_mm**2
    frequency = np.hypot(*np.meshgrid(*[np.fft.fftfreq(2 * LAGS, pixel_mm)] * 2))
    ring = np.rint(frequency * 2 * LAGS * pixel_mm).astype(int).ravel()
    rings = np.arange(1, LAGS + 1)
    counts = np.bincount(ring)[rings]
    radial = np.bincount(ring, spectrum.ravel())[rings] / counts
    return np.bincount(ring, frequency.ravel())[rings] / counts, np.maximum(radial, 0)


def _autocorrelation(image: np.ndarray, shape: list[int]) -> np.ndarray:
    return scipy.fft.irfft2(np.abs(scipy.fft.rfft2(image, shape)) ** 2, shape)


def tissue_nps(hu: np.ndarray, pixel_mm: float, sigma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`radial_nps` of the scan's own noise: of volume hu (z, y, x) in flat soft tissue of noise sigma (z,) HU."""
    where = np.stack([flat_tissue(plane, s) for plane, s in zip(hu, sigma, strict=True)])
    return radial_nps(hu, pixel_mm, where)


def peak_frequency(frequency: np.ndarray, nps: np.ndarray) -> float:
    """Frequency (1/mm) of the spectrum's maximum, by a parabola through it and its neighbours."""
    smooth = np.convolve(np.pad(nps, 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")
    top = int(np.clip(np.argmax(smooth), 1, len(smooth) - 2))
    low, mid, high = smooth[top - 1 : top + 2]
    bend = low - 2 * mid + high
    shift = 0.5 * (low - high) / bend if bend < 0 else 0.0
    return float(frequency[top] + np.clip(shift, -1, 1) * (frequency[top + 1] - frequency[top]))


class Texture(NamedTuple):
    """A decomposed spectrum: the kernel of its noise, and the anatomical part, amplitude · f^−power, in HU²·mm²."""

    kernel: Kernel
    anatomy: np.ndarray


def estimate_kernel(hu: np.ndarray, pixel_mm: float, sigma: np.ndarray) -> Kernel:
    """The kernel whose noise matches the spectrum of the scan's flat soft tissue; hu (z, y, x), sigma (z,) HU."""
    return fit_texture(*tissue_nps(hu, pixel_mm, sigma), pixel_mm).kernel


def fit_texture(frequency: np.ndarray, nps: np.ndarray, pixel_mm: float) -> Texture:
    """Fit nps = scale · f · response(f)² · transfer(f) + amplitude · f^−power: kernel noise plus anatomy.

    Least squares of the relative error from 0.06/mm to 0.9 of the Nyquist frequency; scale and amplitude are
    non-negative. The transfer (aliasing on the pixel grid, the spectrum's window) is 1 at first, then measured on noise
    generated with the first kernel.
    """
    first, _ = _fit(frequency, nps, pixel_mm, np.ones_like(nps))
    seen, shown = radial_nps(white_image(_GEOMETRY, first, pixel_mm), pixel_mm)
    transfer = shown / (seen * first.response(seen) ** 2)
    transfer /= transfer[len(transfer) // 3]
    return Texture(*_fit(frequency, nps, pixel_mm, transfer))


def _fit(frequency: np.ndarray, nps: np.ndarray, pixel_mm: float, transfer: np.ndarray) -> tuple[Kernel, np.ndarray]:
    use = (frequency > 0.06) & (frequency < 0.45 / pixel_mm)
    measured = nps[use]
    weight = 1 / (measured + 0.05 * measured.max())

    def kernel(x: np.ndarray) -> Kernel:
        f50, ratio, boost, place = (round(float(value), 6) for value in x[:4])
        return Kernel("auto", f50, f50 * ratio, boost, max(place * f50, EDGE_FROM))

    def parts(x: np.ndarray) -> np.ndarray:
        noise = frequency * kernel(x).response(frequency) ** 2 * transfer
        return np.stack([noise, (frequency / frequency[use][0]) ** -x[4]], 1)

    def amplitudes(x: np.ndarray) -> np.ndarray:
        return nnls(parts(x)[use] * weight[:, None], measured * weight)[0]

    def residual(x: np.ndarray) -> np.ndarray:
        return (parts(x)[use] @ amplitudes(x) - measured) * weight

    starts = ([0.3, 1.7, 0.0, 0.7, 3.0], [0.5, 1.5, 0.1, 0.7, 3.0], [0.7, 1.4, 0.6, 0.7, 3.0])
    limits = [0.15, 1.2, 0.0, 0.6, 2.0], [1.2, 2.4, 1.5, 0.9, 5.0]
    scale = [0.1, 0.3, 0.3, 0.2, 1.0]
    fits = [least_squares(residual, x, bounds=limits, x_scale=scale, diff_step=1e-3) for x in starts]
    x = min(fits, key=lambda fit: fit.cost).x
    return kernel(x), parts(x)[:, 1] * amplitudes(x)[1]
