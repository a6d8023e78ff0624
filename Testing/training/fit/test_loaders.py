"""Batches of a run: all data once per epoch, the same for any number of processes and workers, resumable anywhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bioatt.core.errors import InputError
from bioatt_training.fit.grid import GridDataset, SliceDataset, cells
from bioatt_training.fit.loaders import ResumableLoader, RunData, TrainingBatches


def taken(data, rank=0, processes=1):
    return list(TrainingBatches(data, rank, processes))


def test_an_epoch_of_the_grid_shows_every_patch_once(tiny):
    data = RunData(tiny(sampling="grid", epochs=2, batch=4))
    assert (len(data.train), data.epoch_steps, data.steps) == (24, 6, 12)
    numbers = np.array(taken(data)).reshape(2, 24)
    assert sorted(numbers[0]) == list(range(24))
    assert sorted(numbers[1]) == list(range(24, 48))  # the second pass, with new turns
    assert (numbers[1] - 24 != numbers[0]).any()


def test_repeats_and_epoch_patches_set_an_epoch_s_length(tiny):
    data = RunData(tiny(sampling="grid", epochs=1, repeats=3, batch=5))
    assert data.epoch_steps == 72 // 5
    data = RunData(tiny(sampling="grid", epochs=2, epoch_patches=8))
    first, second = np.array(taken(data)).reshape(2, 8)
    assert len(set(first)) == 8
    assert set(first) != set(second - 24)


@pytest.mark.parametrize("options", [{"sampling": "random"}, {"sampling": "grid", "epochs": 3}])
def test_processes_share_each_batch(tiny, options):
    data = RunData(tiny(**options))
    shares = [taken(data, rank, 2) for rank in (0, 1)]
    assert [one + other for one, other in zip(*shares, strict=True)] == taken(data)


@pytest.mark.parametrize("options", [{"steps": 20}, {"steps": 4}, {"steps": 20, "sampling": "grid"}])
def test_steps_that_no_validation_would_see_are_refused(tiny, options):
    with pytest.raises(InputError, match="would not be validated"):
        RunData(tiny(**options))


def test_a_batch_that_cannot_be_shared_is_refused(tiny):
    with pytest.raises(InputError, match="3 processes"):
        TrainingBatches(RunData(tiny()), 0, 3)


def test_a_loader_goes_on_where_its_state_says(tiny):
    data = RunData(tiny(sampling="grid", epochs=2))
    loader = ResumableLoader(data.train, TrainingBatches(data, 0, 1))
    batches = iter(loader)
    for _ in range(7):
        next(batches)
    resumed = ResumableLoader(data.train, TrainingBatches(data, 0, 1))
    resumed.load_state_dict(loader.state_dict())
    rest = list(resumed)
    assert len(rest) == 12 - 7
    for one, other in zip(rest, batches, strict=True):
        assert all((a == b).all() for a, b in zip(one, other, strict=True))
    assert len(list(resumed)) == 12


@pytest.mark.slow
def test_workers_change_nothing(tiny):
    data = RunData(tiny(sampling="grid", epochs=1))
    alone, helped = (ResumableLoader(data.train, TrainingBatches(data, 0, 1), workers) for workers in (0, 2))
    for one, other in zip(alone, helped, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_validation_is_the_same_patches_upright(tiny):
    data = RunData(tiny(sampling="grid", epochs=1, validation_patches=5))
    assert len(data.validation) == 5
    full = GridDataset(data.bank, "validation")
    assert len(full) == 8
    low, _, _ = data.validation[4]
    assert torch.equal(low, full[7][0])


def test_whole_slices(tiny):
    data = RunData(tiny(sampling="whole", arm="whole", epochs=1, batch=1, validation_patches=4))
    assert data.train[0][0].shape == (1, 110, 110)
    assert (data.steps, len(data.validation)) == (6, 1)
    assert cells(data.validation[0][0][None]).shape == (4, 1, 55, 55)


def test_the_grid_is_cut_from_the_slices(tiny):
    bank = RunData(tiny()).bank
    pieces, slices = GridDataset(bank, "train"), SliceDataset(bank, "train")
    low = slices[1][0]
    assert torch.equal(cells(low[None]), torch.stack([pieces[number][0] for number in range(4, 8)]))


def test_each_slice_has_its_own_prior_and_the_authors_another_s(tiny):
    """The bank begins with a validation slice, so alignment by position gives training slices the previous row."""
    bank = RunData(tiny()).bank
    right, wrong = (SliceDataset(bank, "train", alignment=alignment) for alignment in ("slice", "position"))
    for number, index in enumerate(bank.indices("train")):
        assert right[number][2].argmax() == index
        assert wrong[number][2].argmax() == index - 1


def test_a_turn_is_drawn_anew_in_each_pass(tiny):
    bank = RunData(tiny()).bank
    data = GridDataset(bank, "train", augment=True, seed=5)
    again = GridDataset(bank, "train", augment=True, seed=5)
    looks = {data[3 + turn * len(data)][0].numpy().tobytes() for turn in range(40)}
    assert len(looks) == 8  # rotations and reflections of a square
    assert torch.equal(data[51][0], again[51][0])


def test_too_few_patches_for_a_batch_are_refused(tiny):
    with pytest.raises(InputError, match="batch"):
        RunData(tiny(sampling="grid", epochs=1, batch=25))
