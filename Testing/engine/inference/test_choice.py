"""What is fastest here: measured once, remembered for this machine and model, never at the cost of exactness."""

from __future__ import annotations

import itertools
import json

import pytest
import torch

from bioatt.compute import tuning
from bioatt.compute.tuning import Choice
from bioatt.inference import choice as choosing
from bioatt.inference.assembly import make_denoiser
from bioatt.inference.options import EngineOptions

TORCH, OTHER = Choice("torch", "fp32", 1), Choice("torch", "bf16", 1)


@pytest.fixture
def tuned(monkeypatch, tmp_path):
    """The machine may be measured, with answers in a folder of the test's own."""
    monkeypatch.setenv("BIOATT_TUNING", "on")
    monkeypatch.setenv("BIOATT_MODELS", str(tmp_path / "models"))
    return tmp_path / "models" / tuning.FILE


@pytest.fixture
def pretend(monkeypatch):
    """Let each candidate need so many seconds, and give an error of so many HU."""

    def make(seconds, error_hu=None):
        now = itertools.count()
        time = [0.0]

        def run(denoiser, choice, volume):
            time[0] += seconds[choice]
            next(now)
            return volume.hu[0] + (error_hu or {}).get(choice, 0.0)

        monkeypatch.setattr(choosing, "_run", run)
        return lambda: time[0]

    return make


@pytest.mark.parametrize(
    ("seconds", "error_hu", "expected"),
    [
        ({TORCH: 0.2, OTHER: 0.1}, {}, OTHER),
        ({TORCH: 0.2, OTHER: 0.1}, {OTHER: 0.6}, TORCH),
        ({TORCH: 0.2, OTHER: 0.1}, {OTHER: 0.4}, OTHER),
        ({TORCH: 0.2, OTHER: 0.195}, {}, TORCH),
        ({TORCH: 9.0, OTHER: 0.1}, {}, TORCH),
    ],
    ids=["faster", "faster but inexact", "exact enough", "hardly faster", "no time to try it"],
)
def test_the_fastest_that_is_exact_enough(make_model, pretend, seconds, error_hu, expected):
    clock = pretend(seconds, error_hu)
    assert choosing.measure(make_model(), [TORCH, OTHER], clock)[0] == expected


def test_measured_once_for_a_machine_and_a_model(make_model, pretend, tuned, monkeypatch):
    model, other = make_model(), make_model(filters=5, name="other")
    monkeypatch.setattr(choosing, "candidates", lambda: [TORCH, OTHER])
    clock = pretend({TORCH: 0.2, OTHER: 0.1})
    assert choosing.known_choice(model) is None
    assert choosing.choose_by_measuring(model, clock) == OTHER
    spent = clock()
    assert choosing.choose_by_measuring(model, clock) == OTHER == choosing.known_choice(model)
    assert clock() == spent
    assert choosing.known_choice(other) is None
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert choosing.known_choice(model) is None
    (kept,) = json.loads(tuned.read_text()).values()
    assert kept["for"]["torch"] == torch.__version__
    assert [line["way"] for line in kept["measured"]] == [str(TORCH), str(OTHER)]


def test_a_damaged_or_unwritable_memory_is_no_obstacle(make_model, pretend, tuned, monkeypatch):
    model = make_model()
    monkeypatch.setattr(choosing, "candidates", lambda: [TORCH])
    clock = pretend({TORCH: 0.1})
    tuned.parent.mkdir()
    tuned.write_text("{")
    assert choosing.choose_by_measuring(model, clock) == TORCH
    tuned.unlink()
    tuned.mkdir()
    assert choosing.choose_by_measuring(model, clock) == TORCH


def test_options_have_the_last_word(make_model, tuned, monkeypatch, tmp_path):
    make_model()
    file = str(tmp_path / "tiny.safetensors")
    monkeypatch.setattr("bioatt.inference.assembly.choose_by_measuring", lambda model: Choice("torch", "bf16", 1))
    threads = torch.get_num_threads()
    try:
        for options, precision in (
            ({}, "bf16"),
            ({"precision": "fp32"}, "fp32"),
            ({"backend": "torch", "precision": "fp32"}, "fp32"),
        ):
            assert make_denoiser(EngineOptions(file, "uniform", device="cpu", **options)).way.precision == precision
        monkeypatch.setenv("BIOATT_TUNING", "off")
        monkeypatch.setattr("bioatt.compute.device.cpu_has_amx", lambda: False)
        assert make_denoiser(EngineOptions(file, "uniform", device="cpu")).way.precision == "fp32"
    finally:
        torch.set_num_threads(threads)


def test_the_probe_is_a_noisy_body():
    volume = choosing.probe_slice()
    assert 25 < volume.hu[0][110:125, 88:104].std() < 45
    assert volume.hu[0][:8, :8].mean() < -950


def test_a_choice_is_said_in_words():
    assert str(Choice("openvino", "fp32", 2)) == "OpenVINO, float32, 2 threads"
    assert str(Choice("torch", "bf16", 1)) == "PyTorch, bfloat16, 1 thread"
