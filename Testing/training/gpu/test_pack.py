"""The data pack: its contents, its size, and its description of the noise."""

from __future__ import annotations

import numpy as np
import pytest

from bioatt.core.errors import InputError
from bioatt_training.cli import main
from bioatt_training.data.bank import Bank
from bioatt_training.data.noise_texture import LEVEL_STEP
from bioatt_training.gpu.pack import read_pack
from bioatt_training.gpu.packing import RESERVED, SLICE_OVERHEAD, pack_bank


def test_slices_and_priors_are_the_banks_training_ones_to_the_bit(made_up_bank, tmp_path):
    folder = made_up_bank(train=3, side=121)
    pack_bank(folder, tmp_path / "pack.npz", 5.0)
    pack, bank = read_pack(tmp_path / "pack.npz"), Bank(folder)
    assert [one.patient for one in pack.slices] == [f"train-{k // 2}" for k in range(6)]
    for k, index in enumerate(bank.indices("train")):
        assert np.array_equal(pack.hu[k], bank.pair(index)[0])
        assert np.array_equal(pack.prior[k], bank.prior[index])
        assert pack.levels[k].shape == tuple(-(-length // LEVEL_STEP) for length in pack.hu[k].shape)


def test_levels_and_spectrum_are_those_of_the_banks_noise(pack):
    assert np.mean([level.mean() for level in pack.levels]) == pytest.approx(40, rel=0.1)  # the fixture's noise
    covariance = np.fft.irfft2(pack.spectra[0] ** 2)
    assert covariance[0, 0] == pytest.approx(1, abs=0.01)
    # smoothed over 3 px: adjacent pixels share two thirds of the noise, pixels 3 or more apart share none
    assert covariance[0, 1] == pytest.approx(2 / 3, abs=0.1)
    assert abs(covariance[0, 4]) < 0.15


def test_validation_patches_are_of_the_left_out_patients_with_the_banks_noise(pack):
    low, target, p = pack.validation
    assert low.shape == target.shape == (len(p), 55, 55)
    inside = target > -500
    assert np.std((low - target)[inside].astype(float)) == pytest.approx(40, rel=0.1)
    assert p.argmax(axis=1).min() >= 6  # the priors of slices after the six of the training patients


def test_a_small_pack_holds_slices_of_every_scan_before_a_second_of_one(made_up_bank, tmp_path):
    folder = made_up_bank(train=4, slices=4)
    bank = Bank(folder)
    for index, one in enumerate(bank.slices):  # the fixture makes each slice a separate scan
        object.__setattr__(bank.slices[index], "source", one.patient)
    a_slice = 120 * 120 + SLICE_OVERHEAD
    slices, size = pack_bank(folder, tmp_path / "pack.npz", (RESERVED + 5 * a_slice) / 2**20)
    assert 4 <= slices < 16
    assert size < RESERVED + 5 * a_slice
    assert len({one.patient for one in read_pack(tmp_path / "pack.npz").slices}) >= 2


def test_prepare_writes_the_pack_of_a_bank_that_is_there(made_up_bank, tmp_path, capsys):
    assert main(["prepare", str(made_up_bank()), "--pack", str(tmp_path / "p.npz")]) == 0
    assert "4 slices" in capsys.readouterr().out
    assert len(read_pack(tmp_path / "p.npz").slices) == 4


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--pack", "p.zip"], "suffix .npz"),
        (["--pack", "p.npz", "--pack-mib", "0"], "larger than 0"),
        (["--pack", "p.npz", "--pack-mib", "0.1"], "allow a larger pack"),
    ],
)
def test_a_pack_that_cannot_be_is_refused(made_up_bank, tmp_path, monkeypatch, capsys, options, said):
    monkeypatch.chdir(tmp_path)
    assert main(["prepare", str(made_up_bank()), *options]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.glob("p.*"))


def test_a_damaged_pack_is_named(tmp_path, pack_file):
    whole = pack_file.read_bytes()
    pack_file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"pack\.npz is not a data pack, or is damaged"):
        read_pack(pack_file)
    with pytest.raises(InputError, match="cannot be opened"):
        read_pack(tmp_path / "missing.npz")
