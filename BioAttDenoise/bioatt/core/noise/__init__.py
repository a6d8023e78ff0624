"""Noise of a CT in HU: the local standard deviation, and the noise SD, noise level and noise map derived from it.

`noise_sd`: the mode of the local standard deviation in soft tissue; the value shown to users.
`noise_level`: a low percentile of the local standard deviation in fat and soft tissue; the network is conditioned on
it. The mode jumps between slices that hold quiet and noisy parts (shoulders); a low percentile varies smoothly along z
and errs towards too little noise, at which the network removes least.
`noise_map`: the local standard deviation at each pixel.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, uniform_filter

from bioatt.core.noise.sampling import STEP, block_means

WINDOW_PX = 9
"""Side of the square window for local means and standard deviations."""
SOFT_TISSUE_HU = (0.0, 150.0)
"""Range of local means in which `noise_sd` measures."""
TISSUE_HU = (-150.0, 150.0)
"""Range of local means in fat and soft tissue, in which `noise_level` measures."""
MIN_PIXELS = 200
"""A slice with fewer pixels in these ranges has no measurable noise (NaN)."""
PERCENTILE = 10.0
LEAST_VARIANCE = 0.01
"""In HU² over 9×9 px; below it no pixel differs by 1 HU, so the area is filled or blanked rather than tissue."""
CONTEXT_SLICES = 4
"""Number of neighbours on either side on which a slice's noise level and smoothed prior depend. Part of a volume,
processed with these neighbours, gets the same values as in the whole volume."""
_CENTRE_HU = 40.0
CLIP_SD = 2.5
"""`robust_local_sd` limits each value to this multiple of the standard deviation."""


def local_moments(image: NDArray, size: int = WINDOW_PX) -> tuple[NDArray, NDArray]:
    """Local mean (HU) and variance (HU²) of one slice (y, x) over size × size pixels, each (y, x) float32."""
    mean, variance = _moments(_centred(image), size)
    return mean + _CENTRE_HU, variance


def local_covariance(one: NDArray, other: NDArray, size: int = WINDOW_PX) -> NDArray:
    """Local covariance (HU²) of two images (y, x) over size × size pixels, (y, x) float32."""
    a, b = _centred(one), _centred(other)
    return uniform_filter(a * b, size) - uniform_filter(a, size) * uniform_filter(b, size)


def _centred(image: NDArray) -> NDArray[np.float32]:
    """Centre the values on soft tissue, so that float32 squares keep the variance despite rounding."""
    return np.clip(image.astype(np.float32), -1100, 3100) - np.float32(_CENTRE_HU)


def _moments(values: NDArray, size: int) -> tuple[NDArray, NDArray]:
    mean = uniform_filter(values, size)
    return mean, np.maximum(uniform_filter(values * values, size) - mean * mean, 0)


def robust_local_sd(image: NDArray, regions: list[NDArray[np.bool_]], size: int) -> NDArray[np.float32]:
    """Local standard deviation of a zero-mean image (y, x) over size × size pixels, region by region.

    Outliers (edges, bone) are clipped at CLIP_SD standard deviations, and the bias of clipping Gaussian noise is
    corrected. At least 0.3 of the region's median-based value; inf outside the regions and in constant regions.
    """
    found = np.full(image.shape, np.inf, np.float32)
    for region in regions:
        overall = float(np.median(np.abs(image[region]))) / 0.6745 if region.any() else 0.0  # MAD of a Gaussian
        if overall == 0:
            continue
        share = uniform_filter(region.astype(np.float32), size)
        limit: NDArray | float = CLIP_SD * overall
        for _ in range(2):  # the second pass clips at the local value
            squares = np.where(region, np.minimum(np.abs(image), limit) ** 2, 0).astype(np.float32)
            variance = np.maximum(uniform_filter(squares, size), 0) / np.maximum(share, 1e-3) / _CLIPPED_VARIANCE
            local = np.maximum(np.sqrt(variance), 0.3 * overall)
            limit = CLIP_SD * local
        found[region] = local[region]
    return found


def _clipped_variance() -> float:
    """Variance of a standard normal variable clipped to ±CLIP_SD."""
    x = np.linspace(-8, 8, 4001)
    density = np.exp(-x * x / 2) / np.sqrt(2 * np.pi)
    return float((np.clip(x, -CLIP_SD, CLIP_SD) ** 2 * density).sum() * (x[1] - x[0]))


_CLIPPED_VARIANCE = _clipped_variance()


def noise_sd(hu: NDArray) -> float:
    """Noise in HU: the mode of the local standard deviation (9×9 pixels) in soft tissue; NaN without soft tissue.

    hu: (y, x) or (z, y, x). The mode ignores organ edges. Noise coarser than the window is underestimated: by a few
    per cent in an original scan, by up to 30 % in a denoised scan, whose remaining noise is coarse. Repeated scans give
    a better measure.
    """
    bins = np.zeros(1200)  # 0.25 HU each
    for image in hu if np.ndim(hu) == 3 else [hu]:
        mean, variance = local_moments(_around_tissue(image))
        local = np.sqrt(variance[(mean > SOFT_TISSUE_HU[0]) & (mean < SOFT_TISSUE_HU[1])])
        index = (local * 4).astype(int)
        bins += np.bincount(index[index < bins.size], minlength=bins.size)
    if bins.sum() < MIN_PIXELS:
        return math.nan
    width = 2.0
    for _ in range(2):  # the kernel widens with the noise, as the spread of a sample's standard deviation does
        taps = np.exp(-0.5 * (np.arange(-int(4 * width), int(4 * width) + 1) / width) ** 2)
        mode = int(np.argmax(np.convolve(bins, taps, mode="same")))
        width = max(width, 0.04 * mode)
    return (mode + 0.5) / 4


def _around_tissue(image: NDArray) -> NDArray:
    """Crop a slice (y, x) to the part that can hold windows with the mean of soft tissue.

    Such a window must contain a pixel that dense.
    """
    above = image > SOFT_TISSUE_HU[0]
    for axis in (1, 0):
        (places,) = np.nonzero(above.any(axis=axis))
        first, last = (places[0], places[-1]) if places.size else (0, 0)
        near = slice(max(first - WINDOW_PX, 0), last + WINDOW_PX + 1)
        image = image[near] if axis == 1 else image[:, near]
    return image


def noise_by_slice(hu: NDArray) -> NDArray[np.float32]:
    """`noise_sd` of each slice of (z, y, x), as (z,) float32; NaN for slices without soft tissue."""
    return np.array([noise_sd(image) for image in hu], np.float32)


def median_noise(noise_hu: NDArray) -> float:
    """Median of the finite values of `noise_by_slice`; NaN if there are none."""
    finite = noise_hu[np.isfinite(noise_hu)]
    return float(np.median(finite)) if finite.size else math.nan


def noise_level(image: NDArray) -> float:
    """Noise level in HU of one slice (y, x): the 10th percentile of the local SD (9×9 px) in fat and soft tissue.

    Only windows around every third pixel are used; the percentile over all windows agrees to 2 %. NaN if the slice has
    fewer than 200 pixels of such tissue. In a torso with uniform noise it is 0.75 to 0.9 of the noise SD.
    """
    values = _centred(image)
    blocks = WINDOW_PX // STEP
    mean = block_means(values, blocks)
    variance = block_means(values * values, blocks) - mean * mean
    inside = (mean > TISSUE_HU[0] - _CENTRE_HU) & (mean < TISSUE_HU[1] - _CENTRE_HU) & (variance > LEAST_VARIANCE)
    if STEP**2 * np.count_nonzero(inside) < MIN_PIXELS:
        return math.nan
    return float(np.sqrt(np.percentile(variance[inside], PERCENTILE)))


def noise_levels(hu: NDArray) -> NDArray[np.float32]:
    """`noise_level` of each axial slice of (z, y, x), averaged with its neighbours: (z,) float32; padding as air.

    Triangular weights that reach zero beyond `CONTEXT_SLICES` on either side keep the conditioning from flickering
    along z. NaN if no slice in that range has a noise level.
    """
    levels = np.array([noise_level(image) for image in hu])
    known = np.isfinite(levels)
    ramp = CONTEXT_SLICES + 1 - np.abs(np.arange(-CONTEXT_SLICES, CONTEXT_SLICES + 1))
    sums, weights = (
        np.convolve(part, ramp)[CONTEXT_SLICES : CONTEXT_SLICES + len(levels)]
        for part in (np.where(known, levels, 0.0), known.astype(float))
    )
    return np.where(weights > 0, sums / np.maximum(weights, 1), np.nan).astype(np.float32)


def noise_map(hu: NDArray) -> NDArray[np.float32]:
    """Local SD in HU, (z, y, x) float32, over 9×9 pixels of each slice's detail finer than about 2.5 pixels.

    The high-pass filter removes gentle shading; organ edges stay visible. White noise keeps 0.97 of its SD, noise of
    smooth kernels less: use the map to compare positions and scans, and `noise_sd` for an absolute value.
    """
    found = np.empty(hu.shape, np.float32)
    for image, out in zip(hu, found, strict=True):
        values = image.astype(np.float32)
        out[...] = np.sqrt(_moments(values - gaussian_filter(values, 2.5), WINDOW_PX)[1])
    return found
