"""Match the slices of two paired scans, and reject inconsistent pairs."""

from __future__ import annotations

import numpy as np

from bioatt.core.body import body_mask
from bioatt.core.errors import InputError
from bioatt.core.noise import noise_sd
from bioatt.core.volume import Volume

LEAST_CORRELATION = 0.9
MOST_BIAS_HU = 20.0


def matched(low: Volume, full: Volume) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Indices of the slices of `low` and of `full` at the same z, and warnings.

    Both canonical. Raises InputError if grids differ or no slices match.
    """
    warnings: list[str] = []
    if low.shape[1:] != full.shape[1:]:
        raise InputError(f"slices of {low.shape[1:]} and {full.shape[1:]} pixels: reconstruct both on the same grid")
    if not np.allclose(low.spacing[:2], full.spacing[:2], rtol=1e-3):
        raise InputError(f"pixels of {low.spacing[0]:g} and {full.spacing[0]:g} mm: reconstruct both on the same grid")
    if abs(np.subtract(low.origin[:2], full.origin[:2])).max() > 0.5 * low.spacing[0]:
        raise InputError("the fields of view are shifted relative to each other: reconstruct both on the same grid")
    z_low, z_full = (volume.origin[2] + np.arange(volume.shape[0]) * volume.spacing[2] for volume in (low, full))
    nearest = abs(z_low[:, None] - z_full[None]).argmin(1)
    meets = abs(z_full[nearest] - z_low) < 0.1 * min(low.spacing[2], full.spacing[2]) + 1e-3
    if not meets.any():
        raise InputError("no slices at the same position: the scans do not overlap")
    unmatched = int((~meets).sum()) + full.shape[0] - len(set(nearest[meets]))
    if unmatched:
        warnings.append(f"{unmatched} slices without a counterpart left out")
    return np.flatnonzero(meets), nearest[meets], warnings


def check_pair(low: np.ndarray, full: np.ndarray) -> None:
    """Raise InputError with the reason if low and full (z, y, x) HU do not show the same body at two doses."""
    if np.array_equal(low, full):
        raise InputError("low and full dose are the same image: give the pair's other half")
    chosen = np.unique(np.linspace(0, len(full) - 1, min(len(full), 9)).astype(int))
    correlation, bias = [], []
    for index in chosen:
        body = body_mask(np.asarray(full[index], np.float32))
        if body.sum() < 500:
            continue
        a, b = (np.clip(np.asarray(image[index], np.float32)[body], -1000, 1000) for image in (low, full))
        correlation.append(np.corrcoef(_smoothed(low[index])[body], _smoothed(full[index])[body])[0, 1])
        bias.append(float(np.median(a - b)))
    if not correlation:
        raise InputError("no body in the scans: check that they are CT in HU")
    if abs(np.median(bias)) > MOST_BIAS_HU:
        raise InputError(f"low dose is {np.median(bias):+.0f} HU off the full dose: check rescale slope and intercept")
    if np.median(correlation) < LEAST_CORRELATION:
        raise InputError(
            f"the images do not match (correlation {np.median(correlation):.2f}): another patient or shifted"
        )
    noise_low, noise_full = noise_sd(low[chosen]), noise_sd(full[chosen])
    if noise_low <= noise_full:
        raise InputError(
            f"low dose ({noise_low:.1f} HU) is not noisier than full dose ({noise_full:.1f} HU): swapped folders?"
        )


def duplicates(ids: tuple[str, ...]) -> list[int]:
    """Indices of slices whose voxels duplicate an earlier slice (their identity ends in #2, #3, …)."""
    return [index for index, name in enumerate(ids) if "#" in name]


def _smoothed(image: np.ndarray) -> np.ndarray:
    from scipy.ndimage import uniform_filter

    return uniform_filter(np.clip(np.asarray(image, np.float32), -1000, 1000), 5)
