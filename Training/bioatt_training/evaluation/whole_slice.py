"""Measurements of a whole slice in HU: metrics by window, bias by tissue, noise, and spectrum of the removed noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from bioatt.core.metrics import WINDOWS, hu_bias, psnr, rmse, ssim
from bioatt.core.noise import noise_sd
from bioatt.physics.nps import nps, patches_inside

SPECTRUM_PX = 24
SOFT_HU = (-130.0, 150.0)
LEAST_PATCHES = 4


def slice_values(target: NDArray, low: NDArray, output: NDArray) -> dict[str, float]:
    """Metrics of one slice (y, x) in HU by name, "group/metric"; NaN if they cannot be measured.

    RMSE, PSNR and SSIM against the target in each window, of the input ("…_low") and of the output. bias_hu: output −
    target by tissue. noise: soft-tissue σ of input, output and target, and output relative to input and target.
    """
    values: dict[str, float] = {}
    for name, window in WINDOWS.items():
        for suffix, image in (("_low", low), ("", output)):
            values[f"{name}/rmse_hu{suffix}"] = rmse(target, image, window)
            values[f"{name}/psnr_db{suffix}"] = psnr(target, image, window)
            values[f"{name}/ssim{suffix}"] = ssim(target, image, window)
    values.update({f"bias_hu/{tissue}": bias for tissue, bias in hu_bias(target, output).items()})
    before, after, scan = (float(noise_sd(image)) for image in (low, output, target))
    values |= {"noise/low_hu": before, "noise/output_hu": after, "noise/target_hu": scan}
    return values | {"noise/output_over_low": after / before, "noise/output_over_target": after / scan}


def noise_patches(target: NDArray, low: NDArray, output: NDArray) -> tuple[NDArray, NDArray]:
    """Inserted and removed noise, low − target and low − output, in patches (n, 24, 24) of soft tissue.

    Soft tissue has a target local mean (5×5) of −130 to 150 HU and contains little structure to remove.
    """
    mean = uniform_filter(np.asarray(target, np.float32), 5)
    mask = ((mean > SOFT_HU[0]) & (mean < SOFT_HU[1]))[None]
    inserted, removed = (np.asarray(low, np.float64) - image for image in (target, output))
    return patches_inside(inserted[None], mask, SPECTRUM_PX), patches_inside(removed[None], mask, SPECTRUM_PX)


def spectrum_values(inserted: NDArray, removed: NDArray, pixel_mm: float) -> dict[str, float]:
    """Peak and mean frequency (1/mm) of the noise power spectra, and σ of removed over inserted noise.

    Empty for fewer than four patches, or if nothing was inserted or removed.
    """
    if len(inserted) < LEAST_PATCHES or not (inserted.any() and removed.any()):
        return {}
    values = {}
    for name, patches in (("inserted", inserted), ("removed", removed)):
        spectrum = nps(patches, pixel_mm)
        values[f"spectrum/peak_{name}_per_mm"] = spectrum.peak
        values[f"spectrum/mean_{name}_per_mm"] = spectrum.mean
    ratio = np.sqrt(np.mean(removed.var(axis=(1, 2))) / np.mean(inserted.var(axis=(1, 2))))
    return values | {"spectrum/removed_over_inserted": float(ratio)}
