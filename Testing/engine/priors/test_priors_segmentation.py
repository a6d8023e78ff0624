"""Organ masks as a spatial prior."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from bioatt.anatomy.descriptors import load_descriptor_set
from bioatt.core.canonical import canonical
from bioatt.core.errors import InputError
from bioatt.core.resources import resources_folder
from bioatt.core.volume import Volume
from bioatt.network import build_network
from bioatt.priors import FixedPrior
from bioatt.priors.segmentation import Segmentation, SegmentationPrior, read_segmentation

PAPER = load_descriptor_set("paper17")
LIVER, SPLEEN, CHEST_AORTA, BELLY_AORTA = (
    PAPER.descriptors.index(name) for name in ("liver", "spleen", "thoracic aorta", "abdominal aorta")
)
BASE = np.full(17, 0.5 / 15, np.float32)
BASE[[CHEST_AORTA, BELLY_AORTA]] = (0.4, 0.1)


def _slice_prior() -> FixedPrior:
    return FixedPrior(BASE, PAPER.descriptors)


@pytest.fixture
def labels(torso: Volume) -> Volume:
    values = np.zeros(torso.shape, np.int16)
    values[3:6, 30:60, 20:50] = 5
    values[3:6, 30:60, 50:70] = 1
    values[3:6, 70:80, 60:66] = 52
    return Volume(values, torso.spacing, torso.origin, torso.direction)


NAMES = {1: "spleen", 5: "liver", 52: "aorta", 7: "gallbladder"}


def test_organ_inside_slice_prior_elsewhere_soft_at_borders(torso: Volume, labels: Volume) -> None:
    prior = SegmentationPrior(Segmentation(labels, NAMES), PAPER, _slice_prior()).probabilities(torso)
    assert prior.spatial
    assert prior.p.shape == (9, 17, 96, 120)
    p = prior.p[4]
    np.testing.assert_allclose(p.sum(axis=0), 1, atol=1e-5)
    assert p[LIVER, 45, 35] > 0.999
    assert p[SPLEEN, 45, 60] > 0.999
    np.testing.assert_allclose(p[:, 5, 5], BASE, atol=1e-6)
    assert 0.3 < p[LIVER, 45, 49] < 0.9, "liver and spleen share the border between them"
    assert p[LIVER, 45, 49] + p[SPLEEN, 45, 49] > 0.99
    np.testing.assert_allclose(np.asarray(prior.p[0]), np.broadcast_to(BASE[:, None, None], (17, 96, 120)), atol=1e-6)


def test_for_a_network_where_none_passes_only_masks_count(torso: Volume, labels: Volume) -> None:
    whole, bare = (
        SegmentationPrior(Segmentation(labels, NAMES), PAPER, _slice_prior(), complete=complete).probabilities(torso)
        for complete in (True, False)
    )
    rest = 1 - bare.p[4].sum(axis=0, keepdims=True)
    assert rest[0, 5, 5] == 1
    np.testing.assert_allclose(bare.p[4] + rest * BASE[:, None, None], whole.p[4], atol=1e-6)
    some = ("spleen", "liver")
    np.testing.assert_array_equal(bare.aligned_to(some).p[4], bare.p[4][[SPLEEN, LIVER]])
    again = FixedPrior(np.array(bare.as_table()["probabilities"][4]), PAPER.descriptors)
    assert again.prior.p[0, LIVER] > again.prior.p[0, SPLEEN] > 0 == again.prior.p[0, 0]


def test_a_structure_of_two_descriptors_is_shared_as_the_slice_prior_has_it(torso: Volume, labels: Volume) -> None:
    prior = SegmentationPrior(Segmentation(labels, NAMES), PAPER, _slice_prior(), border_mm=0.1).probabilities(torso)
    assert prior.p[4][CHEST_AORTA, 75, 63] == pytest.approx(0.8)
    assert prior.p[4][BELLY_AORTA, 75, 63] == pytest.approx(0.2)


def test_labels_on_another_grid_and_orientation(torso: Volume, labels: Volume) -> None:
    """With reoriented axes and a finer grid, the same place in the patient gets the same organ."""
    image = sitk.GetImageFromArray(labels.hu)
    image.SetSpacing(labels.spacing)
    turned = sitk.DICOMOrient(image, "RSA")
    fine = sitk.Resample(
        turned,
        [2 * n for n in turned.GetSize()],
        sitk.Transform(),
        sitk.sitkNearestNeighbor,
        turned.GetOrigin(),
        [s / 2 for s in turned.GetSpacing()],
        turned.GetDirection(),
    )
    moved = Volume(
        sitk.GetArrayFromImage(fine), fine.GetSpacing(), fine.GetOrigin(), np.reshape(fine.GetDirection(), (3, 3))
    )
    expected = SegmentationPrior(Segmentation(labels, NAMES), PAPER, _slice_prior()).probabilities(torso)
    found = SegmentationPrior(Segmentation(moved, NAMES), PAPER, _slice_prior()).probabilities(torso)
    np.testing.assert_allclose(found.p[4], expected.p[4], atol=1e-6)
    part = torso.part(range(4, 5))
    alone = SegmentationPrior(Segmentation(labels, NAMES), PAPER, _slice_prior()).probabilities(part)
    np.testing.assert_array_equal(alone.p[0], expected.p[4])


def test_rows_are_selected_and_aligned_like_any_prior(torso: Volume, labels: Volume) -> None:
    prior = SegmentationPrior(Segmentation(labels, NAMES), PAPER, _slice_prior()).probabilities(torso)
    few = prior.select(torso.slice_ids[4:6]).aligned_to(("spleen", "liver"))
    assert few.p.shape == (2, 2, 96, 120)
    assert few.p[0][1, 45, 35] > 0.999
    np.testing.assert_allclose(few.p[0].sum(axis=0), 1, atol=1e-5)
    assert len(prior.as_table()["probabilities"]) == 9


def test_the_network_takes_a_spatial_prior(torso: Volume, labels: Volume) -> None:
    prior = SegmentationPrior(Segmentation(labels, NAMES), PAPER, _slice_prior()).probabilities(canonical(torso).volume)
    torch.manual_seed(0)
    network = build_network("bioatt", filters=4, descriptors=17).eval()
    x = torch.from_numpy(canonical(torso).volume.hu[4:5, None] + 500) / 500
    with torch.inference_mode():
        spatial = network(x, torch.from_numpy(prior.p[4])[None])
        flat = network(x, torch.from_numpy(BASE)[None])
    assert spatial.shape == x.shape
    assert not torch.allclose(spatial, flat)


def test_shipped_table_names_only_structures_of_the_descriptors() -> None:
    table = json.loads((resources_folder() / "Anatomy" / "labels" / "totalsegmentator.json").read_text())
    assert table["5"] == "liver"
    assert table["52"] == "aorta"
    assert all(PAPER.columns_of(name) for name in table.values())


def test_reading_files(tmp_path: Path, labels: Volume) -> None:
    image = sitk.GetImageFromArray(labels.hu)
    image.SetSpacing(labels.spacing)
    plain, slicer = tmp_path / "labels.nii.gz", tmp_path / "organs.seg.nrrd"
    sitk.WriteImage(image, str(plain))
    image.SetMetaData("Segment0_LabelValue", "5")
    image.SetMetaData("Segment0_Name", "spleen")
    sitk.WriteImage(image, str(slicer))
    assert read_segmentation(plain).names[5] == "liver", "TotalSegmentator's numbers where nothing else is said"
    assert dict(read_segmentation(slicer).names) == {5: "spleen"}
    table = tmp_path / "names.json"
    for content in ({"5": "pancreas"}, {"pancreas": 5}):
        table.write_text(json.dumps(content))
        assert dict(read_segmentation(slicer, table).names) == {5: "pancreas"}
    table.write_text('{"5": 6}')
    with pytest.raises(InputError, match="name table"):
        read_segmentation(slicer, table)


def test_what_cannot_be_a_segmentation_is_refused(tmp_path: Path, torso: Volume, labels: Volume) -> None:
    with pytest.raises(InputError, match="no structure of the segmentation"):
        SegmentationPrior(Segmentation(labels, {5: "gallbladder"}), PAPER, _slice_prior())
    image = sitk.GetImageFromArray(torso.hu.astype(np.float32) + np.float32(0.5))
    sitk.WriteImage(image, str(tmp_path / "ct.nrrd"))
    with pytest.raises(InputError, match="not a label volume"):
        read_segmentation(tmp_path / "ct.nrrd")


def test_slices_without_a_sure_place_get_no_masks(torso: Volume, labels: Volume) -> None:
    uneven = replace(torso, even=False)
    with pytest.raises(InputError, match="slices of the scan are missing"):
        SegmentationPrior(Segmentation(labels, NAMES), PAPER, _slice_prior()).probabilities(uneven)
    gaps = Segmentation(replace(labels, even=False), NAMES)
    with pytest.raises(InputError, match="slices of the segmentation are missing"):
        SegmentationPrior(gaps, PAPER, _slice_prior()).probabilities(torso)


@pytest.mark.parametrize("kind", ["another place", "other slices", "empty", "unknown structures"])
def test_a_segmentation_beside_the_scan_is_refused(torso: Volume, labels: Volume, kind: str) -> None:
    elsewhere = {
        "another place": replace(labels, origin=(1000.0, 0.0, 0.0)),
        "other slices": replace(labels, origin=(0.0, 0.0, -30.0)),
        "empty": replace(labels, hu=np.zeros_like(labels.hu)),
        "unknown structures": replace(labels, hu=np.where(labels.hu > 0, 7, 0)),
    }[kind]
    prior = SegmentationPrior(Segmentation(elsewhere, NAMES), PAPER, _slice_prior())
    with pytest.raises(InputError, match="the segmentation does not overlap the scan"):
        prior.probabilities(torso)


def test_a_segmentation_that_only_touches_the_scan_is_taken(torso: Volume, labels: Volume) -> None:
    """Its uppermost labels, of slice 5, lie on the scan's lowest slice, also if the scan is stored head first."""
    touching = Segmentation(replace(labels, origin=(0.0, 0.0, -25.0)), NAMES)
    head_first = Volume(torso.hu[::-1], torso.spacing, (0.0, 0.0, 40.0), np.diag([1.0, 1.0, -1.0]))
    for scan, lowest in ((torso, 0), (head_first, 8)):
        prior = SegmentationPrior(touching, PAPER, _slice_prior()).probabilities(scan)
        assert prior.p[lowest][LIVER, 45, 35] > 0.999


