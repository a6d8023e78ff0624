"""Organ maps: they match the organs of a phantom, are distributions, and are the same for a slice alone."""

from __future__ import annotations

from dataclasses import replace
from itertools import repeat
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bioatt.anatomy.descriptors import load_descriptor_set, parse_descriptor_set
from bioatt.core.errors import Cancelled, InputError
from bioatt.core.noise import CONTEXT_SLICES
from bioatt.core.resources import resources_folder
from bioatt.core.volume import Volume
from bioatt.network.organ_maps import OrganMapNetwork
from bioatt.priors import build_prior, organ_maps
from bioatt.priors.organ_cells import CELL_MM, WINDOW_CELLS, body_box, to_cells, window_of
from bioatt.priors.organ_maps import (
    FILE,
    OrganMapPrior,
    OrganMaps,
    network_input,
    save_organ_maps,
    smoothed_along_z,
)
from bioatt.simulation.phantom import LABELS
from bioatt.simulation.phantom import torso as phantom

PAPER = load_descriptor_set("paper17")
MODELS = resources_folder() / "Models"


trained = pytest.mark.skipif(not (MODELS / FILE).is_file(), reason="no trained organ maps ship yet")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped maps or, if there are none, a small random network, which tests all but what they find."""
    if (MODELS / FILE).is_file():
        return MODELS / FILE
    file = tmp_path_factory.mktemp("organ maps") / FILE
    torch.manual_seed(0)
    network = OrganMapNetwork(1 + len(PAPER.descriptors), (8, 8, 16, 16)).eval()
    count = len(PAPER.descriptors)
    calibration = {"temperature": 1.0, "slope": [1.0] * count, "offset": [0.0] * count}
    save_organ_maps(file, network, {"descriptors": list(PAPER.descriptors), "calibration": calibration})
    return file


@pytest.fixture(scope="module")
def prior(weights: Path) -> OrganMapPrior:
    return OrganMapPrior(PAPER, path=weights)


@pytest.fixture(scope="module")
def torso() -> tuple[Volume, NDArray[np.uint8]]:
    """Return a torso with scan noise, and its labels: abdomen first, lung tips last."""
    volume, labels = phantom(3, slices=8, size=256, z_range=(-160, 150))
    noise = np.random.default_rng(0).normal(0, 20, volume.shape)
    return Volume(np.rint(volume.hu + noise).astype(np.int16), volume.spacing), labels


@pytest.fixture(scope="module")
def maps(prior: OrganMapPrior, torso: tuple[Volume, NDArray[np.uint8]]) -> OrganMaps:
    return prior.maps(torso[0])


@trained
@pytest.mark.parametrize(
    ("organ", "painted", "least"),
    [
        ("lungs", ("lungs", "lung vessels"), 0.9),
        ("liver", ("liver", "liver vessels", "liver lesion"), 0.8),
        ("spine", ("spine",), 0.75),
    ],
)
def test_maps_lie_on_the_organs(
    maps: OrganMaps, torso: tuple[Volume, NDArray[np.uint8]], organ: str, painted: tuple[str, ...], least: float
) -> None:
    truth = np.isin(torso[1], [LABELS[name] for name in painted])
    value = 1 + PAPER.descriptors.index(organ)
    found = np.stack([maps.labels(z) == value for z in range(8)])
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > least


@trained
def test_presence_tells_the_levels(maps: OrganMaps) -> None:
    presence = dict(zip(PAPER.descriptors, maps.presence().T, strict=True))
    assert presence["lungs"][-1] > 0.8 > 0.2 > presence["lungs"][0]
    assert presence["liver"][2] > 0.8 > 0.2 > presence["liver"][-1]
    assert presence["brain"].max() < 0.2


def test_probabilities_are_distributions_and_labels_the_most_probable(maps: OrganMaps) -> None:
    for z in (0, 4, 7):
        p = maps.probabilities(z)
        assert p.shape == (18, 256, 256)
        assert p.min() > -1e-3
        np.testing.assert_allclose(p.sum(axis=0), 1, atol=1e-5)
        assert np.array_equal(maps.labels(z), p.argmax(axis=0))


def test_a_slice_alone_is_as_in_its_volume(weights: Path, torso: tuple[Volume, NDArray[np.uint8]]) -> None:
    single = OrganMapPrior(PAPER, path=weights, smoothing=False)
    whole = single.maps(torso[0])
    alone = single.maps(torso[0].part(range(4, 5)))
    assert np.array_equal(alone.labels(0), whole.labels(4))
    assert np.array_equal(alone.pooled()[0], whole.pooled()[4])


def test_context_is_all_that_smoothing_needs(prior: OrganMapPrior) -> None:
    near = Volume(phantom(5, slices=14, size=128, z_range=(-20, -6))[0].hu, (3.0, 3.0, 1.0))
    part = prior.maps(near.part(range(7 - CONTEXT_SLICES, 8 + CONTEXT_SLICES)))
    assert np.array_equal(part.pooled()[CONTEXT_SLICES], prior.maps(near).pooled()[7])


def test_smoothing_weighs_by_real_distance() -> None:
    one = np.zeros((9, 1), np.float32)
    one[4] = 1
    close, far = (np.concatenate(list(smoothed_along_z(iter(one[:, None]), 9, step, 3.0))) for step in (2.0, 10.0))
    weights = np.exp(-0.5 * (2.0 * np.arange(-4, 5) / 3.0) ** 2)
    assert close[4, 0] == pytest.approx(1 / weights.sum(), rel=1e-2)
    assert close[4, 0] > close[3, 0] == close[5, 0] > close[2, 0] > 0
    assert far[4, 0] == pytest.approx(0.99, abs=0.02)


def test_the_spatial_prior_gives_the_share_of_none_to_the_slice_prior(
    weights: Path, prior: OrganMapPrior, torso: tuple[Volume, NDArray[np.uint8]], maps: OrganMaps
) -> None:
    spatial = OrganMapPrior(PAPER, path=weights, spatial=True).probabilities(torso[0])
    pooled = prior.probabilities(torso[0])
    assert spatial.p.shape == (8, 17, 256, 256)
    row, found = np.asarray(spatial.p[3]), maps.probabilities(3)
    np.testing.assert_allclose(row.sum(axis=0), 1, atol=1e-4)
    np.testing.assert_allclose(row, found[1:] + found[0] * pooled.p[3][:, None, None], atol=1e-6)
    np.testing.assert_allclose(row[:, 2, 2], pooled.p[3], atol=1e-6)  # a corner, in air


def test_where_none_passes_the_spatial_prior_is_the_maps(maps: OrganMaps) -> None:
    bare = maps.prior(spatial=True, complete=False)
    np.testing.assert_array_equal(bare.p[3], maps.probabilities(3)[1:])


def test_place_in_the_image_does_not_matter(prior: OrganMapPrior, torso: tuple[Volume, NDArray[np.uint8]]) -> None:
    """Tested with the same slice padded by 80 pixels of air on one side and 48 on another."""
    hu, spacing = torso[0].hu[3:4], (CELL_MM / 2, CELL_MM / 2, 5.0)
    wider = np.pad(hu, ((0, 0), (48, 0), (0, 80)), constant_values=-1000)
    there = prior.maps(Volume(wider, spacing)).labels(0)[48:, :-80]
    here = prior.maps(Volume(hu, spacing)).labels(0)
    assert (there == here).mean() > 0.995


def test_cells_keep_the_mean_and_have_the_size_that_pixels_allow() -> None:
    hu = np.random.default_rng(0).normal(0, 300, (200, 150)).astype(np.float32)
    cells = to_cells(hu, (0.8, 1.1))
    assert cells.shape == (round(200 * 1.1 / CELL_MM), round(150 * 0.8 / CELL_MM))
    assert cells.mean() == pytest.approx(hu.mean(), abs=0.05)


def test_the_window_holds_the_body_in_whole_blocks() -> None:
    cells = np.full((90, 130), -1000, np.float32)
    cells[5:70, 20:120] = 40
    cells[80:83, 0:10] = 40  # a speck
    assert body_box(cells) == (slice(5, 70), slice(20, 120))
    rows, columns = window_of(body_box(cells))
    assert rows.start <= 5
    assert rows.stop >= 70
    assert columns.start <= 20
    assert columns.stop >= 120
    assert (rows.stop - rows.start) % 16 == (columns.stop - columns.start) % 16 == 0


def test_a_small_body_gets_the_window_that_training_showed() -> None:
    cells = np.full((90, 130), -1000, np.float32)
    cells[30:60, 40:100] = 40
    window, shown, where = network_input(cells)
    assert shown.shape[-2:] == where.shape[-2:] == WINDOW_CELLS
    inside = shown[0, 0].numpy() > -500
    assert inside.sum() == 30 * 60
    assert inside[30 - window[0].start : 60 - window[0].start, 40 - window[1].start : 100 - window[1].start].all()
    assert np.abs(where[0].numpy()[:, inside]).max() < 1


@trained
@pytest.mark.parametrize("shape", [(1, 512, 512), (2, 9, 7)])
def test_air_is_none_and_says_nothing(prior: OrganMapPrior, shape: tuple[int, int, int]) -> None:
    maps = prior.maps(Volume(np.full(shape, -1000, np.int16)))
    assert not maps.labels(0).any()
    assert maps.presence().max() < 0.2


def test_refusals(
    tmp_path: Path,
    torso: tuple[Volume, NDArray[np.uint8]],
    weights: Path,
    prior: OrganMapPrior,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = parse_descriptor_set({"name": "other", "descriptors": [{"name": "liver"}, {"name": "thumb"}]})
    with pytest.raises(InputError, match="do not cover thumb"):
        OrganMapPrior(other, path=weights)
    damaged = tmp_path / FILE
    damaged.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(InputError, match="damaged"):
        OrganMapPrior(PAPER, path=damaged)
    monkeypatch.setenv("BIOATT_MODELS", str(tmp_path / "none"))
    if not (MODELS / FILE).is_file():
        with pytest.raises(InputError, match="organ-maps"):
            OrganMapPrior(PAPER)
    organ_maps.forget()
    asked = iter([False, False, *repeat(True, 9)])
    with pytest.raises(Cancelled):
        prior.maps(torso[0], cancelled=lambda: next(asked))


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Collects the shapes, in cells, of the slices that the network processes from now on."""
    organ_maps.forget()
    shapes: list[tuple[int, ...]] = []
    work = organ_maps.cell_probabilities
    monkeypatch.setattr(organ_maps, "cell_probabilities", lambda *a: shapes.append(a[1].shape) or work(*a))
    return shapes


