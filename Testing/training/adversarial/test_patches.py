"""Patches without pairs: whose they are, and what their targets are on average."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from bioatt.core.errors import InputError
from bioatt.core.noise import noise_level
from bioatt.network.slab_unet import alone
from bioatt_training.adversarial.patches import NeighbourPatches, NoisierPatches, UnpairedPatches
from bioatt_training.data.bank import DOSE, Bank, noise_scale
from bioatt_training.fit.config import DataConfig


@pytest.fixture
def bank(made_up_bank):
    """Four training patients of two slices."""
    return Bank(made_up_bank(train=4))


def config(bank, **options):
    return DataConfig(str(bank._folder), **{"patch": 64, "doses": (DOSE, DOSE), "prior_perturbation": 0.0, **options})


def noise_of(images):
    """Standard deviation in HU of differences between neighbouring pixels, as a robust measure of noise."""
    differences = np.diff(images.numpy()[..., 0, :, :], axis=-1) * 500
    return float(1.4826 * np.median(np.abs(differences)))


def test_unpaired_patients_are_known_at_one_dose_only_the_noisier_at_low_dose(bank):
    noise = {"train-0": 20.0, "train-1": 9.0, "train-2": None, "train-3": 7.0}
    bank.slices = [replace(one, noise_hu=noise.get(one.patient)) for one in bank.slices]
    patches = UnpairedPatches(bank, config(bank), seed=1)
    sides = [{bank.slices[i].patient for i in side.indices} for side in (patches.low, patches.full)]
    assert sides == [{"train-0", "train-2"}, {"train-1", "train-3"}]
    low, full = (torch.stack([patches[n][k] for n in range(12)]) for k in (0, 1))
    assert noise_of(low) > 3 * noise_of(full)


def test_scans_of_a_low_dose_bank_get_no_further_noise(bank):
    patches = UnpairedPatches(bank, config(bank), seed=1, low_bank=bank)
    low, full = (torch.stack([patches[n][k] for n in range(12)]) for k in (0, 1))
    assert noise_of(low) == pytest.approx(noise_of(full), rel=0.2)


def test_one_patient_is_no_two(made_up_bank):
    bank = Bank(made_up_bank(train=1))
    with pytest.raises(InputError, match="two patients or more"):
        UnpairedPatches(bank, config(bank), seed=1)


@pytest.mark.parametrize("dose", [0.5, 0.8])
def test_the_noisier_target_is_the_scan_on_average(made_up_bank, dose):
    """Its error has no correlation with the input's noise, so that least squares cannot but find the scan."""
    bank = Bank(made_up_bank(train=1, slices=1, side=256))
    patches = NoisierPatches(bank, config(bank, patch=256, doses=(dose, dose)), seed=1, scanned_low=False)
    scan = bank.pair(0)[0].astype(np.float64)
    turned = [scan[::flip].copy() for flip in (1, -1)]
    views = [np.rot90(one, k) for one in turned for k in range(4)]
    slopes = []
    for number in range(8):
        given, wanted = (image[0].numpy() * 500 - 500.0 for image in patches[number][:2])
        clean = min(views, key=lambda view: np.abs(view - wanted).mean())
        inside = clean > -200  # where nothing is clipped
        noise, error = (given - clean)[inside], (wanted - clean)[inside]
        slopes.append((noise * error).mean() / (noise**2).mean())
        # 40 HU of simulated noise, and as much again for the fraction; the scan's own is taken to be there too
        assert noise.std() == pytest.approx(40 * np.sqrt(1 + (1 / dose - 1) / (1 - DOSE)), rel=0.1)
    # the made-up scan has less noise of its own than a third of what is simulated: the slope errs by that share
    expected = (1 - 1 / (1 - DOSE)) / (1 + (1 / dose - 1) / (1 - DOSE))
    assert np.mean(slopes) == pytest.approx(expected, abs=0.05)


def test_a_network_that_knows_the_noise_is_told_what_its_input_has(made_up_bank):
    bank = Bank(made_up_bank(train=1, slices=1))
    plain, told = (
        NoisierPatches(bank, config(bank, doses=(0.5, 0.5)), seed=1, scanned_low=True, knows_noise=known)
        for known in (False, True)
    )
    scan, noise = bank.pair(0)
    level = noise_level(scan + noise * noise_scale(0.5))
    torch.testing.assert_close(told[3][0], alone(plain[3][0][None], level)[0], rtol=1e-5, atol=0)


def test_neighbours_are_of_one_scan_and_resemble_each_other(made_up_bank):
    folder = made_up_bank(train=2, slices=2)
    header = (folder / "bank.json").read_text()
    (folder / "bank.json").write_text(header.replace('"1.nrrd"', '"0.nrrd"'))  # slices 0 and 1 are one scan's
    bank = Bank(folder)
    patches = NeighbourPatches(bank, config(bank), seed=1, scanned_low=True)
    assert patches.next == {0: 1}
    given, wanted, _ = patches[0]
    differing = ((given - wanted) * 500).std()
    assert 5 < differing < 100  # of the noise of two slices, 5 HU each, and of an inset that moved
    assert torch.equal(patches[0][0], given)


def test_no_neighbours(bank):
    with pytest.raises(InputError, match="use noisier2noise"):
        NeighbourPatches(bank, config(bank), seed=1, scanned_low=True)
