"""Projection and filtered back projection against analytic integrals, an independent library, and themselves."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch
import torchtomo
from scipy.ndimage import gaussian_filter

from bioatt.core.errors import InputError
from bioatt.simulation.tomography import (
    MU_WATER,
    Beam,
    Geometry,
    backproject,
    fbp,
    hu_to_mu,
    kernel_named,
    mu_to_hu,
    project,
)
from bioatt.simulation.tomography import loops as compiled_loops

ARC = Geometry(cells=368, views=288, cell_mm=2.5716)
BEAMS = {
    "arc": ARC,
    "flat": Geometry(Beam.FLAT, 368, 288, 2.72),
    "parallel": Geometry.parallel(736, 144, 0.7),
}
ELLIPSES = [
    # x, y, half axes (mm), angle (rad), attenuation (1/mm)
    (10.0, -20.0, 150.0, 100.0, 0.3, 0.0193),
    (-40.0, 10.0, 40.0, 25.0, 1.1, -0.009),
    (60.0, -30.0, 25.0, 35.0, 2.0, 0.012),
]


@lru_cache
def rasterised(size: int, pixel: float, fine: int = 6) -> np.ndarray:
    """Ellipses on a grid, each pixel being the mean of fine × fine points."""
    axis = (np.arange(size * fine) - (size * fine - 1) / 2) * pixel / fine
    x, y = axis[None], axis[:, None]
    image = np.zeros((size * fine, size * fine), np.float32)
    for cx, cy, a, b, angle, value in ELLIPSES:
        u = (x - cx) * math.cos(angle) + (y - cy) * math.sin(angle)
        v = -(x - cx) * math.sin(angle) + (y - cy) * math.cos(angle)
        image[(u / a) ** 2 + (v / b) ** 2 < 1] += value
    return image.reshape(size, fine, size, fine).mean((1, 3))


def analytic(geometry: Geometry) -> np.ndarray:
    """Exact line integrals: a chord of an ellipse is 2ab·√(r² − s²)/r², with s the ray's distance from its centre."""
    points, directions = geometry.rays()
    c, s = np.cos(geometry.angles)[:, None], np.sin(geometry.angles)[:, None]
    px, py = points[:, 0] * c - points[:, 1] * s, points[:, 0] * s + points[:, 1] * c
    dx, dy = directions[:, 0] * c - directions[:, 1] * s, directions[:, 0] * s + directions[:, 1] * c
    total = np.zeros(px.shape)
    for cx, cy, a, b, angle, value in ELLIPSES:
        distance = (px - cx) * dy - (py - cy) * dx
        along = dx * math.cos(angle) + dy * math.sin(angle)
        r2 = (b * along) ** 2 + (a**2) * (1 - along**2)
        total += value * 2 * a * b * np.sqrt(np.maximum(r2 - distance**2, 0)) / r2
    return total


@pytest.mark.parametrize("beam", BEAMS)
def test_projection_equals_the_analytic_integrals(beam: str) -> None:
    geometry = BEAMS[beam]
    exact = analytic(geometry)
    measured = project(rasterised(448, 0.9), 0.9, geometry)
    assert np.linalg.norm(measured - exact) / np.linalg.norm(exact) < 0.005
    assert abs(measured.sum() / exact.sum() - 1) < 0.001


@pytest.mark.parametrize("beam", BEAMS)
def test_reconstruction_gives_the_body_back(beam: str) -> None:
    geometry = replace(BEAMS[beam], views=BEAMS[beam].views * 4)
    image = rasterised(256, 1.5)
    error = mu_to_hu(fbp(analytic(geometry), geometry, (256, 256), 1.5, kernel_named("B20"))) - mu_to_hu(image)
    flat = gaussian_filter(abs(image - gaussian_filter(image, 4)), 4) < 1e-5
    water = flat & (abs(mu_to_hu(image)) < 1)
    assert water.sum() > 4000
    assert abs(error[water]).mean() < 2
    assert abs(error[water].mean()) < 0.3
    assert abs(error[flat].mean()) < 1


def test_projection_agrees_with_torchtomo() -> None:
    image = gaussian_filter(rasterised(128, 3.0), 1.0).astype(np.float32)
    theirs = torchtomo.FanBeam(128, 60, 200, src_dist=300.0, det_dist=250.0, det_width=1.8 * 199, n_samples=2048)
    expected = theirs.forward(torch.from_numpy(image)[None, None])[0, 0].numpy() * 64  # their unit is half the grid
    pixel = 128 / 127  # their pixel centres extend to the grid's edges
    ours = project(image, pixel, Geometry(Beam.FLAT, 200, 60, 1.8, 300.0, 550.0, offset_cells=0.0))
    ours = np.roll(ours, 30, axis=0)[:, ::-1]  # their source starts opposite, with the detector reversed
    assert np.linalg.norm(ours - expected) / np.linalg.norm(expected) < 0.002


