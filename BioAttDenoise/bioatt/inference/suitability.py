"""Is a scan one that the model was trained for?

Networks lose resolution or leave noise outside their training (Huber 2021).
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
"""Values that read as tissue: a fill of air does no harm, and metal is often all of one value."""
FILLED_SHARE = 0.02
"""Of a slice. A scan has no such place: even its quietest tissue varies."""
NOISY_HU = 3.0
"""Noise below which a scan may be a simulation without any."""
COARSE = 0.5
"""Times the noise from which the step of a rescale is told: rounding to it adds a noise of 0.29 steps."""
LOOKED_AT = 9
"""Slices, from end to end."""


def training_range_warnings(model: TrainedModel, volume: Volume, noise_hu: float) -> list[str]:
    """One line for each of noise, pixel, slice thickness and kernel that lies outside what the model was trained on.

    What the model file or the scan does not tell is not warned about.
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
                f"{what} {value:.3g} {unit} lies outside the model's training ({low:g} to {high:g} {unit}): {CARE}"
            )
    kernel, kernels = volume.acquisition.kernel, training.get("kernels")
    if kernel and kernels and _sharpness(kernel) not in {_sharpness(one) for one in kernels}:
        lines.append(f"kernel {kernel} was not in the model's training: {CARE}")
    step = max((abs(slope) for slope, _ in volume.rescale), default=0.0)
    if np.isfinite(noise_hu) and step > COARSE * noise_hu:
        lines.append(
            f"the series stores steps of {step:.3g} HU, coarse beside its noise of {noise_hu:.3g} HU: the result is "
            "rounded to them, which undoes part of it"
        )
    return lines


def _sharpness(kernel: str) -> str:
    """A kernel's name without the letter at its end by which Siemens names the scan's mode, as in B30f and B30s."""
    return re.sub(r"(?<=\d)[fhms]$", "", kernel.strip().lower())


def unchanged_warnings(before: Volume, after: Volume, strength: float) -> list[str]:
    """A line where denoising changed no voxel, which must not pass for a denoised scan (all air, all beyond HU)."""
    if strength == 0 or not np.array_equal(before.hu, after.hu):
        return []
    return ["nothing was denoised: the output is the input voxel for voxel, no body was found in it"]


def filled_area_warnings(hu: NDArray[np.float32], noise_hu: float) -> list[str]:
    """A line where slices (z, y, x) of a noisy scan have areas of one value that reads as tissue.

    Resampling fills what it has no data for with 0 HU where nobody says otherwise, and what identifies a person is
    blanked so. To the network that is tissue without noise, and it leaves more of the noise around it.
    """
    if not noise_hu >= NOISY_HU:
        return []
    looked_at = np.unique(np.linspace(0, len(hu) - 1, LOOKED_AT).astype(int))
    filled = sum(_filled_share(hu[k]) > FILLED_SHARE for k in looked_at)
    if not filled:
        return []
    return [
        f"areas of one value, neither air nor padding ({filled} of {len(looked_at)} slices looked at): noise near them "
        "stays, fill them with -1000 HU"
    ]


def _filled_share(plane: NDArray[np.float32]) -> float:
    mean, variance = local_moments(plane, 9)
    return float(((variance <= LEAST_VARIANCE) & (mean > FILLED_HU[0]) & (mean < FILLED_HU[1])).mean())
