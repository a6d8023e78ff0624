"""Metrics of whole slices recover the noise and the bias that were added."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import uniform_filter

from bioatt.core.metrics import WINDOWS
from bioatt_training.evaluation.whole_slice import noise_patches, slice_values, spectrum_values

RNG = np.random.default_rng(0)
TARGET = np.full((160, 160), 60.0) + RNG.normal(0, 4, (160, 160))
NOISE = RNG.normal(0, 20, TARGET.shape)


def test_values_of_input_and_output_in_every_window():
    found = slice_values(TARGET, TARGET + NOISE, TARGET + NOISE / 2 + 3)
    for window in WINDOWS:
        assert found[f"{window}/rmse_hu_low"] == pytest.approx(20, rel=0.05)
        assert found[f"{window}/rmse_hu"] == pytest.approx(np.hypot(10, 3), rel=0.05)
        assert found[f"{window}/ssim"] > found[f"{window}/ssim_low"]
    assert found["bias_hu/soft tissue"] == pytest.approx(3, abs=0.3)
    assert found["noise/output_over_low"] == pytest.approx(np.hypot(10, 4) / np.hypot(20, 4), rel=0.1)
    assert found["noise/output_over_target"] == pytest.approx(np.hypot(10, 4) / 4, rel=0.1)


def test_the_spectrum_of_what_was_removed():
    """Halving the noise removes noise of the same spectrum; a blur removes higher frequencies."""
    half = spectrum_values(*noise_patches(TARGET, TARGET + NOISE, TARGET + NOISE / 2), 0.8)
    assert half["spectrum/removed_over_inserted"] == pytest.approx(0.5, rel=1e-6)
    assert half["spectrum/mean_removed_per_mm"] == pytest.approx(half["spectrum/mean_inserted_per_mm"], rel=1e-6)
    blurred = uniform_filter(TARGET + NOISE, 5)
    high = spectrum_values(*noise_patches(TARGET, TARGET + NOISE, blurred), 0.8)
    assert high["spectrum/mean_removed_per_mm"] > 1.03 * high["spectrum/mean_inserted_per_mm"]


def test_no_spectrum_without_soft_tissue_or_noise():
    air = np.full((160, 160), -1000.0)
    assert spectrum_values(*noise_patches(air, air + NOISE, air), 0.8) == {}
    assert spectrum_values(*noise_patches(TARGET, TARGET + NOISE, TARGET + NOISE), 0.8) == {}
