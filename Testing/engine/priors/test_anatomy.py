"""Sources of anatomy: organ maps and label volumes behind one interface."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bioatt.anatomy.descriptors import load_descriptor_set
from bioatt.anatomy.sources import PlacedSource, label_volume, organs_of, probability_volume
from bioatt.core.errors import InputError
from bioatt.core.volume import Volume
from bioatt.priors import FixedPrior
from bioatt.priors.anatomy import anatomy_of_labels, build_anatomy
from bioatt.priors.organ_maps import CellMaps, OrganMaps, Patch
from bioatt.priors.segmentation import Segmentation, SegmentationPrior

PAPER = load_descriptor_set("paper17")
LIVER, SPLEEN = (PAPER.descriptors.index(name) for name in ("liver", "spleen"))
CHEST_AORTA, BELLY_AORTA = (PAPER.descriptors.index(f"{part} aorta") for part in ("thoracic", "abdominal"))


@pytest.fixture
def labels(torso: Volume) -> Volume:
    values = np.zeros(torso.shape, np.int16)
    values[3:6, 30:60, 20:50], values[3:6, 30:60, 50:70], values[:, 70:80, 60:66] = 5, 1, 52
    return replace(torso, hu=values)


def test_labels_are_the_masks_themselves(torso: Volume, labels: Volume) -> None:
    organs = organs_of(anatomy_of_labels(labels, {5: "liver", 1: "Spleen", 7: "gallbladder"}), torso, torso)
    found = label_volume(organs, torso)
    np.testing.assert_array_equal(found == 1 + LIVER, labels.hu == 5)
    np.testing.assert_array_equal(found == 1 + SPLEEN, labels.hu == 1)
    assert set(np.unique(found)) == {0, 1 + LIVER, 1 + SPLEEN}


def test_probabilities_are_soft_at_borders_and_sum_to_one_at_most(torso: Volume, labels: Volume) -> None:
    organs = organs_of(anatomy_of_labels(labels, {5: "liver", 1: "spleen"}), torso, torso)
    liver, spleen = organs.organ(4, LIVER), organs.organ(4, SPLEEN)
    assert liver[45, 35] > 0.999
    assert 0.3 < liver[45, 49] < 0.9
    assert (liver + spleen).max() <= 1 + 1e-6
    volume = probability_volume(organs, "Liver", 5)
    np.testing.assert_allclose(volume[4] / 255, liver, atol=1 / 500)
    assert not volume[0].any()


def test_the_aorta_is_by_slice_what_the_slice_prior_finds(torso: Volume, labels: Volume) -> None:
    p = np.full((torso.shape[0], 17), 0.02, np.float32)
    p[:4, BELLY_AORTA] = p[4:, CHEST_AORTA] = 0.68
    by_slice = FixedPrior(p, PAPER.descriptors, torso.slice_ids)
    organs = SegmentationPrior(Segmentation(labels, {52: "aorta"}), PAPER, by_slice).maps(torso)
    assert [int(organs.labels(z)[75, 63]) - 1 for z in (0, 3, 4, 8)] == [BELLY_AORTA] * 2 + [CHEST_AORTA] * 2
    assert organs.organ(0, CHEST_AORTA).max() == 0


def test_organ_maps_give_the_same_one_by_one_as_together() -> None:
    patch = Patch(LIVER, (slice(1, 4), slice(2, 5)), np.full((3, 3), 0.75, np.float16))
    maps = OrganMaps((CellMaps((patch,), np.zeros(17, np.float32)),), PAPER.descriptors, (6, 8), (30, 40), ("",))
    np.testing.assert_array_equal(maps.organ(0, LIVER), maps.probabilities(0)[1 + LIVER])
    assert not maps.organ(0, SPLEEN).any()
    assert maps.source == "organ maps"


def test_labels_follow_paper17_whatever_order_the_maps_were_taught_in() -> None:
    taught = PAPER.descriptors[::-1]
    patch = Patch(taught.index("liver"), (slice(0, 6), slice(0, 8)), np.ones((6, 8), np.float16))
    maps = OrganMaps((CellMaps((patch,), np.zeros(17, np.float32)),), taught, (6, 8), (30, 40), ("",))
    assert set(np.unique(label_volume(maps, Volume(np.zeros((1, 30, 40), np.int16), (3.0, 3.0, 5.0))))) == {1 + LIVER}
    assert (probability_volume(maps, "liver", 1) == 255).all()


def test_specks_of_the_maps_are_no_organs() -> None:
    patch = Patch(SPLEEN, (slice(1, 2), slice(1, 2)), np.ones((1, 1), np.float16))
    maps = OrganMaps((CellMaps((patch,), np.zeros(17, np.float32)),), PAPER.descriptors, (6, 8), (30, 40), ("",))
    assert maps.labels(0).any()
    assert not label_volume(maps, Volume(np.zeros((1, 30, 40), np.int16), (0.7, 0.7, 5.0))).any()
    assert label_volume(maps, Volume(np.zeros((1, 30, 40), np.int16), (5.0, 5.0, 5.0))).any()


def test_what_cannot_be_placed_is_refused(torso: Volume, labels: Volume) -> None:
    source = anatomy_of_labels(labels, {5: "liver"})
    assert isinstance(source, PlacedSource)
    with pytest.raises(InputError, match="does not overlap"):
        organs_of(source, torso, replace(torso, origin=(9000.0, 0.0, 0.0)))
    part = torso.part(range(2))
    assert not label_volume(organs_of(source, part, torso), part).any(), "a part without organs is no mistake"


def test_unknown_sources_are_named() -> None:
    with pytest.raises(InputError, match="unknown anatomy source 'biomedclip'"):
        build_anatomy("biomedclip")
    with pytest.raises(InputError, match="no structure"):
        anatomy_of_labels(Volume(np.ones((2, 8, 8), np.int16)), {1: "couch"})
