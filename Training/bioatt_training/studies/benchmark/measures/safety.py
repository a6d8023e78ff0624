"""Safety at full dose, where a good scan must not get worse: shifts of small discs, edge widths, and size of the
change.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from scipy.signal import fftconvolve

from bioatt.core.body import body_mask
from bioatt.core.noise import noise_sd
from bioatt.physics.nps import patches_inside
from bioatt.physics.ttf import ttf
from bioatt.simulation.phantom.inserts import Insert

DISC_MM = 10.0
TISSUES = {"soft tissue": (0.0, 130.0, 0.95), "lung": (-960.0, -700.0, 0.8), "bone": (200.0, 3000.0, 0.75)}
"""Range of the local mean (7×7 pixels) in HU, and the fraction of a disc that must lie within it."""
PATCH = 32
"""Side in pixels of the patches for noise spectra."""


def disc(pixel_mm: float, diameter_mm: float = DISC_MM) -> NDArray[np.float64]:
    """The disc's kernel: equal values that sum to 1."""
    radius = diameter_mm / 2 / pixel_mm
    reach = math.ceil(radius)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    inside = (np.hypot(y, x) <= radius).astype(np.float64)
    return inside / inside.sum()


def disc_centres(hu: NDArray, pixel_mm: float, *, most: int = 20, seed: int = 0) -> dict[str, list[tuple[int, int]]]:
    """Random non-overlapping discs (row, column) of 10 mm by tissue, up to `most` of each, in a slice (y, x)."""
    rng = np.random.default_rng(seed)
    mean = uniform_filter(np.clip(hu.astype(np.float32), -1100, 3100), 7)
    kernel = disc(pixel_mm)
    reach = kernel.shape[0] // 2
    found: dict[str, list[tuple[int, int]]] = {}
    for tissue, (low, high, share) in TISSUES.items():
        inside = fftconvolve(((mean >= low) & (mean < high)).astype(np.float64), kernel, mode="same") >= share
        inside[:reach], inside[-reach:], inside[:, :reach], inside[:, -reach:] = False, False, False, False
        chosen: list[tuple[int, int]] = []
        places = np.argwhere(inside)
        for y, x in places[rng.permutation(len(places))]:
            if len(chosen) == most:
                break
            if all(math.hypot(y - a, x - b) * pixel_mm >= DISC_MM for a, b in chosen):
                chosen.append((int(y), int(x)))
        found[tissue] = chosen
    return found


def disc_means(image: NDArray, centres: Sequence[tuple[int, int]], pixel_mm: float) -> list[float]:
    """Mean of an image (y, x) over each disc."""
    kernel = disc(pixel_mm)
    reach = kernel.shape[0] // 2
    parts = (image[y - reach : y + reach + 1, x - reach : x + reach + 1] for y, x in centres)
    return [float((part * kernel).sum()) for part in parts]


def disc_variance(noise: NDArray, pixel_mm: float) -> float:
    """Variance (HU²) of a disc's mean that noise patches (n, h, w) predict: Σ covariance(lag) · (disc ⋆ disc)(lag).

    Each lag's covariance averages all pixel pairs at that lag. CT noise has almost no power at zero frequency: a
    spectrum that is extrapolated there, or a patch treated as periodic, overestimates by 10 to 20 %. Each patch's own
    mean is subtracted, since a position-dependent shift is not noise. This also removes a little noise: the square root
    of the prediction is 0.89 (pixels of 0.5 mm) to 0.99 (0.9 mm) of the spread.
    """
    size = (2 * noise.shape[1], 2 * noise.shape[2])

    def correlated(image: NDArray) -> NDArray:
        return np.fft.irfft2(np.abs(np.fft.rfft2(image, size)) ** 2, size)

    pairs = correlated(np.ones(noise.shape[1:]))
    covariance = np.mean(
        [correlated(patch) for patch in noise - noise.mean((1, 2), keepdims=True)], axis=0
    ) / np.maximum(pairs, 0.5)
    return float((covariance * correlated(disc(pixel_mm))).sum())


