"""Memory: the prediction before a run matches its use, which is linear in the number of slices."""

from __future__ import annotations

import tracemalloc

import pytest

from bioatt.compute import memory
from bioatt.inference.denoiser import Denoiser


def test_memory_is_linear_in_the_slices_and_as_predicted(make_model, make_volume):
    """Peak array memory in addition to the volume and one slice; 1,500 slices of 512 × 512 thus fit in 8 GB."""
    denoiser = Denoiser(make_model(), prior="uniform", device="cpu", precision="fp32")
    taken = {}
    for slices in (15, 30, 60):
        volume = make_volume(slices)
        tracemalloc.start()
        denoiser.denoise(volume)
        taken[slices] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    first, then = ((taken[2 * count] - taken[count]) / (count * 72 * 80) for count in (15, 30))
    assert then == pytest.approx(first, rel=0.1)
    assert memory.BYTES_A_VOXEL - 3 < then <= memory.BYTES_A_VOXEL + 0.5
    assert memory.predicted((1500, 512, 512), filters=32) + 2 * 1500 * 512 * 512 < 8e9


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
