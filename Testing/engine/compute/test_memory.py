"""Memory: what is told before a run is what the run takes, and each slice takes the same."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bioatt.compute import memory
from bioatt.inference.denoiser import Denoiser

PROGRAM = """
import sys, numpy as np, torch
from bioatt import Denoiser, Volume
def megabytes(key):
    return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith(key))) / 1024
hu = np.full((int(sys.argv[1]), 256, 256), -1000, np.int16)
hu[:, 100:150, 100:150] = 40 + np.random.default_rng(0).integers(-30, 30, (len(hu), 50, 50))
denoiser = Denoiser("bioatt-fast", device="cpu", prior="uniform", precision="fp32")
denoiser.denoise(Volume(hu[:2].copy()))
volume, before = Volume(hu), megabytes("VmRSS")
denoiser.denoise(volume)
print(megabytes("VmHWM") - before, denoiser.predicted_bytes(volume) / 2**20)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux tells a process's peak")
def test_memory_is_linear_in_the_slices_and_as_predicted():
    """From few slices to many: 1,500 of 512 × 512 in 8 GB follow."""
    found = {}
    for slices in (20, 80):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(slices)], capture_output=True, text=True, check=True
        ).stdout
        taken, told = map(float, done.split())
        assert taken <= told
        found[slices] = taken
    a_voxel = (found[80] - found[20]) * 2**20 / (60 * 256 * 256)
    assert 4 < a_voxel <= memory.BYTES_A_VOXEL
    volume = 2 * 1500 * 512 * 512
    assert memory.predicted((1500, 512, 512), filters=32) + volume < 8e9


def test_what_does_not_fit_is_said_before_the_work(make_model, make_volume, monkeypatch, caplog):
    denoiser = Denoiser(make_model(), prior="uniform", device="cpu")
    monkeypatch.setattr(memory, "available", lambda: 1 << 20)
    said = []
    result = denoiser.denoise(make_volume(2), progress=lambda *_: said.append(len(caplog.records)))
    assert said == [1, 1], "before the first slice"
    assert "GB are free" in caplog.text
    assert any("--slices" in line for line in result.warnings)


def test_nothing_is_said_where_it_fits_or_nobody_knows(make_model, make_volume, monkeypatch):
    denoiser = Denoiser(make_model(), prior="uniform", device="cpu")
    for free in (1 << 40, None):
        monkeypatch.setattr(memory, "available", lambda free=free: free)
        assert not any("memory" in line for line in denoiser.denoise(make_volume(1)).warnings)


def test_tiles_and_graphics_cards_take_less():
    whole = memory.predicted((10, 512, 512), 32)
    assert memory.predicted((10, 512, 512), 32, tile=128) < whole
    assert memory.predicted((10, 512, 512), 32, cpu=False) < memory.predicted((10, 512, 512), 32, tile=128)


def test_this_system_tells_its_memory():
    assert 1 << 26 < memory.available() < 1 << 50
