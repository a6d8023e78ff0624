"""Fixtures shared by the engine's tests: a small random model and a CT-like volume."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from bioatt.anatomy.descriptors import load_descriptor_set
from bioatt.cli import main
from bioatt.core.volume import Volume
from bioatt.inference.models import TrainedModel, read_model, save_model
from bioatt.io.images import write_volume
from bioatt.network import build_network

TRAINING = {
    "noise_hu": [2.0, 120.0],
    "pixel_mm": [0.5, 1.0],
    "slice_thickness_mm": [0.6, 8.0],
    "kernels": ["B30f"],
}


@pytest.fixture
def make_model(tmp_path):
    """Return a function that saves and reloads a model with random weights large enough to change the image."""

    def make(arm="bioatt", filters=4, name="tiny", layout="red_cnn", seed=0, **metadata) -> TrainedModel:
        names = load_descriptor_set("paper17").descriptors if arm == "bioatt" else ()
        torch.manual_seed(seed)
        network = build_network(arm, filters, max(len(names), 1), layout=layout)
        for parameter in network.parameters() if layout != "red_cnn" else ():  # an untrained U-net is the identity
            parameter.data.add_(0.05 * torch.randn_like(parameter))
        path = tmp_path / f"{name}.safetensors"
        described = {"descriptor_set": "paper17", "descriptors": list(names), "version": "1", "training": TRAINING}
        save_model(path, network, {**described, **metadata})
        return read_model(path)

    return make


@pytest.fixture
def make_volume():
    """Return a function that makes a noisy ellipse of soft tissue (40 HU) with a lung-like hole, in air (-1000 HU)."""

    def make(slices=3, height=72, width=80, noise=20.0, dtype=np.int16, seed=0, **geometry) -> Volume:
        rng = np.random.default_rng(seed)
        y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        body = (x / 0.85) ** 2 + (y / 0.75) ** 2 < 1
        lung = ((x - 0.4) / 0.2) ** 2 + (y / 0.3) ** 2 < 1
        clean = np.where(lung, -850.0, np.where(body, 40.0, -1000.0))
        hu = clean + noise * rng.normal(size=(slices, height, width))
        if np.dtype(dtype).kind == "i":
            hu = np.rint(hu)
        return Volume(hu.astype(dtype), **{"spacing": (0.8, 0.8, 3.0), **geometry})

    return make


@pytest.fixture
def scan(make_volume, tmp_path):
    path = tmp_path / "scan.nrrd"
    write_volume(make_volume(slices=3), path)
    return path


@pytest.fixture
def denoise(make_model, tmp_path, capfd):
    """Return a function that runs `bioatt denoise` with a small model and returns exit status and stderr lines."""
    make_model()

    def run(source, output, *options):
        model = ["--model", str(tmp_path / "tiny.safetensors"), "--device", "cpu"]
        prior = [] if "--prior" in options else ["--prior", "uniform"]
        status = main(["denoise", str(source), str(output), *model, *prior, *options])
        return status, capfd.readouterr().err.strip().splitlines()

    return run


@pytest.fixture
def series_writer():
    """Module io/conftest.py, which writes synthetic DICOM series: `write_series`, `ct_like`."""
    path = Path(__file__).with_name("io") / "conftest.py"
    specification = importlib.util.spec_from_file_location("series_writer", path)
    writer = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(writer)
    return writer


@pytest.fixture
def gapped(series_writer, tmp_path):
    """A DICOM series with a missing slice."""
    series_writer.write_series(tmp_path / "series", keep=[0, 1, 3, 4])
    return tmp_path / "series"
