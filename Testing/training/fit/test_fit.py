"""A run learns, exports its best validated weights, stops when it should, and resumes after an interruption."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from bioatt.core.errors import InputError
from bioatt.inference.models import read_model, save_model
from bioatt_training.data.prior_augmentation import largest_rise, perturb
from bioatt_training.fit.arms import ARMS
from bioatt_training.fit.experiment import Experiment
from bioatt_training.fit.history import COLUMNS, read_history
from bioatt_training.fit.run import epoch_model, fit, precision


def weights(path):
    return read_model(path).network.state_dict()


def test_a_run_learns_and_exports_a_model(tiny, tmp_path):
    model = read_model(fit(tiny(steps=60, validate_every=10), tmp_path / "run"))
    assert model.network.filters == 4
    assert model.descriptors[0] == "d0"
    assert model.metadata["training"]["kernels"] == ["B30"]
    lines = read_history(tmp_path / "run")
    assert [(line["epoch"], line["step"]) for line in lines] == [(n, 10 * n) for n in range(1, 7)]
    assert lines[-1]["val_rmse_hu"] < 0.98 * lines[0]["val_rmse_hu"]
    assert lines[-1]["val_psnr"] > lines[0]["val_psnr"]
    assert tuple(lines[0]) == COLUMNS


@pytest.mark.parametrize("arm", list(ARMS))
def test_every_arm_trains_a_pass_over_the_grid_or_whole_slices(tiny, tmp_path, arm):
    config = tiny(sampling="grid", epochs=1, ema_decay=0.0, margin=0).of_arm(arm)
    model = read_model(fit(config, tmp_path / "run"))
    assert (model.network.arm, model.network.weighting) == (ARMS[arm].network, ARMS[arm].weighting)
    assert bool(model.descriptors) == (ARMS[arm].network == "bioatt")
    assert model.metadata["training"]["arm"] == arm
    assert read_history(tmp_path / "run")[0]["step"] == 6  # 24 patches in batches of 4, or 6 slices


def test_metrics_are_those_of_the_patches(tiny, tmp_path):
    """At a negligible learning rate, validation gives the metrics of the initial weights over the whole grid."""
    first = fit(tiny(sampling="grid", epochs=1, margin=0), tmp_path / "first")
    still = tiny(sampling="grid", epochs=1, margin=0, learning_rate=1e-12, initial=str(first), validation_patches=0)
    fit(still, tmp_path / "second")
    line = read_history(tmp_path / "second")[0]
    from bioatt_training.fit.grid import GridDataset
    from bioatt_training.fit.loaders import RunData
    from bioatt_training.fit.objectives import paper_metrics

    items = GridDataset(RunData(still).bank, "validation")
    low, target, p = (torch.stack(parts) for parts in zip(*(items[n] for n in range(len(items))), strict=True))
    with torch.no_grad():
        expected = paper_metrics(read_model(first).network(low, p), target)
    for name, value in expected.items():
        assert line[f"val_{name}"] == pytest.approx(float(value), rel=1e-4)
    assert line["val_input_rmse_hu"] == pytest.approx(float((low - target).square().mean().sqrt()) * 500, rel=1e-4)


def test_the_best_epoch_is_exported_and_those_to_keep(tiny, tmp_path):
    """The high learning rate spoils the weights in later epochs."""
    config = tiny(sampling="grid", epochs=3, ema_decay=0.0, keep_epochs=(1, 3), schedule="halving", learning_rate=0.3)
    best = fit(config, tmp_path / "run")
    scores = [line["val_relative"] for line in read_history(tmp_path / "run")]
    assert read_model(best).metadata["metrics"]["best_step"] == 6 * (1 + int(np.nanargmin(scores)))
    kept = [read_model(epoch_model(config, tmp_path / "run", epoch)) for epoch in (1, 3)]
    assert [model.metadata["metrics"]["best_step"] for model in kept] == [6, 18]
    assert not epoch_model(config, tmp_path / "run", 2).exists()


def test_a_run_without_progress_stops_early_and_knows_it_on_resuming(tiny, tmp_path):
    still = {"learning_rate": 1e-12, "early_stop": 2, "min_delta": 1e-3, "ema_decay": 0.0}
    config = tiny(sampling="grid", epochs=9, monitor="val_loss", **still)
    fit(config, tmp_path / "run")
    assert len(read_history(tmp_path / "run")) == 3
    fit(config, tmp_path / "run")
    assert len(read_history(tmp_path / "run")) == 3


def test_losses_that_are_no_numbers_are_said(tiny, tmp_path):
    with pytest.raises(InputError, match="learning rate"):
        fit(tiny(learning_rate=1e12, schedule="halving", gradient_clip=0.0, ema_decay=0.0), tmp_path / "run")


def test_an_interrupted_run_ends_like_an_uninterrupted_one(tiny, tmp_path, monkeypatch):
    """Ctrl-C after a validation raises KeyboardInterrupt, and the same call then resumes the run."""
    config = tiny()
    expected = weights(fit(config, tmp_path / "whole"))

    def interrupted(self, batch, number, real=Experiment.training_step):
        if self.global_step == 13:
            raise KeyboardInterrupt
        return real(self, batch, number)

    with monkeypatch.context() as patched:
        patched.setattr(Experiment, "training_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fit(config, tmp_path / "killed")
    actual = weights(fit(config, tmp_path / "killed"))
    for name, value in expected.items():
        torch.testing.assert_close(actual[name], value, rtol=0, atol=1e-6)


def test_a_seed_is_a_run(tiny, tmp_path):
    config = tiny(steps=6)
    first, again = (weights(fit(config, tmp_path / name)) for name in ("first", "again"))
    other = weights(fit(replace(config, run=replace(config.run, seed=2)), tmp_path / "other"))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_a_folder_of_another_run_is_refused(tiny, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    with pytest.raises(InputError, match="another configuration"):
        fit(tiny(), tmp_path / "run")


def test_a_folder_of_other_data_is_refused(tiny, tmp_path, bank_folder):
    """A bank prepared again, e.g. with another version's noise, may have the same header but other voxels."""
    bank = tmp_path / "bank"
    shutil.copytree(bank_folder, bank)
    config = tiny(bank=str(bank), steps=6)
    fit(config, tmp_path / "run")
    noise = np.fromfile(bank / "noise.bin", np.int16)
    (noise[::-1]).tofile(bank / "noise.bin")
    with pytest.raises(InputError, match="other data"):
        fit(config, tmp_path / "run")


