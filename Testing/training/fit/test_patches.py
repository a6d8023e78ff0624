"""Patches: right voxels, right dose, and the same patch for the same number."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch

from bioatt.errors import InputError
from bioatt_training.bank import Bank, Slice, noise_scale
from bioatt_training.config import Config, DataConfig, NetworkConfig, OptimiserConfig, RunConfig
from bioatt_training.loaders import RunData
from bioatt_training.patches import PatchDataset

SIZE = 96


@pytest.fixture
def folder(tmp_path):
    """A bank of six slices of two training patients, a validation patient and a phantom, with white noise of 30 HU."""
    rng = np.random.default_rng(0)
    owners = [
        ("a", "train"),
        ("a", "train"),
        ("a", "train"),
        ("b", "train"),
        ("v", "validation"),
        ("phantom-1", "train"),
    ]
    slices, targets, noises = [], [], []
    for number, (patient, part) in enumerate(owners):
        target = np.full((SIZE, SIZE), -1000, np.int16)
        target[20:80, 20:80] = 40 + number
        targets.append(target.ravel())
        noises.append(rng.normal(scale=30, size=target.size).astype(np.int16))
        place, noise = number * target.size, 1.0 if patient.startswith("phantom") else 12.0
        slices.append(Slice(f"{number}.nrrd", patient, part, 0.8, 3.0, "B30", noise, place, target.shape))
    np.concatenate(targets).tofile(tmp_path / "target.bin")
    np.concatenate(noises).tofile(tmp_path / "noise.bin")
    np.save(tmp_path / "prior.npy", np.eye(6, dtype=np.float32))
    header = {"descriptor_set": "test", "descriptors": list("abcdef"), "prior": "test"}
    (tmp_path / "bank.json").write_text(json.dumps({**header, "slices": [asdict(one) for one in slices]}))
    return tmp_path


def dataset(folder, part="train", **options):
    options = {"prior_perturbation": 0.0, **options}
    return PatchDataset(Bank(folder), DataConfig(str(folder), patch=40, **options), part, 400, seed=3)


def test_a_number_is_a_patch(folder):
    first, second = dataset(folder), dataset(folder)
    for number in (0, 7):
        for one, other in zip(first[number], second[number], strict=True):
            assert (one == other).all()
    assert (first[0][0] != first[1][0]).any()


def test_the_prior_belongs_to_the_slice(folder):
    """Each slice's soft tissue has its own HU, which tells whose prior it must carry."""
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


def test_validation_is_quarter_dose_and_upright(folder):
    low, target, p = dataset(folder, "validation")[0]
    assert p.argmax() == 4
    assert (low - target).numpy().std() * 500 == pytest.approx(30, rel=0.1)


def test_a_target_without_own_noise_is_free_of_it_in_the_mean(folder):
    """t + n1 − n2·a/(1 − a): uncorrelated with the input's noise n1 + n2, where n2's variance is (1/a − 1) of n1's."""
    pairs = [dataset(folder, "validation", own_noise=kept)[0] for kept in ("kept", "removed")]
    (low, scan, _), (same, target, _) = pairs
    assert (low == same).all()
    tissue = scan.numpy() * 500 - 500 > -900  # where the scanner's lower end clips nothing
    np.testing.assert_allclose(target.numpy()[tissue], (scan - (low - scan) / 3).numpy()[tissue], atol=1e-6)


def test_own_noise_is_removed_with_noise_of_its_own_kernel_alone(folder):
    """Of a slice's several noises the later ones have random kernels, and keep what they should take off."""
    scans = np.fromfile(folder / "target.bin", np.int16).reshape(6, -1)
    scans[1] = scans[0]
    scans.tofile(folder / "target.bin")
    assert list(dataset(folder).indices) == [0, 1, 2, 3, 5]
    assert list(dataset(folder, own_noise="removed").indices) == [0, 2, 3, 5]


def test_own_noise_stays_in_softened_targets(folder):
    about = json.loads((folder / "bank.json").read_text())
    (folder / "bank.json").write_text(json.dumps({**about, "target": "softened:B10"}))
    with pytest.raises(InputError, match="cannot be removed"):
        dataset(folder, own_noise="removed")


def test_a_phantom_s_target_is_free_of_noise_already(folder):
    data = dataset(folder, phantom_share=1.0, own_noise="removed")
    _, target, p = data[0]
    assert p.argmax() == 5
    assert set(np.unique(np.rint(target.numpy() * 500 - 500))) <= {-1000.0, 45.0}


def test_phantoms_come_in_twos_under_opposite_noise(folder):
    data = dataset(folder, phantom_share=1.0, opposite_noise=True, own_noise="removed")
    for number in (0, 6):
        (low, target, p), (opposite, same, q) = data[number], data[number + 1]
        assert torch.equal(target, same)
        assert torch.equal(p, q)
        assert (low != opposite).any()
        tissue = target > -0.9  # where the scanner's lower end clips nothing
        torch.testing.assert_close(((low + opposite) / 2)[tissue], target[tissue])


def test_scans_have_no_twins(folder):
    data = dataset(folder, phantom_share=0.0, opposite_noise=True)
    (_, target, _), (_, other, _) = data[0], data[1]
    assert not torch.equal(target, other)


@pytest.mark.parametrize("option", ["insert_share", "kernel_share"])
def test_scan_and_target_are_varied_alike(folder, option):
    plain, varied = (dataset(folder, doses=(0.25, 0.25), **given) for given in ({}, {option: 1.0}))
    changed = 0
    for number in range(12):
        low, target, _ = varied[number]
        changed += bool((target != plain[number][1]).any())
        soft_tissue = target.numpy() * 500 - 500 > -900  # where the scanner's lower end clips nothing
        assert abs((low - target).numpy()[soft_tissue].mean()) * 500 < 10
    assert changed > 8


def test_patients_and_phantoms_are_balanced(folder):
    data = dataset(folder, phantom_share=0.25)
    drawn = np.array([int(data[number][2].argmax()) for number in range(400)])
    assert np.mean(drawn == 5) == pytest.approx(0.25, abs=0.07)
    shares = [np.mean(np.isin(drawn, slices)) for slices in ([0, 1, 2], [3])]
    assert shares[0] / shares[1] == pytest.approx(np.sqrt(3), rel=0.35)


def test_left_out_patients_never_train(folder):
    assert {Bank(folder).slices[index].patient for index in dataset(folder).indices} == {"a", "b", "phantom-1"}


def test_ranges_of_the_training_are_described(folder):
    data = DataConfig(str(folder), patch=40, doses=(0.25, 0.5))
    described = RunData(Config(RunConfig("a", "1"), NetworkConfig(), OptimiserConfig(margin=4), data)).description()
    assert described["noise_hu"] == [pytest.approx(12 / np.sqrt(0.5), abs=0.1), 24.0]
    assert described["pixel_mm"] == [0.8, 0.8]
    assert (described["patients"], described["phantoms"]) == (2, 1)


def test_patches_larger_than_the_slices_are_refused(folder):
    with pytest.raises(InputError, match="smaller patches"):
        PatchDataset(Bank(folder), DataConfig(str(folder), patch=200), "train", 1, seed=0)
