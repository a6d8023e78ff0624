"""Pairs are matched by position, wrong pairs are refused with the reason, and splits keep patients apart."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest

from bioatt.core.errors import InputError
from bioatt.core.volume import Volume
from bioatt_training.data import split
from bioatt_training.data.pairs import check_pair, duplicates, matched


def test_a_true_pair_passes(pair):
    check_pair(*pair())


def test_wrong_pairs_are_refused_with_the_reason(pair):
    low, full = pair(0)
    for wrong, reason in (
        ((full, low), "swapped"),
        ((full, full), "same image"),
        ((pair(7)[0], full), "do not match"),
        ((np.roll(low, 20, axis=2), full), "do not match|HU off"),
        ((low + 1024, full), "rescale"),
        ((np.full_like(low, -1000), np.full_like(full, -999)), "no body"),
    ):
        with pytest.raises(InputError, match=reason):
            check_pair(*wrong)


def test_slices_meet_by_position(pair):
    low, full = pair(slices=4)
    a = Volume(low[1:], spacing=(3, 3, 3), origin=(0, 0, 3))
    b = Volume(full, spacing=(3, 3, 3))
    low_index, full_index, warnings = matched(a, b)
    assert (low_index.tolist(), full_index.tolist()) == ([0, 1, 2], [1, 2, 3])
    assert warnings == ["1 slices without a counterpart left out"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"spacing": (2.0, 2.0, 3.0)}, "pixels of"),
        ({"origin": (30.0, 0.0, 0.0)}, "shifted"),
        ({"origin": (0.0, 0.0, 500.0)}, "do not overlap"),
    ],
)
def test_different_grids_are_refused(pair, changed, message):
    low, full = pair()
    with pytest.raises(InputError, match=message):
        matched(Volume(low, **{"spacing": (3.0, 3.0, 3.0), **changed}), Volume(full, spacing=(3.0, 3.0, 3.0)))
    with pytest.raises(InputError, match="pixels: reconstruct"):
        matched(Volume(low[:, 1:]), Volume(full))


def test_repeated_slices_are_found(pair):
    _, full = pair()
    assert duplicates(Volume(np.concatenate([full, full[:2]])).slice_ids) == [4, 5]


def test_patients_are_in_one_part_each():
    parts = split.by_patient([f"p{k}" for k in range(50)], seed=3)
    counts = {part: sum(one == part for one in parts.values()) for part in split.PARTS}
    assert counts == {"train": 32, "validation": 8, "test": 10}
    assert parts == split.by_patient([f"p{k}" for k in reversed(range(50))], seed=3)
    assert set(split.by_patient(["a", "b", "c"]).values()) == set(split.PARTS)
    with pytest.raises(InputError, match="cannot be split"):
        split.by_patient(["a", "b", "b"])


def test_slice_order_warns_and_tests_on_the_feet(caplog):
    with caplog.at_level(logging.WARNING):
        parts = split.by_slice_order(100)
    assert "share patients" in caplog.text
    assert (parts[:20], parts[20:36], parts[36:]) == (["test"] * 20, ["validation"] * 16, ["train"] * 64)


def test_split_files(tmp_path):
    path = tmp_path / "split.json"
    path.write_text(json.dumps({"test": ["a"], "validation": ["b"]}))
    assert split.from_file(path, ["a", "b", "c"]) == ({"a": "test", "b": "validation", "c": "train"}, 0)
    path.write_text(json.dumps({"test": ["a", "d"], "validation": ["b", "B"]}))
    assert split.from_file(path, ["a", "b", "c"]) == ({"a": "test", "b": "validation", "c": "train"}, 2)
    with pytest.raises(InputError, match="none of its 2 validation patients"):
        split.from_file(path, ["a", "c"])
    path.write_text(json.dumps({"test": ["a"], "validation": ["a"]}))
    with pytest.raises(InputError, match="two parts"):
        split.from_file(path, ["a"])
    path.write_text("[]")
    with pytest.raises(InputError, match="correct it"):
        split.from_file(path, ["a"])
    with pytest.raises(InputError, match="cannot be opened"):
        split.from_file(tmp_path / "none.json", ["a"])
