"""`bioatt bench`: numbers that add up, in every form it writes."""

from __future__ import annotations

import json

import pytest

from bioatt.benchmark import baselines
from bioatt.benchmark.clock import timed
from bioatt.benchmark.measure import benchmark
from bioatt.cli import main


@pytest.fixture
def small(monkeypatch, make_model, tmp_path):
    """A small model, and no filter but a quick one."""
    make_model(layout="unet")
    monkeypatch.setattr("bioatt.benchmark.measure.filters", lambda image, noise: {"nothing": lambda: image + noise})
    return str(tmp_path / "tiny.safetensors")


def test_parts_and_ways_and_forms(small, scan, tmp_path, capsys):
    arguments = ["bench", str(scan), "--models", small, "--slices", "2", "--rounds", "1", "--threads", "1"]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 0
    found = json.loads((tmp_path / "out" / "bench.json").read_text())
    (model,) = found["models"].values()
    assert found["scan"]["shape_zyx"] == [2, 72, 80]
    assert {"read", "prior", "noise level", "network", "write"} <= set(model["parts"])
    assert all(times["cpu"] >= 0 for times in model["parts"].values())
    assert model["gflop_a_slice"] > 0
    assert "PyTorch, float32, 1 thread" in model["network_by_way"]
    assert "fp32_gflops" in found["ceilings"]
    shown = capsys.readouterr().out
    assert shown.strip() == (tmp_path / "out" / "bench.md").read_text().strip()
    for line in ("| network |", "| all but the network |", "| nothing |", "of the float32 ceiling"):
        assert line in shown
    assert (tmp_path / "out" / "bench.png").read_bytes().startswith(b"\x89PNG")
    assert scan.name not in json.dumps(found), "a file name may identify a patient"


def test_a_drawn_scan_where_none_is_given(small, monkeypatch):
    monkeypatch.setattr("bioatt.benchmark.measure.DRAWN_PX", 64)
    found = benchmark(None, models=[small], slices=1, rounds=1, others=False)
    assert found["scan"] == {"drawn": True, "shape_zyx": [1, 64, 64], "rounds": 1}
    assert "others" not in found


@pytest.mark.parametrize("wrong", [["--slices", "0"], ["--rounds", "-1"], ["--threads", "0"], ["--models", "unknown"]])
def test_wrong_calls_are_refused(wrong, capsys):
    assert main(["bench", *wrong]) == 2
    assert capsys.readouterr().err.strip()


def test_works_take_turns_after_a_warm_up():
    called = []
    timed({"a": lambda: called.append("a"), "b": lambda: called.append("b")}, rounds=2)
    assert called == list("ababab")


def test_filters_that_are_installed_run(make_volume):
    image = make_volume(1, 24, 24).hu[0].astype("float32")
    for name, work in baselines.filters(image, 20.0).items():
        if "BM3D" not in name:
            work()
