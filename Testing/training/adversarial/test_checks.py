"""Tissue bias and structure error of batches, against the slice metrics and against known errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter

from bioatt.core.metrics import TISSUES
from bioatt_training.adversarial.checks import STRUCTURE_PX, structure_error, tissue_errors


def standardised(hu):
    return (torch.from_numpy(hu).float()[:, None] + 500) / 500


def test_tissue_errors_are_those_of_whole_slices():
    rng = np.random.default_rng(0)
    target = np.full((2, 60, 60), 50.0)
    target[:, :20], target[:, 40:], target[:, :, 45:] = -850, -100, 400
    target += rng.normal(0, 3, target.shape)
    output = target + np.where(target > 200, 7.0, -4.0)
    found = tissue_errors(standardised(output), standardised(target))
    means = {name: float(total / count) for name, (total, count) in found.items()}
    assert set(means) == set(TISSUES)
    assert means == pytest.approx({"lung": -4, "fat": -4, "soft tissue": -4, "bone": 7}, abs=0.01)
    counts = {name: int(count) for name, (_, count) in found.items()}
    # Rows 20 to 39 and columns 0 to 44 lose two pixels to the mean and two to the erosion at lung and patch border, but
    # only three in all at fat and bone: a mean that includes a fifth of either is still in the soft-tissue range.
    assert counts["soft tissue"] == 2 * (20 - 4 - 3) * (45 - 4 - 3)


def test_a_tissue_that_is_not_there():
    air = torch.full((1, 1, 20, 20), -1.0)
    assert all(int(count) == 0 for _, count in tissue_errors(air, air).values())


def test_structure_error_counts_what_is_wider_than_noise():
    rng = np.random.default_rng(0)
    flat = np.zeros((1, 40, 40))
    noisy, shifted = flat + rng.normal(0, 9, flat.shape), flat + 9.0
    noise, shift = (float(structure_error(standardised(x), standardised(flat))) for x in (noisy, shifted))
    inner = slice(STRUCTURE_PX // 2, -(STRUCTURE_PX // 2))
    assert noise == pytest.approx((uniform_filter(noisy[0], STRUCTURE_PX)[inner, inner] ** 2).mean(), rel=1e-3)
    assert shift == pytest.approx(81, rel=1e-3)
    assert noise < 0.05 * shift