def test_slices_that_are_known_are_not_computed_again(
    weights: Path, torso: tuple[Volume, NDArray[np.uint8]], computed: list[tuple[int, ...]]
) -> None:
    scan = Volume(np.concatenate([torso[0].hu + k for k in range(3)]), torso[0].spacing)
    pooled = OrganMapPrior(PAPER, path=weights).probabilities(scan)
    assert len(computed) == 24
    for first in range(4):
        OrganMapPrior(PAPER, path=weights).maps(scan.part(range(first, first + 5)))
    assert len(computed) == 24 + 8, "the next slice's preview needs one more"
    spatial = OrganMapPrior(PAPER, path=weights, spatial=True).probabilities(replace(scan, hu=scan.hu.copy()))
    assert len(computed) == 24 + 8, "previews do not drive out their volume"
    np.testing.assert_allclose(spatial.p[5][:, 2, 2], pooled.p[5], atol=1e-6)


def test_other_voxels_under_the_same_identity_are_computed_anew(
    prior: OrganMapPrior, torso: tuple[Volume, NDArray[np.uint8]], maps: OrganMaps
) -> None:
    turned = replace(torso[0], hu=torso[0].hu[::-1].copy())
    assert turned.slice_ids == torso[0].slice_ids
    assert np.array_equal(prior.maps(turned).labels(0), maps.labels(7))


@trained
def test_the_former_names_of_scripts_scenes_and_banks_mean_the_pooled_maps(
    torso: tuple[Volume, NDArray[np.uint8]], maps: OrganMaps
) -> None:
    former = build_prior("embedded", descriptors=PAPER).probabilities(torso[0])
    assert former.source == "maps"
    np.testing.assert_array_equal(former.p, maps.pooled())
