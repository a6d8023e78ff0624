"""A bank returns each slice as written, and the target that a network is trained for."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

from bioatt.core.errors import InputError
from bioatt_training.data.bank import Bank
from bioatt_training.data.writer import BankWriter

ABOUT = {"source": "s", "patient": "p", "pixel_mm": 0.8, "thickness_mm": 3.0, "kernel": None, "noise_hu": 10.0}


def images(seed, shape):
    """Scan, noise and softened scan of one slice, int16 HU."""
    rng = np.random.default_rng(seed)
    return [np.rint(rng.normal(0, sigma, shape)).astype(np.int16) for sigma in (300, 40, 200)]


@pytest.fixture(params=[False, True], ids=["scan", "softened"])
def made(request, tmp_path):
    """A bank of two slices of different shapes, the images written, and whether its targets are softened."""
    slices = [images(0, (8, 12)), images(1, (10, 6))]
    with BankWriter(tmp_path / "bank", {"descriptors": ["a", "b"]}, softened=request.param) as writer:
        for k, (scan, noise, soft) in enumerate(slices):
            about = ABOUT | {"part": ("train", "test")[k]}
            writer.add(scan, noise, np.eye(2, dtype=np.float32)[k], about, soft if request.param else None)
    return Bank(tmp_path / "bank"), slices, request.param


def test_every_slice_comes_back(made):
    bank, slices, _ = made
    for index, (scan, noise, _) in enumerate(slices):
        for got, put in zip(bank.pair(index), (scan, noise), strict=True):
            np.testing.assert_array_equal(got, put)
    assert bank.indices("test") == [1]
    np.testing.assert_array_equal(bank.prior, np.eye(2))


def test_the_target_is_the_scan_or_its_softened_form(made):
    bank, slices, softened = made
    for index, (scan, _, soft) in enumerate(slices):
        np.testing.assert_array_equal(bank.target(index), soft if softened else scan)


def test_voxels_are_mapped_not_read(made):
    bank, *_ = made
    assert isinstance(bank.target(0), np.memmap)


def test_a_process_of_its_own_maps_the_files_itself(made):
    bank, slices, _ = made
    bank.pair(0), bank.target(0)
    pickled = pickle.dumps(bank)
    assert b"memmap" not in pickled
    np.testing.assert_array_equal(pickle.loads(pickled).pair(1)[0], slices[1][0])


def test_softened_targets_come_for_every_slice_or_none(tmp_path):
    scan, noise, _ = images(0, (4, 4))
    with pytest.raises(ValueError, match="zip"), BankWriter(tmp_path / "bank", {}, softened=True) as writer:
        writer.add(scan, noise, np.ones(1, np.float32), ABOUT | {"part": "train"})
    assert not (tmp_path / "bank").exists()


def test_a_bank_without_the_later_fields_is_read(made, tmp_path):
    path = tmp_path / "bank" / "bank.json"
    header = json.loads(path.read_text())
    for one in header["slices"]:
        del one["slice_id"], one["spacing_mm"]
    path.write_text(json.dumps(header))
    assert Bank(tmp_path / "bank").slices[0].spacing_mm is None


def test_a_folder_without_a_bank_is_refused(tmp_path):
    with pytest.raises(InputError, match="bioatt-train prepare"):
        Bank(tmp_path)
