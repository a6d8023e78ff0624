"""Noise power spectrum and task transfer function against analytic truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from bioatt.core.errors import InputError
from bioatt.physics.nps import Spectrum, nps, nps_2d, patches_inside
from bioatt.physics.ttf import ttf
from bioatt.simulation.phantom.inserts import cylinder_with_inserts

PIXEL = 0.7


def test_nps_of_white_noise_is_flat_and_integrates_to_the_variance():
    noise = np.random.default_rng(0).normal(0, 20, (200, 48, 48))
    power = nps_2d(noise, PIXEL)
    assert power.sum() / (48 * PIXEL) ** 2 == pytest.approx(noise.var(), rel=0.02)
    curve = nps(noise, PIXEL)
    assert curve.value[3:] == pytest.approx(np.full(curve.value[3:].size, 400 * PIXEL**2), rel=0.1)
    assert curve.frequency[-1] <= 0.5 / PIXEL


def test_nps_finds_the_frequency_of_a_grating_and_ignores_shading():
    x = np.arange(64) * PIXEL
    frequency = 8 / (64 * PIXEL)
    grating = 10 * np.cos(2 * np.pi * frequency * x)[None, None, :] + np.zeros((3, 64, 1))
    shaded = grating + 5 * (x**2)[None, None, :] / 100 + 30
    assert nps(shaded, PIXEL).peak == pytest.approx(frequency)


def test_smoothing_moves_the_nps_down():
    noise = np.random.default_rng(1).normal(0, 20, (60, 48, 48))
    assert nps(gaussian_filter(noise, (0, 1.5, 1.5)), PIXEL).mean < 0.6 * nps(noise, PIXEL).mean


def test_patches_lie_inside_and_do_not_overlap():
    mask = np.zeros((2, 40, 50), bool)
    mask[0, 4:37, 3:41] = True
    marks = np.arange(2 * 40 * 50).reshape(2, 40, 50)
    patches = patches_inside(marks, mask, 16)
    assert len(patches) == 4
    assert np.unique(patches).size == patches.size
    assert mask.ravel()[patches.ravel()].all()
    assert patches_inside(marks, np.zeros_like(mask), 16).shape == (0, 16, 16)


@pytest.mark.parametrize("sigma_mm", [0.6, 1.0])
@pytest.mark.parametrize("contrast", [1, 3])
def test_ttf_of_a_gaussian_blur(sigma_mm, contrast):
    """A Gaussian blur of SD s passes exp(−2 π² s² f²), half of it at f = sqrt(ln 2 / 2) / (π s)."""
    volume, inserts = cylinder_with_inserts(slices=1, size=320, diameter_mm=200, pixel_mm=PIXEL)
    insert = inserts[contrast]
    fine = gaussian_filter(volume.hu, (0, sigma_mm / PIXEL, sigma_mm / PIXEL), truncate=6)
    curve = ttf(fine, insert.centre_yx, insert.radius_mm, PIXEL)
    pixel_blur = PIXEL**2 / 12  # the partial volume of the phantom's own pixels
    expected = np.sqrt(np.log(2) / 2) / (np.pi * np.sqrt(sigma_mm**2 + pixel_blur))
    assert curve.value[0] == pytest.approx(1)
    assert curve.falls_to(0.5) == pytest.approx(expected, rel=0.04)


def test_ttf_refuses_a_disc_at_the_border():
    with pytest.raises(InputError, match="must lie in the image"):
        ttf(np.zeros((1, 60, 60)), (10, 30), 10, PIXEL)


def test_falls_to_interpolates_or_says_never():
    curve = Spectrum(np.array([0.0, 0.1, 0.2]), np.array([1.0, 0.8, 0.4]))
    assert curve.falls_to(0.6) == pytest.approx(0.15)
    assert np.isnan(curve.falls_to(0.2))
