"""Batches drawn on the device: pairs of scan and lower dose with the bank's noise, never the same twice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter1d

from bioatt.core.errors import InputError
from bioatt.core.hu import OFFSET_HU, SCALE_HU
from bioatt_training.fit.config import DataConfig
from bioatt_training.gpu.batches import Batches
from bioatt_training.gpu.pack import read_pack
from bioatt_training.gpu.packing import pack_bank

CPU = torch.device("cpu")
DATA = DataConfig(bank="pack", patch=55, batch=16, doses=(0.25, 0.25))


def hu(image: torch.Tensor) -> np.ndarray:
    return image[:, 0].numpy() * SCALE_HU + OFFSET_HU


def test_a_number_is_a_batch_and_no_two_are_alike(pack):
    batches = Batches(pack, DATA, 1, CPU)
    first, again, second = (batches.draw(number) for number in (5, 5, 6))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], second[0])
    assert not torch.equal(first[0], Batches(pack, DATA, 2, CPU).draw(5)[0])


def test_targets_are_turned_pieces_of_the_slice_whose_prior_comes_with_them(pack):
    batches = Batches(pack, replace(DATA, batch=12), 1, CPU)
    _, target, p = batches.draw(0)
    turns = set()
    for patch, row in zip(np.rint(hu(target)), p.numpy(), strict=True):
        image = pack.hu[int(np.flatnonzero((pack.prior == row).all(axis=1))[0])]
        for turn in range(8):
            upright = np.rot90(patch[::-1] if turn > 3 else patch, turn % 4)
            windows = np.lib.stride_tricks.sliding_window_view(image, (55, 55))
            near = windows[:, :, 27, 27] == upright[27, 27]
            if any(np.array_equal(windows[y, x], upright) for y, x in np.argwhere(near)):
                turns.add(turn)
                break
        else:
            pytest.fail("the patch is nowhere in its slice")
    assert len(turns) >= 4


def test_noise_has_the_level_the_neighbours_and_the_independence_of_the_banks(pack):
    batches = Batches(pack, replace(DATA, batch=64), 1, CPU)
    low, target, _ = batches.draw(0)
    noise, tissue = hu(low) - hu(target), np.abs(hu(target)) < 300  # where nothing is clipped
    variance = noise[tissue].var()
    assert np.sqrt(variance) == pytest.approx(40, rel=0.1)
    for by, shared in ((1, 2 / 3), (5, 0)):
        both = tissue[..., by:] & tissue[..., :-by]
        assert np.mean((noise[..., by:] * noise[..., :-by])[both]) / variance == pytest.approx(shared, abs=0.1)
    both = tissue[0] & tissue[1]
    assert abs(np.mean((noise[0] * noise[1])[both])) / variance < 0.3


def test_streaks_run_where_and_as_the_banks_do(made_up_bank, tmp_path, monkeypatch):
    folder = made_up_bank(train=1, slices=1, side=256)
    noise = np.fromfile(folder / "noise.bin", np.int16).reshape(-1, 256, 256)
    rng = np.random.default_rng(0)
    streaks = uniform_filter1d(rng.normal(size=(2, 256, 256)), 9, axis=-1)
    streaks *= 40 / streaks.std()
    noise[0, :, :128], noise[0, :, 128:] = streaks[0, :, :128], streaks[1].T[:, 128:]
    noise.tofile(folder / "noise.bin")
    pack_bank(folder, tmp_path / "pack.npz", 5.0)
    batches = Batches(read_pack(tmp_path / "pack.npz"), replace(DATA, batch=32), 1, CPU)
    unturned = torch.arange(55)
    monkeypatch.setattr(batches, "_turned", lambda: (unturned[:, None].expand(32, 55, 55), unturned.expand(32, 55, 55)))
    low, target, _ = batches.draw(0)
    noise = hu(low) - hu(target)
    along_rows = np.diff(noise, axis=2).std(axis=(1, 2)) / np.diff(noise, axis=1).std(axis=(1, 2))
    assert along_rows.min() < 0.6
    assert along_rows.max() > 1 / 0.6


def test_a_tenth_of_the_dose_has_the_noise_that_theory_says(pack):
    variance = {}
    for dose in (0.1, 0.25):
        low, target, _ = Batches(pack, replace(DATA, batch=64, doses=(dose, dose)), 1, CPU).draw(0)
        tissue = np.abs(hu(target)) < 300
        variance[dose] = (hu(low) - hu(target))[tissue].var()
    assert variance[0.1] / variance[0.25] == pytest.approx((1 / 0.1 - 1) / (1 / 0.25 - 1), rel=0.03)


def test_whole_slices_come_with_air_around_them(pack):
    batches = Batches(pack, replace(DATA, sampling="whole", batch=1), 1, CPU)
    low, target, p = batches.draw(0)
    assert low.shape == target.shape == (1, 1, 120, 120)
    image = pack.hu[int(np.flatnonzero((pack.prior == p[0].numpy()).all(axis=1))[0])]
    assert np.array_equal(np.sort(np.rint(hu(target)).ravel()), np.sort(image.ravel()))
    assert (hu(low) - hu(target))[np.abs(hu(target)) < 300].std() == pytest.approx(40, rel=0.1)


def test_larger_patches_have_the_same_noise(pack):
    low, target, _ = Batches(pack, replace(DATA, patch=96, batch=8), 1, CPU).draw(0)
    noise = hu(low) - hu(target)
    inside = np.abs(hu(target)) < 300
    both = inside[..., 1:] & inside[..., :-1]
    assert noise[inside].std() == pytest.approx(40, rel=0.1)
    assert np.mean((noise[..., 1:] * noise[..., :-1])[both]) / noise[inside].var() == pytest.approx(2 / 3, abs=0.1)


def test_patches_larger_than_every_slice_are_refused(pack):
    with pytest.raises(InputError, match="use smaller patches"):
        Batches(pack, replace(DATA, patch=128), 1, CPU)
