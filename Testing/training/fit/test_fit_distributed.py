"""Two processes that share each batch train like one process with the whole batch."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from bioatt.inference.models import read_model
from bioatt_training.fit.config import Config
from bioatt_training.fit.history import COLUMNS, read_history
from bioatt_training.fit.run import fit

TOML = """
[run]
name = "tiny"
version = "1"
validate_every = 6
ema_decay = 0.5
precision = "32-true"
[network]
arm = "bioatt"
filters = 4
[optimiser]
{length}
schedule = "cosine"
learning_rate = 3e-3
margin = 4
[data]
bank = "{bank}"
sampling = "{sampling}"
patch = 40
batch = 4
validation_patches = 7
"""


LIGHTNING = (sys.executable, "-m")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "-m")


def train(config, folder, launcher):
    """Run `bioatt-train fit --devices 2` on CPUs."""
    command = [*launcher, "bioatt_training.cli", "fit"]
    command += ["--config", str(config), "--out", str(folder), "--devices", "2"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, capture_output=True, timeout=300, env=environment)
    assert ended.returncode == 0, ended.stderr.decode()[-3000:]
    assert ended.stdout.decode().count("tiny.safetensors") == 1


def trained(folder):
    """The lines of metrics.csv, and the weights."""
    return read_history(folder), read_model(folder / "tiny.safetensors").network.state_dict()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sampling", "length", "launcher"),
    [
        ("random", "steps = 18", LIGHTNING),
        ("grid", "epochs = 3", TORCHRUN),
    ],
    ids=["random, Lightning starts the second", "grid, torchrun starts both"],
)
def test_the_loss_curve_is_one_process_s(bank_folder, tmp_path, sampling, length, launcher):
    config = tmp_path / "tiny.toml"
    config.write_text(TOML.format(bank=bank_folder.as_posix(), sampling=sampling, length=length))
    fit(Config.read(config), tmp_path / "one")
    train(config, tmp_path / "two", launcher)
    one, two = trained(tmp_path / "one"), trained(tmp_path / "two")
    assert len(one[0]) == len(two[0]) == 3
    for expected, actual in zip(one[0], two[0], strict=True):
        for name in COLUMNS:
            assert actual[name] == pytest.approx(expected[name], rel=1e-5, abs=1e-5), name
    for name, value in one[1].items():
        torch.testing.assert_close(two[1][name], value, rtol=0, atol=1e-5)
