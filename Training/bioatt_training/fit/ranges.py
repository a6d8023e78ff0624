"""Description of the training slices in a model file; `bioatt.inference.suitability` compares scans with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bioatt_training.data.bank import Slice
from bioatt_training.data.prior_augmentation import largest_rise
from bioatt_training.fit.config import GRID_PATCH, DataConfig


def training_ranges(slices: Sequence[Slice], config: DataConfig, dose: float, descriptors: int) -> dict[str, Any]:
    """Noise of the inputs, pixel size, thickness, kernels, doses and counts of `slices`.

    dose: fraction of the stored low dose, the only dose for samplings other than "random". descriptors: N.
    """
    noise = [one.noise_hu for one in slices if one.noise_hu]
    thickness = [one.thickness_mm for one in slices if one.thickness_mm is not None]
    pixel = [one.pixel_mm for one in slices]
    doses = (config.doses[0], config.doses[1]) if config.sampling == "random" else (dose, dose)
    described = {
        "noise_hu": [round(float(bound), 1) for bound in _input_noise(noise, doses)] if noise else None,
        "pixel_mm": [round(min(pixel), 2), round(max(pixel), 2)],
        "slice_thickness_mm": [min(thickness), max(thickness)] if thickness else None,
        "kernels": sorted({one.kernel for one in slices if one.kernel}),
        "doses": list(doses),
        "prior_rise": largest_rise(descriptors, config.prior_perturbation) if config.sampling == "random" else None,
        "patients": len({one.patient for one in slices}),
        "slices": len(slices),
        "sampling": config.sampling,
        "patch": {"random": config.patch, "grid": GRID_PATCH, "whole": None}[config.sampling],
    }
    return {name: value for name, value in described.items() if value is not None}


def _input_noise(noise_hu: list[float], doses: tuple[float, float]) -> tuple[float, float]:
    """Range of σ of the inputs: the targets' 5th to 95th percentile, scaled for the highest and the lowest dose."""
    low, high = np.percentile(noise_hu, [5, 95])
    return low / np.sqrt(doses[1]), high / np.sqrt(doses[0])
