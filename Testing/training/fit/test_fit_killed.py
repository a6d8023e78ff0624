"""A run killed with SIGKILL at any time resumes to the same result."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from bioatt.inference.models import read_model, save_model
from bioatt.network import build_network
from bioatt_training.fit.history import COLUMNS, FILE, read_history
from bioatt_training.fit.run import fit
from bioatt_training.studies.reproduction.subprocess_run import RunError, run_in_subprocess

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL here")

KILLED = "ended with status -9"
KILLED_AT_STEP = """
import os, signal
from bioatt_training.fit.experiment import Experiment
from bioatt_training.fit.run import fit

def training_step(self, *batch, real=Experiment.training_step):
    if self.global_step == {step}:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(self, *batch)

Experiment.training_step = training_step
fit(config, folder)
"""

KILLED_WHILE_WRITING = """
import os, signal
from bioatt_training.fit import checkpoints
from bioatt_training.fit.run import fit

class Dying:
    def __init__(self, real): self.__dict__["real"] = real
    def __getattr__(self, name): return getattr(self.real, name)
    def save(self, held, stream):
        if held["global_step"] == {step}:
            stream.write(b"half of a checkpoint")
            stream.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        self.real.save(held, stream)

checkpoints.torch = Dying(checkpoints.torch)
fit(config, folder)
"""


def run_until_killed(script, config, folder):
    names = {"config": config, "folder": folder}
    with pytest.raises(RunError, match=KILLED):
        run_in_subprocess(exec, script, names, log=folder.with_suffix(".log"))


def assert_same_end(config, whole, resumed):
    """Assert that weights, every line of metrics.csv and the model's metrics agree."""
    expected, actual = (read_model(fit(config, folder)) for folder in (whole, resumed))
    for name, value in expected.network.state_dict().items():
        torch.testing.assert_close(actual.network.state_dict()[name], value, rtol=0, atol=1e-6)
    lines = [read_history(folder) for folder in (whole, resumed)]
    assert len(lines[0]) == len(lines[1]) == 3
    for one, other in zip(*lines, strict=True):
        assert [other[name] for name in COLUMNS] == pytest.approx([one[name] for name in COLUMNS], rel=1e-6, abs=1e-6)
    assert actual.metadata["metrics"] == expected.metadata["metrics"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "step"),
    [
        ({"sampling": "random"}, 9),
        ({"sampling": "grid", "epochs": 3, "schedule": "plateau", "early_stop": 7, "monitor": "val_loss"}, 9),
    ],
    ids=["random", "grid"],
)
def test_killed_in_mid_epoch(tiny, tmp_path, options, step):
    """Killed one step after a checkpoint within the second or third epoch."""
    config = tiny(**options)
    run_until_killed(KILLED_AT_STEP.format(step=step), config, tmp_path / "killed")
    assert (tmp_path / "killed" / "last.ckpt").is_file()
    assert_same_end(config, tmp_path / "whole", tmp_path / "killed")


@pytest.mark.slow
def test_the_random_arm_draws_as_if_it_had_not_been_killed(tiny, tmp_path):
    """The initial attention maps differ so much from each other that a different draw would change the output."""
    network = build_network("bioatt", 4, 17, "random")
    with torch.no_grad():
        for block in network.attention.values():
            block.conv.weight.mul_(100)
    metadata = {"version": "1", "descriptor_set": "paper17", "descriptors": [f"d{n}" for n in range(17)]}
    save_model(tmp_path / "begin.safetensors", network, {**metadata, "prior": "maps", "training": {}})
    config = tiny(
        **{"arm": "random", "initial": str(tmp_path / "begin.safetensors"), "sampling": "grid", "epochs": 3},
        **{"algorithm": "adam", "schedule": "halving", "halve_every": 1},
    )
    run_until_killed(KILLED_AT_STEP.format(step=9), config, tmp_path / "killed")
    assert_same_end(config, tmp_path / "whole", tmp_path / "killed")


@pytest.mark.slow
@pytest.mark.parametrize("step", [6, 8], ids=["after validation", "in mid-epoch"])
def test_killed_while_a_checkpoint_is_written(tiny, tmp_path, step):
    """The previous checkpoint remains."""
    config = tiny(sampling="grid", epochs=3)
    run_until_killed(KILLED_WHILE_WRITING.format(step=step), config, tmp_path / "killed")
    held = torch.load(tmp_path / "killed" / "last.ckpt", weights_only=True)
    assert held["global_step"] == {6: 4, 8: 6}[step]
    assert_same_end(config, tmp_path / "whole", tmp_path / "killed")


@pytest.mark.slow
def test_killed_from_outside_at_no_chosen_moment(tiny, tmp_path):
    config = tiny(epochs=3, sampling="grid", repeats=5, save_every=7)
    script, log = "import os; print(os.getpid(), flush=True)" + KILLED_AT_STEP.format(step=-1), tmp_path / "log"
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(run_in_subprocess, exec, script, {"config": config, "folder": tmp_path / "killed"}, log=log)
        limit = time.monotonic() + 120
        while not (tmp_path / "killed" / FILE).is_file() and time.monotonic() < limit:
            time.sleep(0.05)
        time.sleep(int.from_bytes(os.urandom(1)) / 500)
        os.kill(int(log.read_text().split()[0]), signal.SIGKILL)
        with pytest.raises(RunError, match=KILLED):
            run.result()
    assert_same_end(config, tmp_path / "whole", tmp_path / "killed")
