"""Adversarial runs: killed they end as if they had not been; two processes give the curve of one."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys

import pytest
import torch

from bioatt.inference.models import read_model
from bioatt_training.adversarial.methods import Alden, Unpaired
from bioatt_training.fit.history import read_history
from bioatt_training.fit.run import fit

KILLED_AT_STEP = """
import os, pickle, signal, sys
from pathlib import Path
from bioatt_training.fit.run import fit

config = pickle.load(sys.stdin.buffer)
kind = type(config.method.experiment(config, 17, 18, 6))

def training_step(self, *batch, real=kind.training_step):
    if self.global_step == 9:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(self, *batch)

kind.training_step = training_step
fit(config, Path(sys.argv[1]))
"""
METHODS = {
    "alden": Alden(features="organ_maps", width=4, places=5, adversarial=0.5),
    "unpaired": Unpaired(features="organ_maps", width=4, replay=2),
}
TOML = """
[run]
name = "tiny"
version = "1"
validate_every = 6
save_every = 4
ema_decay = 0.5
precision = "32-true"
[network]
layout = "unet"
filters = 4
[optimiser]
steps = 18
learning_rate = 3e-3
margin = 4
[data]
bank = "{bank}"
patch = 40
batch = 4
validation_patches = 7
{method}
"""
TABLES = {
    "alden": '[alden]\nfeatures = "organ_maps"\nwidth = 4\nplaces = 5\nadversarial = 0.5',
    "unpaired": '[unpaired]\nfeatures = "organ_maps"\nwidth = 4\nreplay = 2',
}


def assert_same(one, other, tolerance):
    """Weights and lines of metrics.csv of two folders."""
    first, second = (read_model(folder / "tiny.safetensors").network.state_dict() for folder in (one, other))
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=0, atol=tolerance)
    lines = [read_history(folder) for folder in (one, other)]
    assert len(lines[0]) == len(lines[1]) == 3
    for expected, actual in zip(*lines, strict=True):
        assert actual == pytest.approx(expected, rel=tolerance, abs=max(tolerance, 1e-4), nan_ok=True)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL here")
@pytest.mark.parametrize("name", METHODS)
def test_killed_in_mid_epoch(tiny, tmp_path, name):
    """One step after a checkpoint, when earlier fakes are being shown again."""
    config = tiny(method=METHODS[name], layout="unet")
    command = [sys.executable, "-c", KILLED_AT_STEP, str(tmp_path / "killed")]
    ended = subprocess.run(command, input=pickle.dumps(config), capture_output=True, timeout=300)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()[-2000:]
    assert (tmp_path / "killed" / "last.ckpt").is_file()
    for folder in ("whole", "killed"):
        fit(config, tmp_path / folder)
    assert_same(tmp_path / "whole", tmp_path / "killed", 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLES)
def test_two_processes_give_the_curve_of_one(bank_folder, tmp_path, name):
    config = tmp_path / "tiny.toml"
    config.write_text(TOML.format(bank=bank_folder.as_posix(), method=TABLES[name]))
    for processes in (1, 2):
        command = [sys.executable, "-m", "bioatt_training.cli", "fit", "--config", str(config)]
        command += ["--out", str(tmp_path / str(processes)), "--devices", str(processes)]
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
        ended = subprocess.run(command, capture_output=True, timeout=300, env=environment)
        said = ended.stderr.decode()
        assert ended.returncode == 0, said[-3000:]
        assert said.count("features organ_maps: weights under Apache-2.0") == 1
    assert_same(tmp_path / "1", tmp_path / "2", 2e-5)
