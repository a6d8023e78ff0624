"""`bioatt bench`: consistent values in every output format."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from bioatt.benchmark import baselines
from bioatt.benchmark.clock import timed
from bioatt.benchmark.measure import benchmark
from bioatt.benchmark.report import markdown
from bioatt.cli import main
from bioatt.inference.denoiser import Denoiser
from bioatt.inference.run import Run
from bioatt.io.images import read_volume, write_volume


@pytest.fixture
def small(monkeypatch, make_model, tmp_path):
    """Path of a small U-net; a trivial filter replaces the baselines."""
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
    assert 0 < model["parts"]["network"]["cpu"] < model["whole"]["cpu"]
    assert model["psnr_db"] is None, "nobody knows what it should be"
    assert model["gflop_a_slice"] > 0
    assert "PyTorch, float32, 1 thread" in model["network_by_way"]
    assert "fp32_gflops" in found["ceilings"]
    shown = capsys.readouterr().out
    assert shown.strip() == (tmp_path / "out" / "bench.md").read_text().strip()
    assert "one round" in shown
    for line in ("| network |", "| all but the network |", "| nothing |", "of the float32 ceiling"):
        assert line in shown
    assert (tmp_path / "out" / "bench.png").read_bytes().startswith(b"\x89PNG")
    assert scan.name not in json.dumps(found), "a file name may identify a patient"


def test_a_drawn_scan_where_none_is_given(small, monkeypatch):
    monkeypatch.setattr("bioatt.benchmark.measure.DRAWN_PX", 64)
    found = benchmark(None, models=[small], slices=1, rounds=1, others=False)
    assert (found["scan"]["drawn"], found["scan"]["shape_zyx"]) == (True, [1, 64, 64])
    assert "others" not in found


def test_psnr_beside_the_time_where_the_truth_is_known(small, monkeypatch, scan, capsys):
    """PSNR is given for the drawn torso and for a scan with a reference, but not for an untrained filter."""
    truth = read_volume(scan)
    noisy = truth.with_hu(truth.hu + np.random.default_rng(0).normal(0, 40, truth.shape).astype("float32"))
    known = truth.hu[truth.shape[0] // 2].astype("float32")
    by_name = {"perfect but for 1 HU": lambda: known + 1, "untrained": lambda: None}
    monkeypatch.setattr("bioatt.benchmark.measure.filters", lambda image, noise: by_name)
    found = benchmark(noisy, reference=truth, models=[small], slices=truth.shape[0], rounds=1)
    before, model, others = found["scan"]["psnr_db"], found["models"][small]["psnr_db"], found["others"]
    assert others["untrained"]["psnr_db"] is None
    assert others["perfect but for 1 HU"]["psnr_db"] > max(before, model)
    assert f"| unfiltered | | | {before:.2f} |" in markdown(found)
    monkeypatch.setattr("bioatt.benchmark.measure.DRAWN_PX", 64)
    monkeypatch.setattr("bioatt.benchmark.measure.filters", lambda image, noise: {"none": lambda: image})
    drawn = benchmark(None, models=[small], slices=1, rounds=1)
    assert drawn["others"]["none"]["psnr_db"] == drawn["scan"]["psnr_db"]


def test_a_reference_of_another_grid_is_refused_before_anything_is_timed(scan, tmp_path, capsys):
    volume = read_volume(scan)
    write_volume(volume.part(range(1)), tmp_path / "short.nrrd")
    assert main(["bench", str(scan), "--reference", str(tmp_path / "short.nrrd")]) == 2
    assert "timing" not in (said := capsys.readouterr().err)
    assert "give one on the same grid" in said
    assert main(["bench", "--reference", str(scan)]) == 2


def test_the_share_of_the_network_is_that_within_the_whole(small, make_volume, monkeypatch):
    """It must not depend on how slowly the parts run when timed alone, e.g. after the CPU clock has dropped."""
    within, run, denoise = [], Run.__call__, Denoiser.denoise

    def slow_alone(self, *given):
        end = time.process_time() + (0 if within else 0.3)
        while time.process_time() < end:
            pass
        return run(self, *given)

    def noticed(self, *given, **options):
        within.append(self)
        try:
            return denoise(self, *given, **options)
        finally:
            within.pop()

    monkeypatch.setattr(Run, "__call__", slow_alone)
    monkeypatch.setattr(Denoiser, "denoise", noticed)
    found = benchmark(make_volume(1, 72, 80), models=[small], slices=1, rounds=1, others=False)
    assert 0 < found["models"][small]["around_network"] < 1


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