def test_a_part_of_the_scan_may_lie_beside_the_segmentation(torso: Volume, labels: Volume) -> None:
    prior = SegmentationPrior(Segmentation(labels.part(range(3, 6)), NAMES), PAPER, _slice_prior())
    alone = prior.part_probabilities(torso.part(range(0, 2)), torso)
    np.testing.assert_array_equal(alone.p[1], prior.probabilities(torso).p[1])
    with pytest.raises(InputError, match="does not overlap"):
        prior.probabilities(torso.part(range(0, 2)))


def test_a_box_of_the_pixels_keeps_their_place(torso: Volume, labels: Volume) -> None:
    prior = SegmentationPrior(Segmentation(labels, NAMES), PAPER, _slice_prior()).probabilities(torso)
    twice = prior.cropped(slice(20, 90), slice(10, 80)).cropped(slice(5, 30), slice(2, 60))
    assert twice.p.shape == (9, 17, 25, 58)
    np.testing.assert_array_equal(twice.p[4], prior.p[4][:, 25:50, 12:70])
    stored = replace(prior, p=np.asarray(prior.p)).cropped(slice(25, 50), slice(12, 70))
    np.testing.assert_array_equal(stored.p[4], twice.p[4])
    by_slice = _slice_prior().probabilities(torso)
    assert by_slice.cropped(slice(0, 1), slice(0, 1)) is by_slice
