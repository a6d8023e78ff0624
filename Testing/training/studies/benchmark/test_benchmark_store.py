"""Each measurement is made only once, even if the run is killed."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bioatt.core.errors import InputError
from bioatt_training.data.bank import Bank
from bioatt_training.studies.benchmark.denoisers import Model
from bioatt_training.studies.benchmark.runner import QUICK, Runner
from bioatt_training.studies.benchmark.store import Store


def test_a_measurement_is_made_once(tmp_path):
    made = []
    for _ in range(2):
        store = Store(tmp_path / "work" / "kept.jsonl")
        assert store.get("a", lambda: made.append(1) or {"x": [1, 2.5]}) == {"x": [1, 2.5]}
        assert math.isnan(store.get("b", lambda: math.nan))
    assert made == [1]


def test_measurements_of_another_bank_are_refused(made_up_bank, tmp_path):
    bank = made_up_bank(train=0, test=1)
    Runner(Bank(bank), tmp_path / "work", QUICK)
    Runner(Bank(bank), tmp_path / "work", QUICK)
    np.fromfile(bank / "noise.bin", np.int16)[::-1].tofile(bank / "noise.bin")
    with pytest.raises(InputError, match="another bank"):
        Runner(Bank(bank), tmp_path / "work", QUICK)


def test_a_model_s_identity_is_its_prior_s_too(shifting_model, tmp_path, monkeypatch):
    file = tmp_path / "maps.safetensors"
    file.write_bytes(b"taught anew")
    base, guided = shifting_model("plain"), shifting_model("guided", arm="bioatt")
    before = [Model(path).identity for path in (base, guided)]
    monkeypatch.setattr("bioatt_training.studies.benchmark.denoisers.organ_maps_file", lambda: file)
    after = [Model(path).identity for path in (base, guided)]
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, False]


def test_a_line_that_was_being_written_is_made_again(tmp_path):
    path = tmp_path / "kept.jsonl"
    Store(path).get("a", lambda: 1)
    with path.open("a") as file:
        file.write('{"key": "b", "val')
    store = Store(path)
    assert store.get("a", lambda: 9) == 1
    assert store.get("b", lambda: 2) == 2
    assert Store(path).get("b", lambda: 9) == 2
