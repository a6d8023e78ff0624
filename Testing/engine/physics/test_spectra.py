"""Noise power spectrum and task transfer function against analytic results."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, uniform_filter1d
from scipy.special import erfc

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


def test_nps_of_ramp_filtered_noise_is_the_filters():
    """Noise of power f exp(−(f/f0)²), as after filtered back projection: curve, variance and mean within 2 %."""

    def power(f):
        return 4000 * f * np.exp(-((f / 0.35) ** 2))

    size, rng = 512, np.random.default_rng(1)
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(size, PIXEL), np.fft.fftfreq(size, PIXEL)))
    gain = np.sqrt(power(f)) / PIXEL
    noise = np.stack([np.fft.ifft2(np.fft.fft2(rng.normal(size=f.shape)) * gain).real for _ in range(12)])
    patches = noise.reshape(-1, 4, 128, 4, 128).swapaxes(2, 3).reshape(-1, 128, 128)
    curve = nps(patches, PIXEL)
    ratio = uniform_filter1d(curve.value / power(curve.frequency), 5)
    assert ratio[(curve.frequency > 0.12) & (curve.frequency < 0.5)] == pytest.approx(1, rel=0.02)
    assert curve.mean == pytest.approx(np.average(curve.frequency, weights=power(curve.frequency)), rel=0.02)
    assert nps_2d(patches, PIXEL).sum() / (128 * PIXEL) ** 2 == pytest.approx(noise.var(), rel=0.02)


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
@pytest.mark.parametrize("contrast", [-100.0, 10.0])
def test_ttf_of_a_gaussian_blur(sigma_mm, contrast):
    """A Gaussian blur of SD s transfers exp(−2π² s² f²), which falls to v at f = √(ln(1/v)/2) / (π s)."""
    radius, centre = 15.0, (63.31, 64.17)
    y, x = np.mgrid[:128, :128]
    distance = np.hypot(y - centre[0], x - centre[1]) * PIXEL - radius
    curve = ttf((40 + contrast / 2 * erfc(distance / (np.sqrt(2) * sigma_mm)))[None], centre, radius, PIXEL)
    assert curve.value[0] == pytest.approx(1)
    for level in (0.5, 0.1) if sigma_mm == 1.0 else (0.5,):
        expected = np.sqrt(np.log(1 / level) / 2) / (np.pi * sigma_mm)
        assert curve.falls_to(level) == pytest.approx(expected, rel=0.02)


def test_ttf_of_a_phantom_in_whole_pixels():
    """The partial volume of the phantom's pixels blurs like a box of one pixel."""
    volume, inserts = cylinder_with_inserts(slices=1, size=320, diameter_mm=200, pixel_mm=PIXEL)
    fine = gaussian_filter(volume.hu, (0, 1 / PIXEL, 1 / PIXEL), truncate=6)
    curve = ttf(fine, inserts[1].centre_yx, inserts[1].radius_mm, PIXEL)
    assert curve.falls_to(0.5) == pytest.approx(np.sqrt(np.log(2) / 2 / (1 + PIXEL**2 / 12)) / np.pi, rel=0.04)


def test_ttf_refuses_a_disc_at_the_border():
    with pytest.raises(InputError, match="must lie in the image"):
        ttf(np.zeros((1, 60, 60)), (10, 30), 10, PIXEL)


def test_falls_to_interpolates_or_says_never():
    curve = Spectrum(np.array([0.0, 0.1, 0.2]), np.array([1.0, 0.8, 0.4]))
    assert curve.falls_to(0.6) == pytest.approx(0.15)
    assert np.isnan(curve.falls_to(0.2))
