"""The fastest way to compute: measured once, stored per machine and model, never at the expense of accuracy."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from bioatt.compute import tuning
from bioatt.compute.probe import NOISE_HU, clean_torso, probe
from bioatt.compute.tuning import Choice
from bioatt.inference import assembly
from bioatt.inference.assembly import choose_by_measuring, known_choice, make_denoiser
from bioatt.inference.options import EngineOptions

TORCH, OTHER = Choice("torch", "fp32", 1), Choice("torch", "bf16", 1)


@pytest.fixture
def tuned(monkeypatch, tmp_path):
    """Enable measurement, with results in a temporary folder; returns their file."""
    monkeypatch.setenv("BIOATT_TUNING", "on")
    monkeypatch.setenv("BIOATT_MODELS", str(tmp_path / "models"))
    return tmp_path / "models" / tuning.FILE


def pretend(seconds, error_hu=None):
    """Return a fake run, in which candidates take these seconds and have these errors in HU, and its clock."""
    now = [0.0]

    def run(choice):
        now[0] += seconds[choice]
        return np.full(1000, (error_hu or {}).get(choice, 0.0), np.float32)

    return run, lambda: now[0]


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
def test_the_fastest_that_is_exact_enough(seconds, error_hu, expected):
    run, clock = pretend(seconds, error_hu)
    assert tuning.measure(run, [TORCH, OTHER], clock)[0] == expected


def test_measured_once_for_a_machine_and_a_model(make_model, tuned, monkeypatch):
    model, other = make_model(), make_model(filters=5, name="other")
    monkeypatch.setattr(assembly, "candidates", lambda: [TORCH, OTHER])
    run, clock = pretend({TORCH: 0.2, OTHER: 0.1})
    monkeypatch.setattr(assembly, "_prober", lambda model: run)
    assert known_choice(model) is None
    assert choose_by_measuring(model, clock) == OTHER
    spent = clock()
    assert choose_by_measuring(model, clock) == OTHER == known_choice(model)
    assert clock() == spent
    assert known_choice(other) is None
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert known_choice(model) is None
    (kept,) = json.loads(tuned.read_text()).values()
    assert kept["for"]["torch"] == torch.__version__
    assert [line["way"] for line in kept["measured"]] == [str(TORCH), str(OTHER)]


def test_what_was_measured_in_part_is_not_kept(make_model, tuned, monkeypatch):
    """On a busy machine, time can run out before every candidate is measured; a later run then measures again."""
    model = make_model()
    monkeypatch.setattr(assembly, "candidates", lambda: [TORCH, OTHER])
    run, clock = pretend({TORCH: 9.0, OTHER: 0.1})
    monkeypatch.setattr(assembly, "_prober", lambda model: run)
    assert choose_by_measuring(model, clock) == TORCH
    assert known_choice(model) is None


def test_a_damaged_or_unwritable_memory_is_no_obstacle(make_model, tuned, monkeypatch):
    model = make_model()
    monkeypatch.setattr(assembly, "candidates", lambda: [TORCH])
    tuned.parent.mkdir()
    tuned.write_text("{")
    assert choose_by_measuring(model) == TORCH
    tuned.unlink()
    tuned.mkdir()
    assert choose_by_measuring(model) == TORCH


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
    noise = probe(96).hu[0] - clean_torso(96)
    assert noise.std() == pytest.approx(NOISE_HU, rel=0.01)
    assert {-1000.0, 45.0} <= set(clean_torso(96).flat)


def test_a_choice_is_said_in_words():
    assert str(Choice("openvino", "fp32", 2)) == "OpenVINO, float32, 2 threads"
    assert str(Choice("torch", "bf16", 1)) == "PyTorch, bfloat16, 1 thread"
