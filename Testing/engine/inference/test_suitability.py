"""Warnings about scans that the network was not made for."""

from __future__ import annotations

import numpy as np
import pytest

from bioatt.core.volume import Volume
from bioatt.inference.denoiser import Denoiser
from bioatt.inference.suitability import filled_area_warnings, training_range_warnings


@pytest.fixture
def scan():
    """Return HU of five slices of a round body in air, with 20 HU of noise, and the body mask."""
    y, x = np.mgrid[-1:1:96j, -1:1:96j]
    body = np.hypot(x, y) < 0.7
    noise = np.random.default_rng(0).normal(0, 20, (5, 96, 96))
    return np.where(body, 40 + noise, -1000.0).astype(np.float32), body


def test_a_background_of_water_is_told_and_one_of_air_is_not(scan):
    hu, body = scan
    assert filled_area_warnings(hu, 20.0) == []
    (line,) = filled_area_warnings(np.where(body, hu, np.float32(0)), 20.0)
    assert "5 of 5 slices" in line
    assert "-1000 HU" in line


def test_a_blanked_area_is_told_with_the_slices_that_have_it(scan):
    hu, _ = scan
    hu[1:3, 30:60, 30:60] = 40
    (line,) = filled_area_warnings(hu, 20.0)
    assert "2 of 5 slices" in line


def test_a_scan_without_noise_is_even_by_itself(scan):
    _, body = scan
    assert filled_area_warnings(np.where(body, 40.0, -1000.0)[None].astype(np.float32), 0.0) == []
    assert filled_area_warnings(np.where(body, 40.0, -1000.0)[None].astype(np.float32), np.nan) == []


def test_metal_of_one_value_is_none(scan):
    hu, _ = scan
    hu[:, 30:60, 30:60] = 3071
    assert filled_area_warnings(hu, 20.0) == []


@pytest.mark.parametrize(("slope", "told"), [(32.0, True), (1.5, False)])
def test_coarse_steps_of_the_series_are_told_beside_its_noise(make_model, make_volume, slope, told):
    volume = Volume(make_volume(noise=16).hu, rescale=((slope, -1024.0),) * 3)
    lines = training_range_warnings(make_model(), volume, 16.0)
    assert any("steps of 32 HU" in line for line in lines) is told


def test_the_figures_are_of_the_rounded_result(make_model, make_volume):
    volume = Volume(make_volume(noise=16).hu, rescale=((32.0, -1024.0),) * 3)
    result = Denoiser(make_model(), prior="uniform", device="cpu").denoise(volume)
    assert set(np.unique(result.volume.hu % 32)) == {0}


def test_a_volume_that_stays_as_it_was_is_not_called_denoised(make_model, make_volume):
    model = make_model()
    empty = np.random.default_rng(0).normal(-1000, 5, (2, 64, 64)).astype(np.int16)
    for volume, told in ((Volume(empty), True), (make_volume(), False)):
        lines = Denoiser(model, prior="uniform", device="cpu").denoise(volume).warnings
        assert any("nothing was denoised" in line for line in lines) is told
