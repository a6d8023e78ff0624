"""Is a scan one that the model was trained for?

Networks lose resolution or leave noise outside their training (Huber 2021).
"""

from __future__ import annotations

import numpy as np

from bioatt.models import TrainedModel
from bioatt.volume import Volume

CARE = "compare with the original with care"


def training_range_warnings(model: TrainedModel, volume: Volume, noise_hu: float) -> list[str]:
    """One line for each of noise, pixel, slice thickness and kernel that lies outside what the model was trained on."""
    training = model.metadata["training"]
    acquisition = volume.acquisition
    measured = {
        "noise_hu": ("noise", noise_hu, "HU"),
        "pixel_mm": ("pixel size", volume.pixel_mm, "mm"),
        "slice_thickness_mm": ("slice thickness", acquisition.slice_thickness_mm, "mm"),
    }
    lines = []
    for key, (what, value, unit) in measured.items():
        low, high = training[key]
        if value is not None and np.isfinite(value) and not low <= value <= high:
            lines.append(
                f"{what} {value:.3g} {unit} lies outside the model's training ({low:g} to {high:g} {unit}): {CARE}"
            )
    kernels = {kernel.lower() for kernel in training["kernels"]}
    if acquisition.kernel and acquisition.kernel.lower() not in kernels:
        lines.append(
            f"kernel {acquisition.kernel} was not in the model's training: compare with the original with care"
        )
    return lines
