"""Is a scan one that the model was trained for?

Networks lose resolution or leave noise outside their training (Huber 2021).
"""

from __future__ import annotations

import numpy as np

from bioatt.models import TrainedModel
from bioatt.volume import Volume

CARE = "compare with the original with care"


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
    if kernel and kernels and kernel.lower() not in {one.lower() for one in kernels}:
        lines.append(f"kernel {kernel} was not in the model's training: {CARE}")
    return lines
