"""`prepare` makes a bank with the right voxels, noise and patients, and lists what it cannot use."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk

from bioatt.core.errors import InputError
from bioatt.core.volume import Volume
from bioatt.io.images import write_volume
from bioatt.simulation.tomography import kernel_named
from bioatt_training.cli import main
from bioatt_training.data import prepare as prepare_module
from bioatt_training.data.bank import Bank
from bioatt_training.data.layouts import find_scans
from bioatt_training.data.prepare import Plan, prepare
from bioatt_training.fit.grid import PATCH, GridDataset
from bioatt_training.fit.patches import DataConfig, PatchDataset

GRID = {"spacing": (3.0, 3.0, 3.0)}


@pytest.fixture
def pairs(tmp_path, pair):
    """Three pairs of volumes, in low/ and full/."""
    root = tmp_path / "pairs"
    for side in ("low", "full"):
        (root / side).mkdir(parents=True)
    for number in range(3):
        low, full = pair(number)
        write_volume(Volume(low, **GRID), root / "low" / f"case{number}.nrrd")
        write_volume(Volume(full, **GRID), root / "full" / f"case{number}.nrrd")
    return root


def made(root, tmp_path, **plan):
    listing = find_scans(root)
    prepare(listing, tmp_path / "bank", Plan(prior="uniform", **plan))
    return Bank(tmp_path / "bank"), listing


def hu_of(patch):
    """HU (y, x) of a standardised patch."""
    return patch[0].numpy() * 500 - 500


def test_pairs_keep_their_own_noise(pairs, tmp_path, pair):
    bank, listing = made(pairs, tmp_path)
    assert not listing.left_out
    assert [one.source for one in bank.slices] == [f"case{k}" for k in range(3) for _ in range(4)]
    low, full = pair(1)
    target, noise = bank.pair(4)
    np.testing.assert_array_equal(target, full[0])
    np.testing.assert_array_equal(target + noise, low[0])
    assert {one.part for one in bank.slices} == {"train", "validation", "test"}
    for patient in {one.patient for one in bank.slices}:
        assert len({one.part for one in bank.slices if one.patient == patient}) == 1
    assert len({one.slice_id for one in bank.slices}) == 12
    assert bank.prior.shape == (12, 17)


def test_what_is_no_pair_is_left_out_and_said(pairs, tmp_path, pair):
    write_volume(Volume(pair(9)[0], **GRID), pairs / "low" / "case0.nrrd")
    write_volume(Volume(pair(1)[0] + np.int16(2000), **GRID), pairs / "low" / "case1.nrrd")
    bank, listing = made(pairs, tmp_path)
    assert {one.source for one in bank.slices} == {"case2"}
    assert [name for name, _ in listing.left_out] == ["case0", "case1"]
    assert bank.header["left_out"] == [list(one) for one in listing.left_out]


def test_each_of_several_volumes_in_one_file_is_a_scan(pairs, tmp_path, pair):
    """For example the phases of an examination: they belong to one patient and are paired by number."""
    both = [pair(1), pair(7)]
    for side, name in enumerate(("low", "full")):
        image = sitk.GetImageFromArray(np.stack([one[side] for one in both]), isVector=False)
        image.SetSpacing((3.0, 3.0, 3.0, 1.0))
        sitk.WriteImage(image, str(pairs / name / "case1.nrrd"))
    bank, listing = made(pairs, tmp_path)
    assert not listing.left_out
    phases = [one for one in bank.slices if one.patient == "case1"]
    assert [one.source for one in phases] == ["case1 phase 1"] * 4 + ["case1 phase 2"] * 4
    assert len({one.part for one in phases}) == 1
    target, noise = bank.pair(8)
    np.testing.assert_array_equal(target, both[1][1][0])
    np.testing.assert_array_equal(target + noise, both[1][0][0])


def test_patients_of_a_split_file_without_a_scan_are_said(pairs, tmp_path):
    """Otherwise a misspelt test patient would silently be used for training."""
    path = tmp_path / "split.json"
    path.write_text(json.dumps({"test": ["case0", "Case1"], "validation": []}))
    bank, listing = made(pairs, tmp_path, split=path)
    assert listing.left_out == [("split.json", "1 of its patients have no scan here")]
    assert bank.header["left_out"] == [list(one) for one in listing.left_out]


def test_the_same_scan_twice_counts_once(pairs, tmp_path):
    for side in ("low", "full"):
        (pairs / side / "copy.nrrd").write_bytes((pairs / side / "case0.nrrd").read_bytes())
    bank, listing = made(pairs, tmp_path)
    assert len(bank.slices) == 12
    assert ("copy", "every slice is already in the bank: the scan is a duplicate") in listing.left_out


def test_slices_that_a_scan_repeats_count_once(pairs, tmp_path, pair):
    for side, hu in zip(("low", "full"), pair(0), strict=True):
        write_volume(Volume(np.concatenate([hu, hu[:2]]), **GRID), pairs / side / "case0.nrrd")
    bank, listing = made(pairs, tmp_path)
    assert len(bank.slices) == 12
    assert ("case0", "2 duplicate slices") in listing.left_out


def test_softened_targets_of_pairs_leave_their_input_as_it_is(pairs, tmp_path, pair):
    bank, _ = made(pairs, tmp_path, target=kernel_named("B10"))
    low, full = pair(1)
    scan, noise = bank.pair(4)
    np.testing.assert_array_equal(scan + noise, low[0])
    assert (bank.target(4) != full[0]).mean() > 0.5
    low_patch, target_patch, _ = PatchDataset(bank, DataConfig("", patch=96), "validation", 1, 0)[0]
    (index,) = [k for k in bank.indices("validation") if np.allclose(hu_of(target_patch), bank.target(k), atol=0.01)]
    np.testing.assert_allclose(hu_of(low_patch), np.clip(sum(bank.pair(index)), -1024, 3071), atol=0.01)
    index = bank.indices("train")[0]
    low_cell, target_cell, _ = GridDataset(bank, "train")[0]
    np.testing.assert_allclose(hu_of(target_cell), bank.target(index)[:PATCH, :PATCH], atol=0.01)
    np.testing.assert_allclose(hu_of(low_cell), np.clip(sum(bank.pair(index)), -1024, 3071)[:PATCH, :PATCH], atol=0.01)


def test_low_dose_of_another_fraction_is_brought_to_a_quarter(tmp_path, series, pair):
    low, full = pair()
    study = tmp_path / "data" / "C002" / "study"
    series(study / "1.0-Full dose images-1", full)
    series(study / "1.0-Low Dose Images-2", low)
    bank, _ = made(tmp_path / "data", tmp_path, split="slices")
    _, noise = bank.pair(0)
    np.testing.assert_allclose(noise, (low[0] - full[0]) * np.sqrt(3 / 9), atol=0.51)


@pytest.mark.slow
def test_single_scans_get_noise_inserted(tmp_path, pair):
    root = tmp_path / "scans"
    root.mkdir()
    for number in range(3):
        write_volume(Volume(pair(number)[1], **GRID), root / f"s{number}.nrrd")
    bank, _ = made(root, tmp_path, fast=True, most_slices=2)
    assert len(bank.slices) == 6
    full, noise = bank.pair(bank.indices("train")[0])
    assert 15 < noise[(full > -20) & (full < 100)].std() < 80


@pytest.mark.slow
def test_wrong_units_and_missing_rescale_are_named(tmp_path, pair, series):
    _, full = pair()
    root = tmp_path / "scans"
    root.mkdir()
    write_volume(Volume(full, **GRID), root / "good.nrrd")
    write_volume(Volume((full + 1000) / 2000.0, **GRID), root / "normalised.nrrd")
    write_volume(Volume(np.maximum(full + 1024, 0).astype(np.int16), **GRID), root / "stored.nrrd")
    series(root / "norescale", np.maximum(full, -1024), RescaleSlope=None, RescaleIntercept=None)
    bank, listing = made(root, tmp_path, split="slices", fast=True)
    assert {one.source for one in bank.slices} == {"good.nrrd"}
    reasons = {name.split("/")[-1]: why for name, why in listing.left_out}
    assert list(reasons) == ["normalised.nrrd", "stored.nrrd", "norescale"]
    assert "a normalised image" in reasons["normalised.nrrd"]
    assert "without their rescale" in reasons["stored.nrrd"]
    assert "without their rescale" in reasons["norescale"]


@pytest.mark.parametrize("after", [1, 2])
def test_an_interrupted_call_goes_on_and_gives_the_same_bank(pairs, tmp_path, pair, monkeypatch, after):
    for side, hu in zip(("low", "full"), pair(0), strict=True):  # adds an entry to left_out, which must survive
        write_volume(Volume(np.concatenate([hu, hu[:2]]), **GRID), pairs / side / "case0.nrrd")
    whole = tmp_path / "whole"
    whole.mkdir()
    expected, listed = made(pairs, whole, target=kernel_named("B10"))

    checked = []

    def interrupted(*hu):
        if len(checked) == after:
            raise KeyboardInterrupt
        checked.append(hu)

    monkeypatch.setattr("bioatt_training.data.prepare.check_pair", interrupted)
    with pytest.raises(KeyboardInterrupt):
        made(pairs, tmp_path, target=kernel_named("B10"))
    assert not (tmp_path / "bank").exists()
    with (tmp_path / "bank.partial" / "noise.bin").open("ab") as stream:
        stream.write(b"half a slice")
    with (tmp_path / "bank.partial" / "journal.jsonl").open("a") as stream:
        stream.write('{"name": "half a li')
    monkeypatch.setattr("bioatt_training.data.prepare.check_pair", lambda *hu: checked.append(hu))
    bank, listing = made(pairs, tmp_path, target=kernel_named("B10"))
    assert len(checked) == 3, "what was done is not done again"
    assert bank.header == expected.header
    assert listing.left_out == listed.left_out
    np.testing.assert_array_equal(bank.prior, expected.prior)
    for name in ("target.bin", "noise.bin", "softened.bin"):
        assert (tmp_path / "bank" / name).read_bytes() == (whole / "bank" / name).read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bank", "pairs", "whole"]


def test_another_plan_begins_anew(pairs, tmp_path, monkeypatch):
    def interrupted(scan):
        if scan.name == "case1":
            raise KeyboardInterrupt
        return read(scan)

    read = prepare_module._read
    with monkeypatch.context() as patch:
        patch.setattr(prepare_module, "_read", interrupted)
        with pytest.raises(KeyboardInterrupt):
            made(pairs, tmp_path, most_slices=2)
    assert (tmp_path / "bank.partial").is_dir()
    bank, _ = made(pairs, tmp_path)
    assert len(bank.slices) == 12


def test_nothing_is_left_after_an_error_at_the_first_scan(pairs, tmp_path, monkeypatch):
    monkeypatch.setattr("bioatt_training.data.prepare.check_pair", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        made(pairs, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["pairs"]


def test_a_folder_that_is_no_bank_is_not_overwritten(pairs, tmp_path):
    (tmp_path / "bank").mkdir()
    (tmp_path / "bank" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="is not a bank"):
        made(pairs, tmp_path)
    assert (tmp_path / "bank" / "thesis.txt").exists()


def test_a_file_in_the_place_of_the_bank_s_parent_is_said(pairs, tmp_path):
    (tmp_path / "text.txt").write_text("mine")
    with pytest.raises(InputError, match=r"text\.txt is a file: name a folder"):
        made(pairs, tmp_path / "text.txt")


def test_the_grid_covers_a_slice_once(pairs, tmp_path):
    bank, _ = made(pairs, tmp_path)
    data = GridDataset(bank, "train")
    assert len(data) == len(bank.indices("train"))  # one 55² patch fits into 96²
    low, target, p = data[0]
    assert low.shape == target.shape == (1, PATCH, PATCH)
    hu, noise = bank.pair(bank.indices("train")[0])
    np.testing.assert_allclose(target[0].numpy() * 500 - 500, hu[:PATCH, :PATCH], atol=1e-3)
    stored = np.clip(hu + noise, -1024, 3071)  # clipped like stored scans and the network's input
    np.testing.assert_allclose(low[0].numpy() * 500 - 500, stored[:PATCH, :PATCH], atol=1e-3)
    np.testing.assert_allclose(p.sum(), 1, rtol=1e-5)


def test_augmented_patches_are_turned_together_and_the_same_again(pairs, tmp_path):
    bank, _ = made(pairs, tmp_path)
    plain, turned = GridDataset(bank, "train"), GridDataset(bank, "train", augment=True)
    changed = 0
    for number in range(len(plain)):
        (low, target, _), (low2, target2, _) = plain[number], turned[number]
        assert sorted((low - target).flatten().tolist()) == pytest.approx(sorted((low2 - target2).flatten().tolist()))
        changed += bool((low != low2).any())
        np.testing.assert_array_equal(low2, turned[number][0])
    assert changed


def test_a_prepared_bank_feeds_the_training(pairs, tmp_path):
    bank, _ = made(pairs, tmp_path)
    low, target, p = PatchDataset(bank, DataConfig("", patch=64), "train", 10, 1)[3]
    assert low.shape == target.shape == (1, 64, 64)
    assert p.shape == (17,)


@pytest.mark.slow
def test_the_command_lists_makes_and_names_what_it_left_out(pairs, tmp_path, capsys):
    (pairs / "low" / "case2.nrrd").unlink()
    assert main(["prepare", str(pairs), "--list"]) == 0
    assert "2 pairs, 1 single scans, 3 patients" in capsys.readouterr().out
    out = tmp_path / "bank"
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"test": ["case0"], "validation": []}))
    assert main(["prepare", str(pairs), str(out), "--prior", "uniform", "--split", str(split), "--fast"]) == 0
    captured = capsys.readouterr()
    assert "12 slices" in captured.out
    assert "left out: full/case2.nrrd: full dose without its low dose" in captured.err
    assert len(Bank(out).indices("test")) == 4


@pytest.mark.parametrize(
    "extra",
    [
        ["--dose", "1.5"],
        ["--most-slices", "0"],
        ["--split", "nofile.json"],
        ["--prior", "astrology"],
        ["--target", "blur"],
        ["--target", "softened:wavelet"],
    ],
)
def test_wrong_options_end_with_status_2(pairs, tmp_path, extra, capsys):
    assert main(["prepare", str(pairs), str(tmp_path / "bank"), *extra]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not (tmp_path / "bank").exists()
