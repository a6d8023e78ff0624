"""Testing/gpu/run.sh end to end at toy size, without the packages that a GPU machine may lack."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from bioatt.anatomy.descriptors import load_descriptor_set
from bioatt_training.gpu.outputs import read_record
from bioatt_training.priors.organ_maps.data import phantom_slices
from bioatt_training.priors.organ_maps.slices import write_pack
from bioatt_training.priors.rows import joined

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a shell script")


def test_check(ended, tmp_path):
    toy = ["--device", "cpu", "--size", "96", "--large", "128", "--slices", "2", "--filters", "4"]
    result = ended("check", *toy)
    found = json.loads((tmp_path / "out" / "check.json").read_text())
    assert not found["shipped"]  # its weights cannot be read without safetensors
    states = {name: step["state"] for name, step in found["steps"].items()}
    precision = states.pop("half_precision")
    assert set(states.values()) == {"good"}, result.stdout + result.stderr
    assert result.returncode == (precision != "good")
    assert len(states) == 7
    assert found["steps"]["volume"]["slices"] == 2
    assert "| volume | good |" in result.stdout


def test_check_within_no_time_leaves_the_steps_out(ended, tmp_path):
    result = ended("check", "--device", "cpu", "--filters", "4", "--limit", "0")
    assert result.returncode == 0, result.stderr
    assert {step["state"] for step in json.loads((tmp_path / "out" / "check.json").read_text())["steps"].values()} == {
        "left out"
    }


def test_train_ended_by_a_signal_goes_on_from_what_was_carried_to_the_next_machine(
    machine, ended, pack_file, tiny_file, tmp_path
):
    options = ["--device", "cpu", "--pack", str(pack_file), "--config", str(tiny_file(40)), "--arms", "bioatt"]
    first = subprocess.Popen(
        [*ended.command, "train", *options, "--save-every", "0.2"], env=machine, stdout=subprocess.PIPE, text=True
    )
    assert first.stdout is not None
    for line in first.stdout:
        if "| step " in line:
            first.send_signal(signal.SIGTERM)
            break
    assert first.wait(timeout=60) == 0
    (tmp_path / "out").rename(tmp_path / "previous")
    (tmp_path / "out").mkdir()
    before = read_record(tmp_path / "previous")["arms"]["bioatt"]["steps"]
    assert 0 < before < 40
    second = ended("train", *options)
    assert second.returncode == 0, second.stderr
    record = read_record(tmp_path / "out")
    assert record["arms"]["bioatt"]["steps"] == 40
    assert len(record["arms"]["bioatt"]["history"]) >= 3
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["train.json", "weights-2.pt"]


def test_the_time_of_the_whole_call_ends_the_training(machine, ended, pack_file, tiny_file, tmp_path):
    machine["GPU_LIMIT_S"] = "22"
    start = time.monotonic()
    options = ["--device", "cpu", "--pack", str(pack_file), "--config", str(tiny_file(10**7)), "--arms", "bioatt"]
    result = ended("train", *options)
    assert result.returncode == 0, result.stderr
    assert time.monotonic() - start < 40
    assert read_record(tmp_path / "out")["arms"]["bioatt"]["finished"]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["train", "--pack", "missing.npz"], "create it with `bioatt-train prepare --pack`"),
        (["train", "--arms", "bioat"], "unknown arm bioat"),
        (["trian"], "usage"),
    ],
)
def test_a_wrong_call_is_one_line_and_status_2(ended, command, said):
    result = ended(*command)
    assert result.returncode == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_organs_leaves_the_weights_and_the_history_of_every_variant(ended, tmp_path):
    pack = tmp_path / "organs.npz"
    descriptors = load_descriptor_set("paper17")
    torso = phantom_slices(1, descriptors)
    weak = replace(torso, outlined=np.zeros(len(torso), bool))
    write_pack(pack, joined([torso, weak]), torso, torso)
    options = ["--device", "cpu", "--pack", str(pack), "--variants", "full,real", "--steps", "1"]
    result = ended("organs", *options)
    assert result.returncode == 0, result.stdout + result.stderr
    record = json.loads((tmp_path / "out" / "organs.json").read_text())
    weights = torch.load(tmp_path / "out" / "organs.pt", weights_only=True)
    assert set(record) == set(weights) == {"full", "real"}
    assert set(record["full"]["history"][-1]["dice"]) == set(descriptors.descriptors)
    assert all(torch.isfinite(tensor).all() for tensor in weights["real"].values())


def test_organs_of_an_unknown_variant(ended):
    result = ended("organs", "--variants", "nonesuch")
    assert result.returncode == 2
    assert "choose from full" in result.stderr