def test_a_call_that_cannot_be_trained_leaves_the_folder_to_the_corrected_one(tiny, tmp_path):
    other = fit(tiny(filters=6, steps=6), tmp_path / "other")
    for wrong in ({"bank": str(tmp_path / "typo")}, {"initial": str(other)}):
        with pytest.raises(InputError):
            fit(tiny(steps=6, **wrong), tmp_path / "run")
        assert not (tmp_path / "run").exists()
    assert fit(tiny(steps=6), tmp_path / "run").is_file()


def test_a_file_in_the_place_of_the_folder_is_said(tiny, tmp_path):
    (tmp_path / "text.txt").write_text("mine")
    with pytest.raises(InputError, match=r"text\.txt is a file: name a folder"):
        fit(tiny(), tmp_path / "text.txt")
    assert (tmp_path / "text.txt").read_text() == "mine"


def test_weights_for_other_descriptors_are_refused(tiny, tmp_path, bank_folder):
    """Even the same descriptors in another order are refused."""
    first = fit(tiny(steps=6), tmp_path / "first")
    bank = tmp_path / "bank"
    shutil.copytree(bank_folder, bank)
    header = json.loads((bank / "bank.json").read_text())
    header["descriptors"].reverse()
    (bank / "bank.json").write_text(json.dumps(header))
    with pytest.raises(InputError, match="initial has other descriptors"):
        fit(tiny(steps=6, bank=str(bank), initial=str(first)), tmp_path / "run")


