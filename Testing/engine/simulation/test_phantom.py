"""The procedural torso: anatomy where it belongs, partial volume at edges, reproducible by seed."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import binary_erosion

from bioatt.core.errors import InputError
from bioatt.simulation import phantom
from bioatt.simulation.phantom.shapes import Noise, Plane, Tubes, ellipsoid
from bioatt.simulation.phantom.trees import scatter, tree

ORGANS = {
    "lungs", "lung vessels", "heart", "thoracic aorta", "abdominal aorta", "liver", "liver vessels", "liver lesion",
    "spleen", "stomach", "kidneys", "pancreas", "bowel", "spine", "bone", "muscle", "skin and fat",
}  # fmt: skip


@pytest.fixture(scope="module")
def torso():
    return phantom.torso(1, slices=16, size=192, phase="portal")


def mean_position(labels, organ):
    return np.argwhere(labels == phantom.LABELS[organ]).mean(0)


def test_every_organ_is_there(torso):
    volume, labels = torso
    assert volume.shape == labels.shape == (16, 192, 192)
    assert {name for name in ORGANS if (labels == phantom.LABELS[name]).any()} == ORGANS


def test_anatomy_is_where_it_belongs(torso):
    """Image columns run to the patient's left, rows to the back, slices to the head."""
    _, labels = torso
    at = {organ: mean_position(labels, organ) for organ in ORGANS}
    assert at["liver"][2] < at["spine"][2] < at["spleen"][2]
    assert at["stomach"][2] > at["spine"][2]
    assert at["heart"][2] > at["spine"][2]
    assert at["kidneys"][0] < at["liver"][0] < at["heart"][0]
    assert at["heart"][1] < at["spine"][1]
    assert at["abdominal aorta"][0] < at["thoracic aorta"][0]


def test_tissues_have_their_hu(torso):
    volume, labels = torso
    for organ, low, high in (
        ("lungs", -920, -750),
        ("liver", 80, 140),
        ("skin and fat", -125, -70),
        ("muscle", 35, 90),
    ):
        core = binary_erosion(labels == phantom.LABELS[organ], structure=np.ones((1, 5, 5)))
        assert low < volume.hu[core].mean() < high, organ
    assert volume.hu.min() == -1000
    assert 300 < volume.hu.max() < 1500
    assert (volume.hu[labels == 0] < -500).mean() > 0.995


def test_lesions_are_of_low_contrast_and_inside_the_liver(torso):
    volume, labels = torso
    lesion = labels == phantom.LABELS["liver lesion"]
    liver = np.median(volume.hu[labels == phantom.LABELS["liver"]])
    assert -130 < volume.hu[lesion].mean() - liver < -5
    inside = np.isin(labels, [phantom.LABELS[n] for n in ("liver", "liver vessels", "liver lesion")])
    assert inside[:, :, :-1][lesion[:, :, 1:]].mean() > 0.98


def test_it_varies_smoothly_along_z():
    """Neighbouring thin slices are much more alike than distant ones."""
    volume, _ = phantom.torso(2, slices=5, size=128, z_range=(0, 10), thickness_mm=2)
    near = np.abs(np.diff(volume.hu, axis=0)).mean()
    far = np.abs(volume.hu[-1] - volume.hu[0]).mean()
    assert near < 0.5 * far


def test_edges_are_soft(torso):
    """Partial volume: a few pixels at the skin have values between air and tissue."""
    volume, _ = torso
    between = ((volume.hu > -950) & (volume.hu < -700)).mean()
    assert between > 0


def test_seeds_are_reproducible_and_differ():
    small = {"slices": 1, "size": 64}
    first, labels = phantom.torso(5, **small)
    again, labels_again = phantom.torso(5, **small)
    other, _ = phantom.torso(6, **small)
    assert np.array_equal(first.hu, again.hu)
    assert np.array_equal(labels, labels_again)
    assert np.abs(first.hu - other.hu).mean() > 5


def test_slices_sit_in_space():
    volume, _ = phantom.torso(3, slices=4, size=64, pixel_mm=6.0, thickness_mm=3)
    assert volume.spacing[:2] == (6.0, 6.0)
    assert volume.acquisition.slice_thickness_mm == 3
    assert len(set(volume.slice_ids)) == 4


@pytest.mark.parametrize("arguments", [{"slices": 0}, {"size": 4}, {"phase": "delayed"}])
def test_wrong_arguments_are_refused(arguments):
    with pytest.raises(InputError):
        phantom.torso(1, **arguments)


def plane(z=0.0, pixel=0.5, side=80):
    axis = (np.arange(side) - (side - 1) / 2) * pixel
    noises = {name: Noise(np.random.default_rng(0), 5.0, 16) for name in ("warp x", "warp y")}
    return Plane(axis, axis, z, depth=0.5, noises=noises, warp_mm=0.0)


def test_partial_volume_keeps_the_area_of_a_disc():
    canvas = plane()
    canvas.paint(ellipsoid((0.1, -0.2, 0), (7, 5, 6)), 0.0, 1)
    area = (canvas.hu + 1000).sum() / 1000 * 0.5**2
    assert area == pytest.approx(np.pi * 7 * 5, rel=0.01)


def test_tube_has_its_radius_along_its_way():
    canvas = plane()
    canvas.paint(Tubes(np.array([[0, 0, -20, 4, 0, 0, 20, 8]])).shape(), 0.0, 1)
    area = (canvas.hu + 1000).sum() / 1000 * 0.5**2
    assert area == pytest.approx(np.pi * 6**2, rel=0.03)


def test_carve_and_blend():
    a, b = ellipsoid((0, 0, 0), (10, 10, 10)), ellipsoid((9, 0, 0), (6, 6, 6))
    areas = []
    for shape in (a, b, a & b, a - b, a | b, a.carve(b, 2), a.blend(b, 4)):
        canvas = plane()
        canvas.paint(shape, 0.0, 1)
        areas.append((canvas.hu + 1000).sum())
    whole_a, whole_b, common, difference, union, carved, blended = areas
    assert difference + common == pytest.approx(whole_a, rel=0.01)
    assert union == pytest.approx(whole_a + whole_b - common, rel=0.01)
    assert carved < difference
    assert blended > union


def test_tree_reaches_every_target_and_tapers():
    rng = np.random.default_rng(0)
    organ = ellipsoid((0, 0, 0), (40, 30, 30))
    targets = scatter(organ, 60, rng, 2)
    assert len(targets) == 60
    segments = tree(np.array([-40.0, 0, 0]), targets, 5.0, 0.5, rng).segments
    ends = segments[:, 4:7]
    assert all(np.linalg.norm(ends - target, axis=1).min() < 1e-3 for target in targets)
    assert segments[:, 3].max() == 5
    assert (segments[:, 7] <= segments[:, 3] + 1e-6).all()
