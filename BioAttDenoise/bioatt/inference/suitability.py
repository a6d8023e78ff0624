"""Checks that a scan is like those the model was trained on.

Outside their training range, networks lose resolution or leave noise (Huber 2021).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bioatt.core.noise import LEAST_VARIANCE, local_moments
from bioatt.core.volume import Volume

if TYPE_CHECKING:
    from bioatt.inference.models import TrainedModel

CARE = "compare with the original with care"
FILLED_HU = (-900.0, 1000.0)
"""Range of tissue values: filling with air does no harm, and metal often has a single value."""
FILLED_SHARE = 0.02
"""Share of a slice above which it counts as filled. Scans have no such areas: even their quietest tissue varies."""
NOISY_HU = 3.0
"""Noise below which a scan may be a noise-free simulation."""
COARSE = 0.5
"""Multiple of the noise above which a rescale step is reported: rounding to it adds noise of 0.29 steps."""
LOOKED_AT = 9
"""Number of slices to examine, spread over the scan."""


def training_range_warnings(model: TrainedModel, volume: Volume, noise_hu: float) -> list[str]:
    """One warning for each of noise, pixel size, slice thickness and kernel outside the model's training range.

    Values that the model file or the scan does not give are skipped.
    """
    training = model.metadata.get("training", {})
    thickness = volume.acquisition.slice_thickness_mm
    pixels = volume.spacing[:2] if volume.axial else ()
    measured = [("noise_hu", "noise", noise_hu, "HU"), ("slice_thickness_mm", "slice thickness", thickness, "mm")]
    measured += [("pixel_mm", "pixel size", side, "mm") for side in pixels]
    lines = []
    for key, what, value, unit in measured:
        low, high = training.get(key, (-np.inf, np.inf))
        if value is not None and np.isfinite(value) and not low <= value <= high:
            lines.append(
                f"{what} {value:.3g} {unit} is outside the model's training range ({low:g} to {high:g} {unit}): {CARE}"
            )
    kernel, kernels = volume.acquisition.kernel, training.get("kernels")
    if kernel and kernels and _sharpness(kernel) not in {_sharpness(one) for one in kernels}:
        lines.append(f"the model was not trained on kernel {kernel}: {CARE}")
    step = max((abs(slope) for slope, _ in volume.rescale), default=0.0)
    if np.isfinite(noise_hu) and step > COARSE * noise_hu:
        lines.append(
            f"the series stores steps of {step:.3g} HU, coarse for its noise of {noise_hu:.3g} HU: rounding the result "
            "to them undoes part of the denoising"
        )
    return lines


def _sharpness(kernel: str) -> str:
    """A kernel's name without the final letter by which Siemens denotes the scan mode, as in B30f and B30s."""
    return re.sub(r"(?<=\d)[fhms]$", "", kernel.strip().lower())


def unchanged_warnings(before: Volume, after: Volume, strength: float) -> list[str]:
    """A warning if denoising changed no voxel (all air, or all outside the HU range)."""
    if strength == 0 or not np.array_equal(before.hu, after.hu):
        return []
    return ["nothing was denoised: no body was found, and the output equals the input"]


def filled_area_warnings(hu: NDArray[np.float32], noise_hu: float) -> list[str]:
    """A warning if slices (z, y, x) of a noisy scan have areas of a single value in the range of tissue.

    By default, resampling fills areas without data with 0 HU, and defacing blanks areas likewise. To the network these
    are tissue without noise, so it leaves more noise around them.
    """
    if not noise_hu >= NOISY_HU:
        return []
    looked_at = np.unique(np.linspace(0, len(hu) - 1, LOOKED_AT).astype(int))
    filled = sum(_filled_share(hu[k]) > FILLED_SHARE for k in looked_at)
    if not filled:
        return []
    return [
        f"areas of a single value that is neither air nor padding ({filled} of {len(looked_at)} slices examined) keep "
        "noise near them: fill them with -1000 HU"
    ]


def _filled_share(plane: NDArray[np.float32]) -> float:
    mean, variance = local_moments(plane, 9)
    return float(((variance <= LEAST_VARIANCE) & (mean > FILLED_HU[0]) & (mean < FILLED_HU[1])).mean())