def test_weights_to_start_from_are_known_wherever_they_are(tiny, tmp_path):
    first, other = (fit(tiny(steps=6, seed=seed), tmp_path / f"seed-{seed}") for seed in (1, 2))
    fit(tiny(steps=6, initial=str(first)), tmp_path / "run")
    moved = shutil.copy(first, tmp_path / "moved.safetensors")
    fit(tiny(steps=6, initial=str(moved)), tmp_path / "run")
    shutil.copy(other, first)
    with pytest.raises(InputError, match="another configuration"):
        fit(tiny(steps=6, initial=str(first)), tmp_path / "run")


def test_what_a_training_starts_from_has_seen_noise_too(tiny, tmp_path):
    """Otherwise only the last stage's doses would determine which scans count as unlike the training data."""
    first = read_model(fit(tiny(doses=(0.05, 0.5)), tmp_path / "first"))
    second = read_model(
        fit(tiny(initial=str(tmp_path / "first" / "tiny.safetensors"), doses=(0.2, 0.7)), tmp_path / "b")
    )
    assert second.metadata["training"]["doses"] == [0.05, 0.7]
    assert second.metadata["training"]["noise_hu"][1] == first.metadata["training"]["noise_hu"][1]


@pytest.mark.parametrize(("stated", "kept"), [(None, 1.0), (0.4, 0.4), (0.01, None)])
def test_what_a_training_starts_from_has_seen_priors_too(tiny, tmp_path, stated, kept):
    """None stands for any prior, as for the shipped models: else the guard would blend their own organ maps."""
    run = tiny(steps=6)
    first = read_model(fit(run, tmp_path / "first"))
    own = first.metadata["training"].pop("prior_rise")
    if stated is not None:
        first.metadata["training"]["prior_rise"] = stated
    path = tmp_path / "initial.safetensors"
    save_model(path, first.network, first.metadata)
    second = read_model(fit(replace(run, run=replace(run.run, initial=str(path))), tmp_path / "second"))
    assert second.metadata["training"]["prior_rise"] == (kept or own)


def test_the_last_weights_are_exported_where_validation_does_not_decide(tiny, tmp_path):
    """Each validation of this run is worse than the previous one."""
    options = {"learning_rate": 0.5, "schedule": "halving", "ema_decay": 0.0, "gradient_clip": 0.0, "layout": "unet"}
    for export in ("best", "last"):
        fit(tiny(export=export, **options), tmp_path / export)
    steps = {
        name: torch.load(tmp_path / name / "best.ckpt", weights_only=True)["global_step"] for name in ("best", "last")
    }
    assert steps["best"] < steps["last"] == 18


def test_a_run_starts_from_given_weights(tiny, tmp_path):
    first = fit(tiny(), tmp_path / "first")
    started = tiny(initial=str(first), steps=1, validate_every=1, learning_rate=1e-9)
    again = weights(fit(started, tmp_path / "second"))
    for name, value in weights(first).items():
        torch.testing.assert_close(again[name], value, rtol=0, atol=1e-5)


def test_perturbed_priors_stay_distributions():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(17)).astype(np.float32)
    changed = [perturb(p, 0.3, rng) for _ in range(600)]
    np.testing.assert_allclose([one.sum() for one in changed], 1, rtol=1e-5)
    assert np.mean([(one != p).any() for one in changed]) == pytest.approx(0.3, abs=0.06)
    assert perturb(p, 0.0, rng) is p


def test_nine_of_ten_mixed_priors_rise_as_far_as_a_model_tells():
    rng = np.random.default_rng(0)
    p = np.zeros(17, np.float32)
    p[0] = 1
    highest = [one[1:].max() for one in (perturb(p, 1.0, rng) for _ in range(3000)) if 0.3 < one[0] < 0.999]
    assert np.mean(np.array(highest) >= largest_rise(17, 1.0)) == pytest.approx(0.9, abs=0.04)


@pytest.mark.parametrize("native", [True, False])
def test_bf16_only_where_the_gpu_multiplies_it(tiny, monkeypatch, native):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation=True: native or including_emulation)
    assert precision(tiny(precision="auto")) == ("bf16-mixed" if native else "32-true")
    assert precision(tiny()) == "32-true"
