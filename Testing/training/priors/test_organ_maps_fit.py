"""Training of the organ maps: what is known about a slice, augmentation that keeps labels correct, and resuming."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bioatt.anatomy.descriptors import load_descriptor_set
from bioatt.priors.organ_cells import body_box, coordinates
from bioatt_training.priors.organ_maps import content
from bioatt_training.priors.organ_maps.augmentation import SHAPES, Batch, Strength, augment
from bioatt_training.priors.organ_maps.content import BOWEL, KIDNEYS, LIVER, NONE_HERE, SPINE, change_content
from bioatt_training.priors.organ_maps.data import hidden_classes, load_slices, phantom_slices
from bioatt_training.priors.organ_maps.fit import LAST, Fit, FitConfig, TrainingSets, body_masks
from bioatt_training.priors.organ_maps.objective import objective
from bioatt_training.priors.organ_maps.slices import FINE, GRID, OrganSlices

PAPER = load_descriptor_set("paper17")
TINY = FitConfig(steps=4, outlined=2, weak=1, phantom=1, widths=(4, 4, 8, 8), save_every=2)


@pytest.fixture
def slices(made_up_collection: Callable[..., Path]) -> OrganSlices:
    return load_slices(made_up_collection(), PAPER)


def _row(slices: OrganSlices, name: str) -> int:
    return int(np.flatnonzero(slices.files == f"slices/{name}.nrrd")[0])


def test_outlines_lie_on_the_training_cells(slices: OrganSlices) -> None:
    assert len(slices) == 12
    assert slices.outlined.sum() == 11
    row = _row(slices, "P0_belly")
    inside = slices.images[row][slices.labels[row] == LIVER]
    assert abs(float(np.median(inside)) - 110) < 10
    assert slices.images.shape[1:] == (GRID, GRID)


def test_what_a_cell_of_0_may_be(slices: OrganSlices) -> None:
    sure, weak, unsure = (slices.possible[_row(slices, name)] for name in ("P0_belly", "P2_belly", "P3_belly"))
    assert np.flatnonzero(sure).tolist() == [0]
    assert np.flatnonzero(weak).tolist() == [0, 9, 17]  # organs.csv: none, liver, spine, nothing else
    assert np.flatnonzero(unsure).tolist() == [0, 9]


def test_remarks_on_masses_open_all_organs_to_training_but_not_to_judging() -> None:
    assert hidden_classes("tumour left out", PAPER).all()
    assert np.flatnonzero(hidden_classes("tumour left out; antrum", PAPER, anything=False)).tolist() == [0, 11, 15]


def _batch(labels: torch.Tensor) -> Batch:
    shape = labels.shape[-2:]
    return Batch(torch.zeros(1, 1, *shape), torch.zeros(1, 2, *shape), labels, torch.zeros(1, *shape, dtype=torch.bool))


def test_liver_on_a_0_that_may_be_liver_costs_nothing() -> None:
    labels = torch.zeros(1, 4, 16, 16, dtype=torch.long)
    logits = torch.zeros(1, 18, 16, 16)
    logits[:, LIVER] = 12.0
    possible = torch.zeros(1, 18, dtype=torch.bool)
    possible[:, 0] = True
    present, outlined = torch.zeros(1, 17, dtype=torch.bool), torch.ones(1, dtype=torch.bool)
    strict = objective(logits, _batch(labels), possible, present, outlined)
    possible[:, LIVER] = True
    lenient = objective(logits, _batch(labels), possible, present, outlined)
    certain = objective(logits, _batch(torch.full_like(labels, NONE_HERE)), possible, present, outlined)
    assert strict > 5
    assert lenient < 0.2
    assert certain > lenient


def test_an_organ_that_must_be_there_is_missed() -> None:
    batch = _batch(torch.zeros(1, 4, 16, 16, dtype=torch.long))
    present = torch.zeros(1, 17, dtype=torch.bool)
    present[0, LIVER - 1] = True
    possible = torch.zeros(1, 18, dtype=torch.bool)
    possible[0, [0, LIVER]] = True
    nowhere = torch.zeros(1, 18, 16, 16)
    nowhere[:, 0] = 12.0
    somewhere = nowhere.clone()
    somewhere[:, LIVER, :4, :4] = 24.0
    weak = torch.zeros(1, dtype=torch.bool)
    assert objective(somewhere, batch, possible, present, weak) < objective(nowhere, batch, possible, present, weak)


def _augmented(slices: OrganSlices, rows: np.ndarray, shape: tuple[int, int], strength: Strength) -> Batch:
    images, labels, bodies = slices.images[rows], slices.labels[rows], body_masks(slices.images[rows])
    arrays = (torch.from_numpy(array) for array in (images, labels, bodies))
    return augment(*arrays, shape, strength)


@pytest.mark.parametrize("shape", SHAPES)
def test_augmentation_keeps_the_labels_on_the_organs(slices: OrganSlices, shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    rows = np.array([_row(slices, "P0_belly"), _row(slices, "P0_chest")] * 8)
    batch = _augmented(slices, rows, shape, Strength())
    assert batch.hu.shape == (16, 1, *shape)
    assert batch.coordinates.shape == (16, 2, *shape)
    assert batch.labels.shape == (16, FINE**2, *shape)
    lungs = batch.hu[:, 0][(batch.labels == 5).all(1)]
    liver = batch.hu[:, 0][(batch.labels == LIVER).all(1)]
    assert lungs.median() < -700
    assert abs(liver.median() - 110) < 60
    assert not torch.equal(batch.hu, _augmented(slices, rows, shape, Strength()).hu)


def test_coordinates_of_an_unchanged_slice_are_those_of_use(slices: OrganSlices) -> None:
    row = _row(slices, "P0_belly")
    still = Strength(pose=0.0, content=0.0, intensity=0.0)
    torch.manual_seed(2)  # a seed that adds no table
    batch = _augmented(slices, np.array([row]), (112, 144), still)
    cells = batch.hu[0, 0].numpy()
    expected = coordinates(body_box(cells), cells.shape)
    assert np.abs(batch.coordinates[0].numpy() - expected).max() < 0.05


def test_augmentation_waits_for_no_result_of_the_device() -> None:
    device = torch.device("meta")  # holds no data: waiting for a result fails
    images, labels = torch.empty(4, GRID, GRID, device=device), torch.empty(4, GRID, GRID, device=device)
    bodies = torch.empty(4, GRID, GRID, dtype=torch.bool, device=device)
    batch = augment(images, labels.to(torch.uint8), bodies, (80, 112), Strength())
    flags = [torch.empty(4, n, dtype=torch.bool, device=device) for n in (18, 17)]
    outlined = torch.empty(4, dtype=torch.bool, device=device)
    logits = torch.empty(4, 18, 80, 112, device=device)
    assert objective(logits, batch, *flags, outlined).device == device


def test_a_removed_organ_is_none_for_sure(slices: OrganSlices) -> None:
    row = _row(slices, "P0_belly")
    labels = torch.from_numpy(slices.labels[row : row + 1].copy())
    labels[labels == LIVER] = 10  # relabelled as spleen, which may be missing
    images = torch.from_numpy(slices.images[row : row + 1]).float()
    for seed in range(60):
        torch.manual_seed(seed)
        hu, named = change_content(images, labels)
        if not (named == 10).any():
            assert (named[labels == 10] == NONE_HERE).all()
            assert hu[labels == 10].mean() < -60
            return
    pytest.fail("no organ was removed in 60 draws")


def _changed(monkeypatch: pytest.MonkeyPatch, kept: str, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """HU after the change `kept` only: the first of two draws is for native, the second for oral contrast agent."""
    draws = iter([kept == "native", kept == "oral"])
    monkeypatch.setattr(
        content, "chance", lambda count, share, device: torch.full((count,), next(draws, False), device=device)
    )
    monkeypatch.setattr(content, "_enhanced", lambda images, labels, strength: images)
    return change_content(images, labels)[0]


def test_without_contrast_agent_the_kidneys_are_no_lighter_than_other_organs(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = torch.zeros(1, 64, 64, dtype=torch.uint8)
    labels[0, 10:20, 10:20], labels[0, 30:40, 30:40] = KIDNEYS, SPINE
    images = torch.full((1, 64, 64), -100.0).masked_fill(labels > 0, 200.0)
    native = _changed(monkeypatch, "native", images, labels)
    assert 30 < native[labels == KIDNEYS].mean() < 100
    assert (native[labels == SPINE] == 200).all()
    assert (native[labels == 0] == -100).all()


def test_oral_contrast_fills_bowel_and_leaves_gas_and_other_organs(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = torch.zeros(8, 64, 64, dtype=torch.uint8)
    labels[:, :32], labels[:, 40:] = BOWEL, LIVER
    images = torch.full((8, 64, 64), 30.0)
    images[:, :8] = -800
    torch.manual_seed(0)
    filled = _changed(monkeypatch, "oral", images, labels)
    assert filled[:, 8:32].max() > 150
    assert filled[:, 8:32].min() >= 30
    assert torch.equal(filled[:, :8], images[:, :8])
    assert torch.equal(filled[labels == LIVER], images[labels == LIVER])


def test_phantoms_are_outlined_whole() -> None:
    slices = phantom_slices(1, PAPER)
    assert slices.outlined.all()
    assert not slices.possible[:, 1:].any()
    assert {"lungs", "liver", "spine"} <= {PAPER.descriptors[n] for n in np.flatnonzero(slices.present.any(axis=0))}


def test_a_stopped_run_goes_on_as_if_it_had_not_been(slices: OrganSlices, tmp_path: Path) -> None:
    sets = TrainingSets(slices.where(slices.outlined), slices.where(~slices.outlined), slices.where(slices.outlined))
    folders = [tmp_path / name for name in ("whole", "stopped")]
    for folder in folders:
        folder.mkdir()
    whole = Fit(sets, TINY, folders[0])
    before = [parameter.clone() for parameter in whole.network.parameters()]
    whole.run()
    Fit(sets, TINY, folders[1]).run(until=2)
    stopped = Fit(sets, TINY, folders[1])
    assert stopped.step == 2
    assert (folders[1] / LAST).is_file()
    stopped.run()
    for one, other in zip(whole.average.parameters(), stopped.average.parameters(), strict=True):
        torch.testing.assert_close(one, other)
    assert any(not torch.equal(old, new) for old, new in zip(before, whole.network.parameters(), strict=True))


def test_fewer_steps_still_end_at_a_low_rate(slices: OrganSlices, tmp_path: Path) -> None:
    from bioatt_training.priors.organ_maps.fit import rate

    config = replace(TINY, steps=1000, warm_up=100)
    assert rate(0, config) < 0.02
    assert rate(100, config) == 1.0
    assert rate(999, config) < 0.02


def test_the_split_keeps_the_denoisers_patients_apart() -> None:
    configs = Path(__file__).parents[3] / "Training" / "configs"
    shared, own = (json.loads((configs / name).read_text()) for name in ("split.json", "split_organ_maps.json"))
    for part in ("test", "validation"):
        assert set(own[part]) - set(shared[part]) == {name for name in own[part] if name.startswith("SBU-")}
        assert set(shared[part]) <= set(own[part])
    assert not set(own["test"]) & set(own["validation"])