def test_arc_and_flat_detector_see_the_same_body() -> None:
    image = gaussian_filter(rasterised(256, 1.5), 1.0)
    arc = project(image, 1.5, ARC)
    flat_geometry = Geometry(Beam.FLAT, 600, 288, 1.6)
    flat = project(image, 1.5, flat_geometry)
    position = np.tan(ARC.positions) * ARC.source_mm
    resampled = np.stack([np.interp(position, flat_geometry.positions, view) for view in flat])
    inside = abs(position) < flat_geometry.positions.max()
    assert np.linalg.norm((arc - resampled)[:, inside]) / np.linalg.norm(arc) < 0.002


@pytest.mark.parametrize("count", [2, 17, 21])
def test_a_stack_equals_its_slices(count: int) -> None:
    geometry = Geometry(cells=96, views=60, cell_mm=9.8)
    stack = np.random.default_rng(0).random((count, 40, 56), np.float32)
    views = project(stack, 4.0, geometry)
    images = backproject(views, geometry, (40, 56), 4.0)
    for index in (0, count - 1):
        np.testing.assert_allclose(views[index], project(stack[index], 4.0, geometry), rtol=1e-5)
        np.testing.assert_allclose(images[index], backproject(views[index], geometry, (40, 56), 4.0), rtol=1e-4)


def test_projection_is_linear_and_knows_where_the_image_lies() -> None:
    geometry = Geometry(cells=184, views=72, cell_mm=5.1)
    rng = np.random.default_rng(1)
    a, b = rng.random((2, 60, 60), np.float32)
    np.testing.assert_allclose(
        project(2 * a - b, 2.0, geometry), 2 * project(a, 2.0, geometry) - project(b, 2.0, geometry), atol=2e-3
    )
    shifted = np.pad(a, ((12, 0), (0, 30)))
    np.testing.assert_allclose(
        project(a, 2.0, geometry, centre_mm=(-30.0, 12.0)), project(shifted, 2.0, geometry), atol=2e-3
    )


def test_a_body_wider_than_the_field_does_not_shine_at_the_edge() -> None:
    image = np.full((300, 300), MU_WATER, np.float32)
    y, x = (np.mgrid[:300, :300] - 149.5) * 2.0
    image[np.hypot(x, y) > 230] = 0
    narrow = Geometry(cells=200, views=288, cell_mm=2.5716)  # sees 280 of 460 mm
    views = project(image, 2.0, narrow)
    radius = narrow.field_mm / 2
    inner = np.hypot(x, y) < 0.8 * radius
    error = [
        abs(mu_to_hu(fbp(views, narrow, (300, 300), 2.0, kernel_named("B20"), extend=extend))[inner]).mean()
        for extend in (True, False)
    ]
    assert error[0] < 0.25 * error[1]


def test_power_two_squares_the_weights() -> None:
    geometry = Geometry(cells=96, views=60, cell_mm=9.8)
    ones = np.ones((60, 96), np.float32)
    once, twice = (backproject(ones, geometry, (3, 3), 100.0, power=power) for power in (1, 2))
    assert once[1, 1] == pytest.approx(60, rel=1e-4)
    assert twice[1, 1] == pytest.approx(60, rel=1e-4)
    angles = geometry.angles
    weight = 595**2 / ((595 + 100 * np.cos(angles)) ** 2 + (100 * np.sin(angles)) ** 2)
    assert once[2, 1] == pytest.approx(weight.sum(), rel=1e-3)
    assert twice[2, 1] == pytest.approx((weight**2).sum(), rel=1e-3)


def test_the_arctangent_of_the_loops_is_exact_enough() -> None:
    t = np.linspace(-1, 1, 10001, dtype=np.float32)
    measured = np.array([compiled_loops._arctan(value) for value in t])
    assert abs(measured - np.arctan(t.astype(float))).max() < 3e-7


def test_coarser_geometry_covers_the_same_field() -> None:
    coarse = ARC.coarser(4, 4)
    assert (coarse.cells, coarse.views) == (92, 72)
    assert coarse.field_mm == pytest.approx(ARC.field_mm)
    groups = ARC.positions.reshape(92, 4).mean(1)
    np.testing.assert_allclose(coarse.positions, groups, atol=1e-12)


def test_works_where_nothing_can_be_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    def njit(*, cache: bool = False, **options: object):  # numba in a read-only home
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: function

    monkeypatch.setattr(compiled_loops.numba, "njit", njit)
    assert compiled_loops.compiled()(abs) is abs


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Geometry(cells=1), "at least 2 cells"),
        (lambda: Geometry(source_mm=2000.0), "source_mm"),
        (lambda: Geometry(cells=3000), "80 degrees"),
        (lambda: project(np.zeros(5), 1.0, ARC), "2 axes"),
        (lambda: project(np.zeros((0, 5, 5)), 1.0, ARC), "2 axes"),
        (lambda: project(np.zeros((5, 5)), 0.0, ARC), "pixel size"),
        (lambda: fbp(np.zeros((10, 368)), ARC, (5, 5), 1.0), "the geometry"),
    ],
)
def test_wrong_calls_are_named(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()


def test_hu_and_attenuation_are_inverse() -> None:
    hu = np.array([-1000.0, -500, 0, 40, 1200])
    np.testing.assert_allclose(mu_to_hu(hu_to_mu(hu)), hu, atol=1e-3)
    assert hu_to_mu(np.array([-1024.0]))[0] == 0
