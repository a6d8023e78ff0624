"""Adaptation: what a folder holds, how long training may take, which model is kept, and the whole command."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from bioatt.core.errors import InputError
from bioatt.core.volume import Volume
from bioatt.inference.models import load_model, read_model
from bioatt.io.images import write_volume
from bioatt_training.adversarial import adapt as module
from bioatt_training.adversarial.adapt import Data, adapt, compared, prepared, recipe
from bioatt_training.adversarial.methods import LowDose, Unpaired
from bioatt_training.cli import main
from bioatt_training.data.bank import DOSE, Bank

SPACING = (3.0, 3.0, 3.0)


def scan(seed, noise_hu, slices=6):
    """A soft-tissue torso with two lungs, int16 HU, with the noise texture of a soft kernel."""
    y, x = (np.mgrid[:96, :96] - 47.5) / 96
    hu = np.full((slices, 96, 96), -1000.0)
    hu[:, (x / 0.42) ** 2 + (y / 0.36) ** 2 < 1] = 40
    for side in (-1, 1):
        hu[:, ((x - 0.2 * side) / 0.1) ** 2 + ((y + 0.01 * seed) / 0.15) ** 2 < 1] = -850
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=hu.shape), (0, 0.7, 0.7))
    return np.rint(hu + noise_hu * noise / noise.std()).astype(np.int16)


@pytest.fixture
def folder(tmp_path):
    """make({path: scan}) → a folder with these volumes."""

    def make(scans):
        for name, hu in scans.items():
            path = tmp_path / "scans" / f"{name}.nrrd"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_volume(Volume(hu, spacing=SPACING), path)
        return tmp_path / "scans"

    return make


@pytest.mark.parametrize(
    ("names", "holds", "banks"),
    [
        (["low/a", "full/a", "full/b"], "pairs", {"bank": ["a"]}),
        (["low/a", "full/b"], "unpaired", {"bank": ["b.nrrd"], "bank-low": ["a.nrrd"]}),
        (["a", "b"], "low dose", {"bank": ["a.nrrd", "b.nrrd"]}),
    ],
)
def test_what_a_folder_holds(folder, tmp_path, monkeypatch, names, holds, banks):
    made = {}
    monkeypatch.setattr(
        module, "prepare", lambda listing, bank, plan, say: made.update({bank.name: [s.name for s in listing.scans]})
    )
    data = prepared(folder({name: scan(0, 10) for name in names}), tmp_path / "out", print)
    assert data.holds == holds
    assert made == banks


def test_each_kind_has_its_recipe(tmp_path):
    shipped = load_model("bioatt-fast")
    kinds = {"pairs": type(None), "unpaired": Unpaired, "low dose": LowDose}
    for holds, kind in kinds.items():
        low = tmp_path / "low" if holds == "unpaired" else None
        config = recipe(shipped, "bioatt-fast", Data(holds, tmp_path, DOSE, low), 8)
        assert type(config.method) is kind
        assert (config.network.layout, config.network.filters) == ("slab_unet", shipped.network.filters)
        assert config.run.initial == "bioatt-fast"


@pytest.mark.parametrize("holds", ["pairs", "low dose"])
def test_the_better_model_is_found(made_up_bank, shifting_model, holds):
    data = Data(holds, made_up_bank(test=4), DOSE)
    good, bad = (load_model(shifting_model(name, shift)) for name, shift in (("good", 0.0), ("bad", 30.0)))
    assert compared(good, bad, data)["difference"][2] < 0
    assert compared(bad, good, data)["difference"][1] > 0
    assert compared(good, bad, data)["slices"] == 8
    difference = compared(bad, good, data)["difference"][0]
    assert difference == pytest.approx(900, rel=0.1)  # unbiased, although the reference without pairs is noisy


def test_too_short_a_time_is_refused_before_the_training(made_up_bank, tmp_path, monkeypatch):
    bank = made_up_bank()
    monkeypatch.setattr(module, "prepared", lambda *_: Data("low dose", bank, DOSE))
    with pytest.raises(InputError, match="give more --minutes"):
        adapt(tmp_path, tmp_path / "out", minutes=1e-4, model="bioatt-fast", say=print)
    assert not (tmp_path / "out" / "run").exists()


@pytest.mark.slow
def test_low_dose_scans_from_folder_to_decision(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, "seconds_a_step", lambda _: 60 * 20 * module.SHARE / 10)  # time for 8 or 9 steps
    place = folder({f"scan{k}": scan(k, 40) for k in range(3)})
    command = ["adapt", str(place), "--out", str(tmp_path / "out"), "--model", "bioatt-fast"]
    assert main(command) == 0
    result = json.loads((tmp_path / "out" / "adapt.json").read_text())
    assert (result["holds"], result["steps"], result["slices"]) == ("low dose", 8, 6)
    assert {one.part for one in Bank(tmp_path / "out" / "bank").slices} == {"train", "validation", "test"}
    said = capsys.readouterr().out
    assert ("better than bioatt-fast" if result["kept"] == "adapted" else "bioatt-fast stays") in said
    assert read_model(tmp_path / "out" / "run" / "adapted.safetensors").network.layout == "slab_unet"
    assert main(command) == 0  # resumes without training again
    assert json.loads((tmp_path / "out" / "adapt.json").read_text()) == result
