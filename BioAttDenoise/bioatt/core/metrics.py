"""Image quality against a reference: RMSE, PSNR, SSIM in HU windows, HU bias by tissue, noise. Needs no torch.

HU are clipped to the window first, and the data range of PSNR and SSIM is the window's width, so results from different
windows are not comparable.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.ndimage import minimum_filter, uniform_filter

from bioatt.core.errors import InputError
from bioatt.core.noise import local_moments, noise_sd

Window = tuple[float, float]

WINDOWS: dict[str, Window] = {
    "soft tissue": (-160.0, 240.0),
    "full": (-1000.0, 1000.0),
    "lung": (-1350.0, 150.0),
    "bone": (-500.0, 1300.0),
}
TISSUES: dict[str, Window] = {
    "lung": (-960.0, -700.0),
    "fat": (-130.0, -70.0),
    "soft tissue": (0.0, 130.0),
    "bone": (250.0, 3000.0),
}
"""Range of the reference's local mean in HU for each tissue, for `hu_bias`."""

SSIM_WINDOW = 7  # pixels; scikit-image's default, as in the paper's protocol
_CHUNK = 8  # slices at once: bounds the memory


def _pair(reference: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    reference, test = np.asarray(reference), np.asarray(test)
    if reference.shape != test.shape or reference.ndim not in (2, 3) or not reference.size:
        raise InputError(
            f"images must have the same shape, (y, x) or (z, y, x), not {reference.shape} and {test.shape}"
        )
    return (reference[None], test[None]) if reference.ndim == 2 else (reference, test)


def _clipped(image: np.ndarray, window: Window | None) -> np.ndarray:
    return image.astype(np.float64) if window is None else np.clip(image.astype(np.float64), *window)


def _width(window: Window) -> float:
    if not window[1] > window[0]:
        raise InputError(f"a window must go from a lower to a higher HU, not {window}")
    return window[1] - window[0]


def rmse(reference: np.ndarray, test: np.ndarray, window: Window | None = None) -> float:
    """Root mean square error in HU over all voxels of (y, x) or (z, y, x) arrays, both clipped to `window` first.

    Raises InputError for different shapes.
    """
    reference, test = _pair(reference, test)
    if window is not None:
        _width(window)
    squares = 0.0
    for first in range(0, len(reference), _CHUNK):
        part = slice(first, first + _CHUNK)
        squares += float(((_clipped(test[part], window) - _clipped(reference[part], window)) ** 2).sum())
    return math.sqrt(squares / reference.size)


def psnr(reference: np.ndarray, test: np.ndarray, window: Window = WINDOWS["soft tissue"]) -> float:
    """Peak signal-to-noise ratio in dB, 20 log10(window width / RMSE) over all voxels; inf for equal images.

    Shapes and errors as `rmse`.
    """
    error = rmse(reference, test, window)
    return math.inf if error == 0 else 20 * math.log10(_width(window) / error)


def ssim(reference: np.ndarray, test: np.ndarray, window: Window = WINDOWS["soft tissue"]) -> float:
    """Mean structural similarity of the slices (Wang 2004, 10.1109/TIP.2003.819861) with scikit-image's defaults.

    7×7 uniform window; the data range is the width of `window`. Shapes and errors as `rmse`; also raises InputError for
    slices smaller than 7×7.
    """
    reference, test = _pair(reference, test)
    if min(reference.shape[1:]) < SSIM_WINDOW:
        raise InputError(
            f"SSIM needs slices of at least {SSIM_WINDOW} x {SSIM_WINDOW} pixels, not {reference.shape[1:]}"
        )
    span = _width(window)
    pairs = zip(reference, test, strict=True)
    return float(
        np.mean([planes_ssim(_clipped(a, window)[None], _clipped(b, window)[None], span)[0] for a, b in pairs])
    )


def planes_ssim(a: np.ndarray, b: np.ndarray, span: float) -> np.ndarray:
    """Structural similarity of each pair of images (n, y, x) → (n,), as `ssim` but unclipped, with data range `span`.

    Mean over positions where the window fits in the image; sample (co)variances, K1 = 0.01, K2 = 0.03.
    """
    size = (1, SSIM_WINDOW, SSIM_WINDOW)
    mean_a, mean_b, squares_a, squares_b, products = (uniform_filter(x, size) for x in (a, b, a * a, b * b, a * b))
    sample = SSIM_WINDOW**2 / (SSIM_WINDOW**2 - 1)
    variances = sample * (squares_a - mean_a**2 + squares_b - mean_b**2)
    covariance = sample * (products - mean_a * mean_b)
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    similarity = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    similarity /= (mean_a**2 + mean_b**2 + c1) * (variances + c2)
    edge = SSIM_WINDOW // 2
    inner: np.ndarray = similarity[:, edge : a.shape[1] - edge, edge : a.shape[2] - edge].mean(axis=(1, 2))
    return inner


def hu_bias(reference: np.ndarray, test: np.ndarray) -> dict[str, float]:
    """Mean of test − reference in HU by tissue (`TISSUES`) of the reference; shapes as `rmse`.

    A voxel belongs to a tissue if the reference's local mean (5×5) stays in the tissue's range over 5×5 pixels.
    A noisy reference (σ above 20 HU) biases this selection: images without its noise then show a spurious bias,
    negative in soft tissue (regression to the mean). Tissues with fewer than 100 voxels are left out.
    """
    reference, test = _pair(reference, test)
    sums, counts = dict.fromkeys(TISSUES, 0.0), dict.fromkeys(TISSUES, 0)
    for a, b in zip(reference, test, strict=True):
        mean, _ = local_moments(a, 5)
        difference = b.astype(np.float64) - a
        for name, (low, high) in TISSUES.items():
            inside = minimum_filter((mean >= low) & (mean < high), 5)
            sums[name] += float(difference[inside].sum())
            counts[name] += int(inside.sum())
    return {name: sums[name] / counts[name] for name in TISSUES if counts[name] >= 100}


def compare(reference: np.ndarray, test: np.ndarray) -> dict[str, Any]:
    """Compute all of the above for one pair, as data ready for JSON; the soft-tissue window is also at the top level.

    {"psnr_db", "rmse_hu", "ssim", "windows": {name: {"window_hu", "data_range_hu", "rmse_hu", "psnr_db", "ssim"}},
    "hu_bias": {tissue: HU}, "noise_hu"}; PSNR of equal images and noise without soft tissue are None.
    """
    windows = {}
    for name, window in WINDOWS.items():
        error = rmse(reference, test, window)
        windows[name] = {
            "window_hu": list(window),
            "data_range_hu": _width(window),
            "rmse_hu": error,
            "psnr_db": 20 * math.log10(_width(window) / error) if error else None,
            "ssim": ssim(reference, test, window),
        }
    noise = noise_sd(test)
    return {
        **{key: windows["soft tissue"][key] for key in ("psnr_db", "rmse_hu", "ssim")},
        "windows": windows,
        "hu_bias": hu_bias(reference, test),
        "noise_hu": None if math.isnan(noise) else noise,
    }
