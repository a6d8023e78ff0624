"""Projection and reconstruction with PyTorch agree with the compiled loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bioatt.core.errors import InputError
from bioatt.simulation.tomography import MU_WATER, Beam, Geometry, fbp, kernel_named, on_torch, project

PIXEL_MM, CENTRE_MM = 3.0, (5.0, -7.0)
BEAMS = {
    "arc": Geometry(cells=184, views=72, cell_mm=5.1432),
    "flat": Geometry(Beam.FLAT, 184, 72, 5.44),
    "parallel": Geometry.parallel(184, 36, 2.8),
}


@pytest.fixture(scope="module")
def body():
    """Three non-square slices (z, y, x): an ellipse with a hole, its mirror image, noise."""
    y, x = (np.mgrid[:96, :112] - 50) * PIXEL_MM
    ellipse = np.where((x / 140) ** 2 + (y / 100) ** 2 < 1, MU_WATER, 0).astype(np.float32)
    ellipse[np.hypot(x - 30, y) < 20] = 0.005
    noise = np.random.default_rng(0).random(ellipse.shape, np.float32) * np.float32(MU_WATER)
    return np.stack([ellipse, ellipse[::-1], noise])


def difference(measured, expected):
    """Relative root mean square difference."""
    return np.linalg.norm(measured - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize("beam", BEAMS)
def test_projections_agree(beam, body, monkeypatch):
    monkeypatch.setattr(on_torch, "SAMPLES", 1 << 18)  # forces several groups
    expected = project(body, PIXEL_MM, BEAMS[beam], centre_mm=CENTRE_MM)
    measured = on_torch.project(body, PIXEL_MM, BEAMS[beam], CENTRE_MM, "cpu")
    assert measured.dtype == np.float32
    assert difference(measured, expected) < 1e-4
    assert abs(measured - expected).max() < 1e-3 * expected.max()


@pytest.mark.parametrize("beam", BEAMS)
@pytest.mark.parametrize(("kernel", "upsample", "extend"), [("B20", 1, True), ("LUNG", 2, False), (None, 1, False)])
def test_reconstructions_agree(beam, kernel, upsample, extend, body, monkeypatch):
    monkeypatch.setattr(on_torch, "SAMPLES", 1 << 18)
    geometry, filter_ = BEAMS[beam], kernel and kernel_named(kernel)
    views = project(body, PIXEL_MM, geometry)
    options = {"centre_mm": CENTRE_MM, "upsample": upsample, "extend": extend}
    expected = fbp(views, geometry, (90, 104), PIXEL_MM, filter_, **options)
    measured = on_torch.fbp(views, geometry, (90, 104), PIXEL_MM, filter_, CENTRE_MM, upsample, extend, "cpu")
    assert measured.dtype == np.float32
    assert difference(measured, expected) < 1e-4
    assert abs(measured - expected).max() < 1e-3 * expected.max()


def test_a_device_that_is_not_there_is_named(body):
    geometry = BEAMS["arc"]
    with pytest.raises(InputError, match="cuda:99 is not available"):
        project(body, PIXEL_MM, geometry, device="cuda:99")
    with pytest.raises(InputError, match="unknown device"):
        fbp(np.zeros((72, 184)), geometry, (9, 9), PIXEL_MM, device="abacus")
    with pytest.raises(InputError, match="the geometry"):
        fbp(np.zeros((9, 184)), geometry, (9, 9), PIXEL_MM, device="cuda:99")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("beam", BEAMS)
def test_a_gpu_agrees(beam, body):
    geometry = BEAMS[beam]
    views = project(body[0], PIXEL_MM, geometry, device="cuda")
    image = fbp(views, geometry, body.shape[1:], PIXEL_MM, kernel_named("B30"), device="cuda")
    expected = project(body[0], PIXEL_MM, geometry)
    assert difference(views, expected) < 1e-3
    assert difference(image, fbp(expected, geometry, body.shape[1:], PIXEL_MM, kernel_named("B30"))) < 1e-3
