"""A run learns, exports what it validated, and goes on where it was killed."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from bioatt.errors import InputError
from bioatt.models import read_model
from bioatt_training.bank import Slice
from bioatt_training.fit import Config, fit
from bioatt_training.objectives import LOSSES, interior
from bioatt_training.prior_perturbation import perturb

TOML = """
[run]
name = "tiny"
version = "1"
validate_every = 10
ema_decay = 0.5
[network]
arm = "bioatt"
filters = 4
[optimiser]
steps = 20
learning_rate = 3e-3
margin = 4
[data]
bank = "{bank}"
patch = 40
batch = 2
validation_patches = 4
"""


@pytest.fixture
def config(tmp_path):
    """A configuration over a bank of two slices with noise of 60 HU."""
    bank = tmp_path / "bank"
    bank.mkdir()
    rng = np.random.default_rng(0)
    target = np.full((2, 64, 64), 40, np.int16)
    target.tofile(bank / "target.bin")
    rng.normal(scale=60, size=target.shape).astype(np.int16).tofile(bank / "noise.bin")
    np.save(bank / "prior.npy", np.full((2, 17), 1 / 17, np.float32))
    slices = [
        Slice("s", name, part, 0.8, 3.0, "B30", 12.0, offset, (64, 64))
        for name, part, offset in (("a", "train", 0), ("b", "validation", 64 * 64))
    ]
    names = [f"d{n}" for n in range(17)]
    header = {"descriptor_set": "paper17", "descriptors": names, "prior": "embedded"}
    (bank / "bank.json").write_text(json.dumps({**header, "slices": [asdict(one) for one in slices]}))
    path = tmp_path / "tiny.toml"
    path.write_text(TOML.format(bank=bank.as_posix()))
    return Config.read(path)


@pytest.mark.slow
def test_a_run_learns_and_exports_a_model(config, tmp_path):
    longer = replace(config, optimiser=replace(config.optimiser, steps=60))
    model = read_model(fit(longer, tmp_path / "run"))
    assert model.network.filters == 4
    assert model.descriptors[0] == "d0"
    assert model.metadata["training"]["kernels"] == ["B30"]
    log = next((tmp_path / "run").rglob("metrics.csv")).read_text().splitlines()
    columns = log[0].split(",")
    values = [float(line.split(",")[columns.index("val_rmse_hu")] or "nan") for line in log[1:]]
    values = [value for value in values if value == value]
    assert len(values) == 6
    assert min(values) < values[0]


@pytest.mark.slow
def test_an_interrupted_run_ends_like_an_uninterrupted_one(config, tmp_path, monkeypatch):
    """Killed after its first validation, it resumes from the checkpoint there."""
    from bioatt_training.experiment import Experiment

    expected = read_model(fit(config, tmp_path / "whole")).network.state_dict()

    real = Experiment.training_step

    def killed(self, batch, number):
        if self.global_step == 13:
            raise KeyboardInterrupt
        return real(self, batch, number)

    monkeypatch.setattr(Experiment, "training_step", killed)
    with pytest.raises((SystemExit, KeyboardInterrupt)):
        fit(config, tmp_path / "killed")
    monkeypatch.setattr(Experiment, "training_step", real)
    actual = read_model(fit(config, tmp_path / "killed")).network.state_dict()
    for name, value in expected.items():
        torch.testing.assert_close(actual[name], value, rtol=0, atol=1e-6)


def test_a_folder_of_another_run_is_refused(config, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    with pytest.raises(InputError, match="another configuration"):
        fit(config, tmp_path / "run")


def test_a_run_starts_from_given_weights(config, tmp_path):
    first = fit(config, tmp_path / "first")
    started = replace(config, run=replace(config.run, initial=str(first)), optimiser=replace(config.optimiser, steps=1))
    started = replace(started, optimiser=replace(started.optimiser, learning_rate=1e-9))
    started = replace(started, run=replace(started.run, validate_every=1))
    again = read_model(fit(started, tmp_path / "second")).network.state_dict()
    for name, value in read_model(first).network.state_dict().items():
        torch.testing.assert_close(again[name], value, rtol=0, atol=1e-5)


def test_perturbed_priors_stay_distributions():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(17)).astype(np.float32)
    changed = [perturb(p, 0.3, rng) for _ in range(600)]
    np.testing.assert_allclose([one.sum() for one in changed], 1, rtol=1e-5)
    assert np.mean([(one != p).any() for one in changed]) == pytest.approx(0.3, abs=0.06)
    assert perturb(p, 0.0, rng) is p
