"""Matrices other than 512 x 512 and small fields of view are denoised equally well."""

from __future__ import annotations

import numpy as np
import pytest

from bioatt.core.volume import Volume
from bioatt.inference.denoiser import Denoiser


@pytest.fixture(scope="module")
def denoiser():
    return Denoiser(prior="uniform", device="cpu", precision="fp32")


@pytest.mark.parametrize(("side", "pixel_mm"), [(64, 0.6), (96, 0.75), (768, 0.55), (1024, 0.4)])
def test_noise_falls_and_tissue_stays_on_any_matrix(denoiser, side, pixel_mm):
    rng = np.random.default_rng(side)
    y, x = (np.mgrid[:side, :side] - (side - 1) / 2) / side
    clean = np.where((x / 0.45) ** 2 + (y / 0.4) ** 2 < 1, 50.0, -1000.0)
    noisy = np.rint(clean + rng.normal(0, 25, clean.shape)).astype(np.int16)
    result = denoiser.denoise(Volume(noisy[None], spacing=(pixel_mm, pixel_mm, 3.0)), strength=1.0)
    inside = (x / 0.36) ** 2 + (y / 0.32) ** 2 < 1
    before, after = noisy[inside].astype(float), result.volume.hu[0][inside].astype(float)
    assert after.std() < 0.5 * before.std()
    assert abs(after.mean() - before.mean()) < 1.0
    outside = [line for line in result.warnings if "pixel size" in line]
    assert bool(outside) is (pixel_mm == 0.4)
