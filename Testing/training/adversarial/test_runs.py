"""Adversarial runs: a killed run resumes to the same result, and two processes give the loss curve of one."""

from __future__ import annotations

import signal
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from bioatt.inference.models import read_model
from bioatt_training.adversarial.methods import Alden, Unpaired
from bioatt_training.fit.history import read_history
from bioatt_training.fit.run import fit
from bioatt_training.studies.reproduction.subprocess_run import RunError, run_in_subprocess

KILLED_AT_STEP = """
import os, signal
from bioatt_training.fit.run import fit

kind = type(config.method.experiment(config, 17, 18, 6))

def training_step(self, *batch, real=kind.training_step):
    if self.global_step == 9:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(self, *batch)

kind.training_step = training_step
fit(config, folder)
"""
AS_TORCHRUN = """
import os
os.environ |= environment
from bioatt_training.fit.lightning_import import rank_zero_only
from bioatt_training.fit.run import fit
rank_zero_only.rank = int(environment["RANK"])  # as it is found when Lightning is imported
fit(config, folder, devices=2)
"""
METHODS = {
    "alden": Alden(features="organ_maps", width=4, places=5, adversarial=0.5),
    "unpaired": Unpaired(features="organ_maps", width=4, replay=2),
}


def assert_same(one, other, tolerance):
    """Assert that weights and metrics.csv of two folders agree."""
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
    """Killed one step after a checkpoint, when earlier fakes are already being replayed."""
    config = tiny(method=METHODS[name], layout="unet")
    names = {"config": config, "folder": tmp_path / "killed"}
    with pytest.raises(RunError, match="ended with status -9"):
        run_in_subprocess(exec, KILLED_AT_STEP, names, log=tmp_path / "log")
    assert (tmp_path / "killed" / "last.ckpt").is_file()
    for folder in ("whole", "killed"):
        fit(config, tmp_path / folder)
    assert_same(tmp_path / "whole", tmp_path / "killed", 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_two_processes_give_the_curve_of_one(tiny, tmp_path, name):
    config = tiny(method=METHODS[name], layout="unet", validation_patches=7)
    fit(config, tmp_path / "1")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        place = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(free.getsockname()[1]), "TORCHELASTIC_RUN_ID": "test"}
    place |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0", "CUDA_VISIBLE_DEVICES": ""}

    def run(rank: int) -> None:
        environment = {**place, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        names = {"config": config, "folder": tmp_path / "2", "environment": environment}
        run_in_subprocess(exec, AS_TORCHRUN, names, log=tmp_path / "log")

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(run, range(2)))
    assert (tmp_path / "log").read_text().count("features organ_maps: weights under Apache-2.0") == 1
    assert_same(tmp_path / "1", tmp_path / "2", 2e-5)
