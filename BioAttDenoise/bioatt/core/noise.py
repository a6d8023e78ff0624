"""Noise of a scan, three measures of it, each in HU.

`noise_sd`: the mode of the local standard deviation in soft tissue, what users are shown.
`noise_level`: a low percentile of it in fat and soft tissue, steady along z; what the network is conditioned on. The
mode jumps where a slice has quiet and noisy parts alike, above and beside the shoulders say; a low percentile does not,
and leans towards little noise, where the network takes the least away.
`noise_map`: the local standard deviation by place.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, uniform_filter

WINDOW_PX = 9
"""Side of the square over which local means and standard deviations are taken."""
TISSUE_HU = (-150.0, 150.0)
"""Local means of fat and soft tissue."""
PERCENTILE = 10.0
LEAST_VARIANCE = 0.01
"""HU² over 9×9 px, below which no pixel differs by 1 HU: a filled or blanked area, no tissue."""
CONTEXT_SLICES = 4
"""Neighbours on either side that a slice's noise level or smoothed prior can depend on; a part of a volume with these
gets the same values as the whole."""


def noise_sd(hu: np.ndarray) -> float:
    """Noise in HU: the mode of the local standard deviation (9×9 pixels) in soft tissue; NaN where there is none.

    hu (y, x) or (z, y, x). Soft tissue is where the local mean is 0 to 150 HU; the mode leaves its edges out.
    Noise coarser than the 9×9 window escapes it: of a scan the value is a few per cent under the true standard
    deviation, of a denoised one, whose noise is coarse, up to 30 %. Repeated scans tell more.
    """
    image = np.asarray(hu)
    image = image[None] if image.ndim == 2 else image
    bins = np.zeros(1200)  # 0.25 HU each
    for plane in image:
        mean, variance = local_moments(plane, WINDOW_PX)
        local = np.sqrt(variance[(mean > 0) & (mean < 150)])
        index = (local * 4).astype(int)
        bins += np.bincount(index[index < bins.size], minlength=bins.size)
    if bins.sum() < 200:
        return math.nan
    width = 2.0
    for _ in range(2):  # the kernel widens with the noise, as the spread of a sample's standard deviation does
        taps = np.exp(-0.5 * (np.arange(-int(4 * width), int(4 * width) + 1) / width) ** 2)
        mode = int(np.argmax(np.convolve(bins, taps, mode="same")))
        width = max(width, 0.04 * mode)
    return (mode + 0.5) / 4


def noise_level(image: NDArray) -> float:
    """10th percentile of the standard deviation over 9×9 px in fat and soft tissue, in HU, of one slice (y, x).

    NaN where a slice has fewer than 200 pixels of them. In a torso of even noise it is 0.75 to 0.9 of the noise.
    """
    mean, variance = local_moments(image, WINDOW_PX)
    inside = (mean > TISSUE_HU[0]) & (mean < TISSUE_HU[1]) & (variance > LEAST_VARIANCE)
    if np.count_nonzero(inside) < 200:
        return math.nan
    return float(np.sqrt(np.percentile(variance[inside], PERCENTILE)))


def noise_levels(hu: NDArray) -> NDArray[np.float32]:
    """`noise_level` of axial slices (z, y, x) with air as padding, each averaged with its neighbours (z,).

    Weights fall linearly to nothing beyond `CONTEXT_SLICES` on either side, so that what follows from them does not
    flicker along z. NaN where there is no tissue that far.
    """
    floors = np.array([noise_level(image) for image in hu])
    known = np.isfinite(floors)
    ramp = CONTEXT_SLICES + 1 - np.abs(np.arange(-CONTEXT_SLICES, CONTEXT_SLICES + 1))
    sums, weights = (
        np.convolve(part, ramp)[CONTEXT_SLICES : CONTEXT_SLICES + len(floors)]
        for part in (np.where(known, floors, 0.0), known.astype(float))
    )
    return np.where(weights > 0, sums / np.maximum(weights, 1), np.nan).astype(np.float32)


def noise_map(hu: NDArray) -> NDArray[np.float32]:
    """Local σ in HU, (z, y, x) float32, over 9×9 pixels of each slice's detail finer than about 2.5 pixels.

    Taking the smooth part away first keeps gentle shading out; edges stay visible as what they are, not noise. The
    detail of white noise has 0.97 of its σ, that of smooth kernels less: compare maps, do not read them as the σ of
    `metrics.noise_sd`.
    """
    found = np.empty(hu.shape, np.float32)
    for plane, out in zip(hu, found, strict=True):
        values = plane.astype(np.float32)
        detail = values - gaussian_filter(values, 2.5)
        mean = uniform_filter(detail, WINDOW_PX)
        out[...] = np.sqrt(np.maximum(uniform_filter(detail * detail, WINDOW_PX) - mean * mean, 0))
    return found


def local_moments(plane: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance over size × size pixels; the 40 HU taken off first keep float32 exact where it matters."""
    values = np.clip(plane.astype(np.float32), -1100, 3100) - 40
    mean = uniform_filter(values, size)
    return mean + 40, np.maximum(uniform_filter(values * values, size) - mean * mean, 0)
