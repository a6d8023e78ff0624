"""`Testing/gpu/run.sh slabs` end to end at toy size."""

from __future__ import annotations

import json
import os

import pytest
import torch

from bioatt_training.slabs.pack import write_pack

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a shell script")


def test_slabs_leaves_weights_and_what_a_further_call_goes_on_with(ended, pack, tmp_path):
    file = tmp_path / "slabs.npz"
    write_pack(file, pack)
    result = ended("slabs", "--device", "cpu", "--pack", str(file), "--batch", "4", "--steps", "1")
    assert result.returncode == 0, result.stdout + result.stderr
    record = json.loads((tmp_path / "out" / "slabs.json").read_text())
    assert record["step"] == 1
    assert [row["step"] for row in record["history"]] == [1]
    for name in record["recipe"]["filters"]:
        weights = torch.load(tmp_path / "out" / f"{name}.pt", weights_only=True)
        assert all(torch.isfinite(tensor).all() for tensor in weights.values())
        assert (tmp_path / "out" / f"{name}-slabs-state.pt").is_file()


def test_slabs_without_its_pack(ended):
    result = ended("slabs", "--pack", "missing.npz")
    assert result.returncode == 2
    assert "bioatt-train network" in result.stderr
    assert "Traceback" not in result.stderr
