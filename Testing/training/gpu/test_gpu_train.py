"""Training from a pack learns, resumes after any interruption, keeps its time limit, and writes few small files."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from bioatt.core.errors import InputError
from bioatt_training.gpu import train as trainer
from bioatt_training.gpu.outputs import Outputs, load_arm, read_record
from bioatt_training.gpu.train import Stop, train

CPU = torch.device("cpu")


class Cut(Exception):
    """Simulates the death of the process."""


@pytest.fixture
def run(pack, tmp_path):
    """run(config, "folder", **options) → the record."""

    def make(config, name="out", **options):
        options = {"arms": ["bioatt"], "limit_s": 600.0, "say": lambda _: None, **options}
        train(config, pack, Outputs(tmp_path / name), device=CPU, **options)
        return read_record(tmp_path / name)

    return make


def weights(folder, arm="bioatt"):
    return load_arm(folder, arm)


def test_it_learns(run, tiny, monkeypatch):
    monkeypatch.setattr(trainer, "WARM_UP_STEPS", 20)
    begun, learnt = (run(tiny(steps, learning_rate=1e-2), f"{steps}")["arms"]["bioatt"] for steps in (1, 150))
    assert learnt["history"][-1]["val_rmse_hu"] < 0.6 * begun["history"][-1]["val_rmse_hu"]
    assert learnt["finished"]
    assert learnt["patches"] == 150 * 4


def test_cut_between_two_savings_it_ends_as_one_that_was_not(run, tiny, tmp_path, monkeypatch):
    config = tiny(12)
    run(config, "whole", save_every_s=0.0)
    real, steps = trainer.ArmRun._one_step, []

    def dying(self, progress):
        if len(steps) == 7:
            raise Cut
        steps.append(self.step)
        return real(self, progress)

    monkeypatch.setattr(trainer.ArmRun, "_one_step", dying)
    with pytest.raises(Cut):
        run(config, "cut", save_every_s=0.0)
    assert read_record(tmp_path / "cut")["arms"]["bioatt"]["steps"] == 7
    monkeypatch.setattr(trainer.ArmRun, "_one_step", real)
    record = run(config, "cut", save_every_s=0.0)
    assert record["arms"]["bioatt"]["steps"] == 12
    for name, value in weights(tmp_path / "whole").items():
        assert torch.allclose(value, weights(tmp_path / "cut")[name], atol=1e-3), name


@pytest.mark.parametrize("at", range(4))
def test_cut_while_saving_the_state_before_is_still_whole(run, tiny, tmp_path, monkeypatch, at):
    """A save writes two state files, the weights and the record; each case cuts before another of them."""
    config = tiny(6)
    from bioatt_training.gpu import outputs

    real, written = outputs.atomic_write, []

    def dying(path, **options):
        written.append(path.name)
        if len(written) == 6 + at:  # after the initial record and the first save
            raise Cut
        return real(path, **options)

    monkeypatch.setattr(outputs, "atomic_write", dying)
    with pytest.raises(Cut):
        run(config, save_every_s=0.0)
    monkeypatch.setattr(outputs, "atomic_write", real)
    assert read_record(tmp_path / "out")["arms"]["bioatt"]["steps"] == 1
    assert run(config)["arms"]["bioatt"]["steps"] == 6


@pytest.mark.parametrize("moments", [True, False])
def test_without_its_moments_it_goes_on_with_a_warm_up(run, tiny, tmp_path, monkeypatch, moments):
    config = tiny(40)
    stop = Stop()
    run(config, save_every_s=0.0, stop=stop, say=lambda line: setattr(stop, "asked", "step 9," in line))
    if not moments:
        for name in read_record(tmp_path / "out")["state"]["files"]["moments"]:
            (tmp_path / "out" / name).unlink()
    rates = []
    real = trainer.ArmRun._learning_rate
    monkeypatch.setattr(
        trainer.ArmRun, "_learning_rate", lambda self, progress: rates.append(real(self, progress)) or rates[-1]
    )
    assert run(config)["arms"]["bioatt"]["steps"] == 40
    assert len(rates) == 31
    assert (rates[0] < 1e-3 / trainer.WARM_UP_STEPS) == (not moments)


def test_time_ends_an_arm_with_the_learning_rate_at_its_end(run, tiny, monkeypatch):
    """The clock advances by 10 ms with each reading, so the result does not depend on the load of the machine."""
    readings, rates = itertools.count(), []
    monkeypatch.setattr(trainer, "time", SimpleNamespace(monotonic=lambda: 0.01 * next(readings)))
    real = trainer.ArmRun._learning_rate
    monkeypatch.setattr(trainer.ArmRun, "_learning_rate", lambda self, p: rates.append(p) or real(self, p))
    record = run(tiny(10**6), limit_s=1.5)
    assert record["arms"]["bioatt"]["finished"]
    assert record["arms"]["bioatt"]["steps"] == len(rates) < 10**6
    assert rates == sorted(rates)
    assert rates[-1] > 0.8


def test_a_signal_keeps_what_there_is(run, tiny):
    stop = Stop()
    record = run(tiny(10**6), save_every_s=0.3, stop=stop, say=lambda line: setattr(stop, "asked", "step" in line))
    assert not record["arms"]["bioatt"].get("finished")
    assert record["state"]["arm"] == "bioatt"


def test_further_arms_follow_while_there_is_time_and_finished_ones_stay(run, tiny, tmp_path):
    record = run(tiny(3), arms=["bioatt", "base", "channel", "spatial", "uniform", "random", "whole"])
    assert all(one["finished"] for one in record["arms"].values())
    assert len(record["arms"]) == 7
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert files == ["train.json", "weights-1.pt", "weights-2.pt"]
    before = weights(tmp_path / "out", "base")
    run(tiny(3), arms=["bioatt", "base"])
    assert torch.equal(before["encoder.0.weight"], weights(tmp_path / "out", "base")["encoder.0.weight"])


def test_files_are_few_and_small_at_the_papers_width(run, tiny, tmp_path, monkeypatch):
    stop = Stop()
    figures = {"val_rmse_hu": 1.0, "val_input_rmse_hu": 2.0, "val_psnr": 3.0, "val_ssim": 0.4}
    monkeypatch.setattr(trainer.ArmRun, "validate", lambda self: figures)
    run(
        tiny(2, batch=1, filters=96),
        save_every_s=0.0,
        stop=stop,
        say=lambda line: setattr(stop, "asked", "step 1," in line),
    )
    sizes = [path.stat().st_size for path in (tmp_path / "out").iterdir()]
    assert len(sizes) <= 4
    assert max(sizes) < 16 << 20
    assert sum(sizes) < 36 << 20


def test_a_network_that_gives_no_numbers_does_not_replace_what_was_kept(run, tiny, monkeypatch, tmp_path):
    monkeypatch.setattr(trainer.ArmRun, "validate", lambda self: {"val_rmse_hu": float("nan")})
    said = []
    record = run(tiny(3), arms=["bioatt"], say=said.append)
    assert "lower the learning rate" in said[-1]
    assert "finished" not in record["arms"]["bioatt"]
    assert not (tmp_path / "out" / "weights-1.pt").exists()


def test_outputs_of_another_configuration_are_refused(run, tiny):
    run(tiny(3))
    with pytest.raises(InputError, match="another configuration"):
        run(tiny(4))


@pytest.mark.parametrize(
    ("table", "key", "value"),
    [("data", "prior_perturbation", 0.3), ("data", "sampling", "grid"), ("optimiser", "schedule", "halving")],
)
def test_what_the_card_does_not_do_is_refused(run, tiny, table, key, value):
    config = tiny(3)
    config = replace(config, **{table: replace(getattr(config, table), **{key: value})})
    with pytest.raises(InputError, match=key):
        run(config)


def test_record_is_plain_json_with_the_cost_of_drawing(run, tiny, tmp_path):
    run(tiny(3))
    record = json.loads((tmp_path / "out" / "train.json").read_text())
    assert record["arms"]["bioatt"]["cost"]["draw_ms"] > 0
    assert record["pack"]["slices"][0]["patient"] == "train-0"
