"""What is told of a scan that the network was not made for."""

from __future__ import annotations

import numpy as np
import pytest

from bioatt.inference.suitability import filled_area_warnings


@pytest.fixture
def scan():
    """A round body with a noise of 20 HU in air, five slices."""
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
