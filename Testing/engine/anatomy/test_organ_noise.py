"""Noise by organ agrees with regions drawn by hand and excludes anatomy."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, uniform_filter

from bioatt.anatomy.noise import noise_by_value
from bioatt.anatomy.regions import MUSCLE, eroded, with_muscle
from bioatt.simulation.phantom import LABELS, torso

LIVER, SPLEEN, SPINE = 9, 10, 17
MEMBERS = {
    LIVER: ("liver", "liver vessels", "liver lesion"),
    SPLEEN: ("spleen",),
    SPINE: ("spine",),
}
SPACING = (0.8, 0.8, 3.0)


def noise(shape: tuple[int, ...], sd: float, seed: int = 0) -> NDArray[np.float64]:
    """CT-like correlated noise; `sd` in HU."""
    values = gaussian_filter(np.random.default_rng(seed).normal(size=shape), (0, 1, 1))
    return values * sd / values.std()


@pytest.fixture(scope="module")
def scan() -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.uint8], tuple[float, float, float]]:
    """A phantom's upper abdomen: noise-free HU, the phantom's own labels, paper17 labels and spacing."""
    volume, painted = torso(5, slices=4, size=384, z_range=(-60, -20), phase="portal")
    labels = np.zeros(painted.shape, np.uint8)
    for value, names in MEMBERS.items():
        labels[np.isin(painted, [LABELS[name] for name in names])] = value
    return volume.hu, painted, labels, volume.spacing


def discs(inside: NDArray[np.bool_], spacing: tuple[float, float, float]) -> list[tuple[int, int, int]]:
    """Centres (z, y, x) of well-separated discs of 8 mm radius within a region, as a person would place them."""
    side = int(16 / spacing[0]) + 2
    found: list[tuple[int, int, int]] = []
    for z in range(len(inside)):
        fits = uniform_filter(inside[z].astype(float), side) > 1 - 1e-6
        for y, x in np.argwhere(fits)[::37]:
            if all(z != c or (y - b) ** 2 + (x - a) ** 2 > (2 * side) ** 2 for c, b, a in found):
                found.append((z, int(y), int(x)))
    return found


@pytest.mark.parametrize("organ", [LIVER, SPLEEN])
def test_within_ten_per_cent_of_regions_drawn_by_hand(scan, organ: int) -> None:
    clean, painted, labels, spacing = scan
    before = clean + noise(clean.shape, 20)
    after = clean + 0.5 * noise(clean.shape, 20) * 0.4 + noise(clean.shape, 20, seed=1) * 0.3
    y, x = np.mgrid[: clean.shape[1], : clean.shape[2]]
    by_hand = []
    plain = painted == LABELS[MEMBERS[organ][0]]
    for z, b, a in discs(plain, spacing):
        disc = (y - b) ** 2 + (x - a) ** 2 <= (8 / spacing[0]) ** 2
        by_hand.append([image[z][disc].std(ddof=1) for image in (before, after)])
    assert len(by_hand) > 3
    measured = noise_by_value([before, after], eroded(labels, spacing), spacing)[organ]
    np.testing.assert_allclose(measured.sd, np.median(by_hand, axis=0), rtol=0.1)
    assert not measured.bound


def test_the_denoised_scan_is_measured_in_the_same_places() -> None:
    """Windows are selected before denoising, so an inhomogeneous half left unchanged does not affect the result."""
    shape = (3, 120, 240)
    before = noise(shape, 15)
    before[:, :, 120:] += 60 * (np.indices(shape)[1][:, :, 120:] // 10 % 2)  # stripes: not homogeneous
    after = before.copy()
    after[:, :, :120] *= 0.4
    labels = np.full(shape, LIVER, np.uint8)
    measured = noise_by_value([before, after], labels, SPACING)[LIVER]
    np.testing.assert_allclose(measured.sd, (15, 6), rtol=0.1)


def test_quiet_parts_of_an_organ_do_not_stand_for_the_whole() -> None:
    shape = (3, 160, 160)
    before = noise(shape, 10)
    before[:, :, 96:] *= 2  # three fifths at 10 HU, two fifths at 20 HU
    sd = noise_by_value([before], np.full(shape, LIVER, np.uint8), SPACING)[LIVER].sd[0]
    assert 10 < sd < 16


def test_an_organ_full_of_vessels_is_marked_as_a_bound(scan) -> None:
    clean, _, labels, spacing = scan
    before = clean + noise(clean.shape, 10)
    y, x = np.indices(clean.shape)[1:]
    before = np.where((labels == SPLEEN) & ((y // 3 + x // 3) % 4 == 0), before + 150, before)
    measured = noise_by_value([before], eroded(labels, spacing), spacing)
    assert measured[SPLEEN].bound
    assert measured[SPLEEN].sd[0] > 15
    assert not measured[LIVER].bound


def test_a_small_organ_is_measured_in_smaller_windows_and_a_tiny_one_not() -> None:
    shape = (3, 100, 100)
    labels = np.zeros(shape, np.uint8)
    labels[:, 10:26, 10:26] = 8  # 13 mm
    labels[:, 60:65, 60:65] = 14  # 4 mm
    measured = noise_by_value([noise(shape, 12)], labels, SPACING)
    assert measured.keys() == {8}
    np.testing.assert_allclose(measured[8].sd, 12, rtol=0.15)


def test_the_eroded_organ_keeps_off_its_border_and_its_ends() -> None:
    labels = np.zeros((5, 60, 60), np.uint8)
    labels[1:4, 10:50, 10:50] = LIVER
    inner = eroded(labels, (1.0, 1.0, 5.0))
    assert set(np.unique(np.nonzero(inner)[0])) == {2}
    rows = np.nonzero(inner[2])[0]
    assert (rows.min(), rows.max()) == (14, 45), "more than 3 mm from the first pixel outside"


def test_muscle_lies_behind_the_spine_and_is_no_fat(scan) -> None:
    clean, painted, labels, spacing = scan
    found = with_muscle(labels, clean + noise(clean.shape, 15), spacing, SPINE)
    muscle = found == MUSCLE
    assert muscle.any()
    assert (painted[muscle] == LABELS["muscle"]).mean() > 0.9
    for z in range(len(labels)):
        assert np.nonzero(muscle[z])[0].min() > np.nonzero(labels[z] == SPINE)[0].mean()
