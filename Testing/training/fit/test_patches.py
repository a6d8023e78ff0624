"""Patches have the right voxels and dose, and a number always gives the same patch."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from bioatt.core.errors import InputError
from bioatt.network.slab_unet import NEIGHBOURS, alone
from bioatt_training.data.bank import Bank, Slice, noise_scale
from bioatt_training.data.prior_augmentation import largest_rise
from bioatt_training.fit.config import Config, DataConfig, NetworkConfig, OptimiserConfig, RunConfig
from bioatt_training.fit.loaders import RunData
from bioatt_training.fit.patches import PatchDataset

SIZE = 96


@pytest.fixture
def folder(tmp_path):
    """A bank of five slices of two training patients and a validation patient, with 30 HU of white noise."""
    rng = np.random.default_rng(0)
    owners = [*[("a", "train")] * 3, ("b", "train"), ("v", "validation")]
    slices, targets, noises = [], [], []
    for number, (patient, part) in enumerate(owners):
        target = np.full((SIZE, SIZE), -1000, np.int16)
        target[20:80, 20:80] = 40 + number
        targets.append(target.ravel())
        noises.append(rng.normal(scale=30, size=target.size).astype(np.int16))
        place = number * target.size
        slices.append(Slice(f"{number}.nrrd", patient, part, 0.8, 3.0, "B30", 12.0, place, target.shape))
    np.concatenate(targets).tofile(tmp_path / "target.bin")
    np.concatenate(noises).tofile(tmp_path / "noise.bin")
    np.save(tmp_path / "prior.npy", np.eye(5, dtype=np.float32))
    header = {"descriptor_set": "test", "descriptors": list("abcde"), "prior": "test"}
    (tmp_path / "bank.json").write_text(json.dumps({**header, "slices": [asdict(one) for one in slices]}))
    return tmp_path


def dataset(folder, part="train", knows_noise=False, **options):
    config = DataConfig(str(folder), patch=40, **{"prior_perturbation": 0.0, **options})
    return PatchDataset(Bank(folder), config, part, 400, seed=3, knows_noise=knows_noise)


def test_a_number_is_a_patch(folder):
    first, second = dataset(folder), dataset(folder)
    for number in (0, 7):
        for one, other in zip(first[number], second[number], strict=True):
            assert (one == other).all()
    assert (first[0][0] != first[1][0]).any()


def test_the_prior_belongs_to_the_slice(folder):
    """The HU of the soft tissue identifies the slice and thus the expected prior."""
    data = dataset(folder)
    for number in range(40):
        _, target, p = data[number]
        hu = round(float(target.max()) * 500 - 500)
        assert hu - 40 == int(p.argmax())


def test_noise_has_the_dose_s_variance(folder):
    data = dataset(folder, doses=(0.1, 0.1))
    low, target, _ = data[0]
    extra = (low - target).numpy() * 500
    assert extra.std() == pytest.approx(30 * np.sqrt(9 / 3), rel=0.1)
    assert noise_scale(0.25) == 1


def test_a_network_that_knows_the_noise_is_told_the_slice_s(folder):
    """The noise level is the slice's at the patch's dose, whatever part of the slice the patch shows."""
    plain, told = (dataset(folder, doses=(0.1, 0.4), knows_noise=known) for known in (False, True))
    for number in range(6):
        (low, target, p), (x, *same) = plain[number], told[number]
        level = 50 * float(x[1 + NEIGHBOURS, 0, 0])
        assert torch.equal(x, alone(low[None], level)[0])
        assert all(torch.equal(one, other) for one, other in zip((target, p), same, strict=True))
        tissue = target > 1
        sigma = float((low - target)[tissue].std()) * 500
        assert level == pytest.approx(0.85 * sigma, rel=0.2)


def test_validation_is_quarter_dose_and_upright(folder):
    low, target, p = dataset(folder, "validation")[0]
    assert p.argmax() == 4
    assert (low - target).numpy().std() * 500 == pytest.approx(30, rel=0.1)


def test_patients_are_balanced(folder):
    data = dataset(folder)
    drawn = np.array([int(data[number][2].argmax()) for number in range(400)])
    shares = [np.mean(np.isin(drawn, slices)) for slices in ([0, 1, 2], [3])]
    assert shares[0] / shares[1] == pytest.approx(np.sqrt(3), rel=0.35)


def test_left_out_patients_never_train(folder):
    assert {Bank(folder).slices[index].patient for index in dataset(folder).indices} == {"a", "b"}


def test_ranges_of_the_training_are_described(folder):
    data = DataConfig(str(folder), patch=40, doses=(0.25, 0.5))
    described = RunData(Config(RunConfig("a", "1"), NetworkConfig(), OptimiserConfig(margin=4), data)).description()
    assert described["noise_hu"] == [pytest.approx(12 / np.sqrt(0.5), abs=0.1), 24.0]
    assert described["pixel_mm"] == [0.8, 0.8]
    assert described["patients"] == 2
    assert described["prior_rise"] == largest_rise(len(Bank(folder).header["descriptors"]), 0.3)
    own = RunData(
        Config(RunConfig("a", "1"), NetworkConfig(), OptimiserConfig(margin=4), replace(data, prior_perturbation=0.0))
    )
    assert "prior_rise" not in own.description(), "nothing but the slices' own priors was seen"


def test_patches_larger_than_the_slices_are_refused(folder):
    with pytest.raises(InputError, match="smaller patches"):
        PatchDataset(Bank(folder), DataConfig(str(folder), patch=200), "train", 1, seed=0)
