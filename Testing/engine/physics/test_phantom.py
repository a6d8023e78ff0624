"""Round phantoms: detection and measurements in scans of known content."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from bioatt.core.errors import InputError
from bioatt.physics.phantom import find_layout, linearity, materials, measure
from bioatt.simulation.phantom.inserts import cylinder_with_inserts

PIXEL, NOISE = 0.9, 8.0


@pytest.fixture(scope="module")
def scanned():
    """A 250 mm cylinder with four 25 mm inserts, blurred by 1 mm, with 8 HU of white noise."""
    volume, inserts = cylinder_with_inserts(
        (-1000.0, -135.0, 80.0, 915.0), slices=6, size=320, pixel_mm=PIXEL, diameter_mm=250, insert_mm=25
    )
    hu = gaussian_filter(volume.hu, (0, 1 / PIXEL, 1 / PIXEL))
    return hu + np.random.default_rng(0).normal(0, NOISE, hu.shape), inserts


def test_the_phantom_and_its_inserts_are_found(scanned):
    hu, inserts = scanned
    layout = find_layout(hu, PIXEL)
    assert layout.radius_mm == pytest.approx(125, abs=1)
    assert layout.background_hu == pytest.approx(40, abs=1)
    assert len(layout.inserts) == 4
    for found, one in zip(layout.inserts, sorted(inserts, key=lambda one: one.contrast_hu), strict=True):
        assert found.hu == pytest.approx(40 + one.contrast_hu, abs=3)
        assert found.centre_yx == pytest.approx(one.centre_yx, abs=0.5)
        assert found.radius_mm == pytest.approx(12.5, abs=0.5)


def test_noise_transfer_and_detectability_are_those_of_the_scan(scanned):
    hu, _ = scanned
    found = measure(hu, PIXEL, find_layout(hu, PIXEL))
    assert found["noise_hu"] == pytest.approx(NOISE, rel=0.03)
    expected = np.sqrt(np.log(2) / 2 / (1 + PIXEL**2 / 12)) / np.pi
    bone, air = found["inserts"][-1], found["inserts"][0]
    assert bone["f50"] == pytest.approx(expected, rel=0.05)
    assert air["f50"] == pytest.approx(expected, rel=0.05)
    assert bone["f50"] < bone["f10"]
    assert 0 < found["d"]["14 HU 3 mm"] < 10
    twice = measure(hu * 2, PIXEL, find_layout(hu, PIXEL))
    assert twice["noise_hu"] == pytest.approx(2 * found["noise_hu"], rel=1e-6)


@pytest.mark.parametrize("depth", [12, 60])
def test_cupping_shows_as_non_uniformity(depth):
    volume, _ = cylinder_with_inserts((), slices=2, size=200, pixel_mm=1.0, diameter_mm=180)
    y, x = np.mgrid[:200, :200] - 99.5
    cupped = volume.hu + depth * (y**2 + x**2) / 90**2
    layout = find_layout(cupped, 1.0)
    assert not layout.inserts
    assert measure(cupped, 1.0, layout)["uniformity"]["largest"] == pytest.approx(depth * 0.75**2, rel=0.05)


def test_linearity_against_nominal_values():
    fit = linearity(np.array([-990.0, 10, 1010]), np.array([-1000.0, 0, 1000]))
    assert fit == pytest.approx({"slope": 1.0, "intercept": 10.0, "largest": 10.0})


def test_inserts_are_named_by_their_nearest_material(scanned):
    layout = find_layout(scanned[0], PIXEL)
    assert [name for name, _ in materials(layout, "acr")] == ["air", "polyethylene", "acrylic", "bone"]
    with pytest.raises(InputError, match="choose one of"):
        materials(layout, "cheese")


@pytest.mark.parametrize("what", ["air", "box"])
def test_what_is_no_round_phantom_is_refused(what):
    hu = np.full((2, 90, 120), -1000.0)
    if what == "box":
        hu[:, 10:80, 10:110] = 0
    with pytest.raises(InputError, match="no round phantom"):
        find_layout(hu, 1.0)


def test_blocks_and_bars_are_neither_noise_nor_inserts():
    """As in a manufacturer's quality phantom: a block in water, with line pairs and one round hole."""
    pixel, size = 0.6, 360
    y, x = (np.mgrid[:size, :size] - (size - 1) / 2) * pixel
    hu = np.full((size, size), -1000.0)
    hu[np.hypot(y, x) < 100] = 0
    hu[(np.abs(y) < 66) & (np.abs(x) < 66)] = 120
    for row, width in ((-40, 1.6), (-20, 1.3), (0, 1.0)):
        bars = (np.abs(y - row) < 4) & (np.abs(x) < 4) & ((x // width) % 2 == 0)
        hu[bars] = 0
    hole = np.hypot(y - 35, x - 30) < 15
    hu[hole] = 0
    noisy = gaussian_filter(hu, 0.7) + np.random.default_rng(1).normal(0, 5, (1, size, size))
    layout = find_layout(noisy, pixel)
    assert [round(one.radius_mm) for one in layout.inserts] == [15]
    found = measure(noisy, pixel, layout)
    assert found["noise_hu"] == pytest.approx(5, rel=0.05)
    assert found["uniformity"]["largest"] is None, "the places near the rim lie in water"