def soft_patches(image: NDArray, guide: NDArray) -> NDArray:
    """Patches (n, PATCH, PATCH) of a slice or stack that lie in soft tissue of `guide`, of the same shape."""
    stack, guides = (a[None] if a.ndim == 2 else a for a in (image, guide))
    masks = []
    for plane in guides:
        mean = uniform_filter(np.clip(plane.astype(np.float32), -1100, 3100), 9)
        masks.append((mean > 0) & (mean < 130))
    return patches_inside(stack.astype(np.float64), np.stack(masks), PATCH)


def full_dose(
    before: NDArray, after: NDArray, own_noise: NDArray, pixel_mm: float, *, most: int = 20
) -> dict[str, Any]:
    """Effect of a denoiser on a full-dose scan, slices (y, x) in HU; own_noise: a new realisation of the scan's noise.

    {"discs": {tissue: {"shift", "noise"}}: means of the change and of the noise over each disc; "predicted": variance
    of such means predicted from the removed noise's spectrum in soft tissue (absent without a suitable patch);
    "change_hu": root mean square of the change in the body; "noise_hu": the scan's soft-tissue noise}.
    """
    change = after.astype(np.float64) - before
    centres = disc_centres(before, pixel_mm, most=most)
    body = body_mask(before.astype(np.float32))
    found: dict[str, Any] = {
        "discs": {
            tissue: {
                "shift": disc_means(change, places, pixel_mm),
                "noise": disc_means(own_noise, places, pixel_mm),
            }
            for tissue, places in centres.items()
        },
        "change_hu": float(np.sqrt((change[body] ** 2).mean())) if body.any() else math.nan,
        "noise_hu": float(noise_sd(before)),
    }
    removed = soft_patches(-change, before)
    if len(removed):
        found["predicted"] = disc_variance(removed, pixel_mm)
    return found


def against_truth(
    truth: NDArray, before: NDArray, after: NDArray, pixel_mm: float, repeats: int, *, most: int = 40
) -> dict[str, dict[str, list[float]]]:
    """Discs of slices scanned `repeats` times consecutively, (slices * repeats, y, x), by tissue.

    {"input", "output": mean over the repeats of image − truth by disc; "change": mean of output − input, mostly free of
    noise; "error": its standard error; "sd", "single": standard deviation and largest size of the change in single
    scans}.
    """
    names = ("input", "output", "change", "error", "sd", "single")
    found: dict[str, dict[str, list[float]]] = {tissue: {name: [] for name in names} for tissue in TISSUES}
    for first in range(0, len(truth), repeats):
        part = slice(first, first + repeats)
        for tissue, centres in disc_centres(truth[first], pixel_mm, most=most).items():
            shifts = {
                name: np.array(
                    [disc_means(a.astype(np.float64) - b, centres, pixel_mm) for a, b in zip(*pair, strict=True)]
                )
                for name, pair in {
                    "input": (before[part], truth[part]),
                    "output": (after[part], truth[part]),
                    "change": (after[part], before[part]),
                }.items()
            }
            for name, values in shifts.items():
                found[tissue][name] += values.mean(0).tolist()
            spread = shifts["change"].std(0, ddof=1)
            found[tissue]["error"] += (spread / math.sqrt(repeats)).tolist()
            found[tissue]["sd"] += spread.tolist()
            found[tissue]["single"] += np.abs(shifts["change"]).max(0).tolist()
    return found


def edges(images: NDArray, inserts: Sequence[Insert], pixel_mm: float) -> dict[str, float]:
    """f50 (1/mm) of the task transfer function of each insert, by contrast in HU.

    images (n, y, x): one slice scanned n times. The edge is measured in their mean, which preserves a denoiser's blur.
    """
    return {
        f"{one.contrast_hu:g}": ttf(images, one.centre_yx, one.radius_mm, pixel_mm).falls_to(0.5) for one in inserts
    }
