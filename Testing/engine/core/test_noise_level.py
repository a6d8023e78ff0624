"""The noise level that selects the weights: close to the truth, stable along z and unaffected by edges."""

from __future__ import annotations

import numpy as np
import pytest

from bioatt.core.noise import noise_level, noise_levels


def body(noise, side=160, seed=0):
    """A noisy slice of soft tissue in air with bone and a hundred small details."""
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    hu = np.where(x**2 + y**2 < 0.8, 50.0, -1000.0)
    hu[np.hypot(x, y - 0.5) < 0.15] = 800
    rng = np.random.default_rng(seed)
    for row, column in rng.integers(30, side - 30, (100, 2)):
        hu[row : row + 2, column : column + 2] += 80
    return hu + rng.normal(0, noise, hu.shape)


@pytest.mark.parametrize("noise", [5.0, 20.0, 60.0, 400.0])
def test_it_follows_the_noise_whatever_else_the_slice_shows(noise):
    assert 0.75 * noise < noise_level(body(noise)) < 1.1 * noise


def test_what_is_no_tissue_has_none():
    assert np.isnan(noise_level(np.full((64, 64), -1000.0)))
    assert np.isnan(noise_levels(np.full((3, 64, 64), -1000.0))).all()


def test_a_filled_background_or_a_blanked_box_is_no_quiet_tissue():
    scan = body(60.0)
    filled = np.where(np.hypot(*np.mgrid[-1:1:160j, -1:1:160j]) < 0.85, scan, 0.0)
    blanked = scan.copy()
    blanked[60:100, 60:100] = 40.0
    for image in (filled, blanked):
        assert noise_level(image) > 0.6 * noise_level(scan)


def test_a_scan_without_noise_is_a_quiet_one():
    assert not noise_level(body(0.0)) > 15


def test_it_does_not_jump_along_z():
    """A slice without tissue takes its neighbours' level; that of a noisier slice is smoothed along z."""
    hu = np.stack([body(10.0, seed=seed) for seed in range(12)])
    hu[3] = -1000.0
    hu[6] = body(60.0)
    floors = noise_levels(hu)
    assert np.isfinite(floors).all()
    assert np.abs(np.diff(floors)).max() < 0.1 * (noise_level(hu[6]) - noise_level(hu[0]))
    np.testing.assert_allclose(noise_levels(hu[:6]), np.r_[floors[:2], noise_levels(hu[:6])[2:]])
