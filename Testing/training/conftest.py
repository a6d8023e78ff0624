"""Small banks, a configuration that trains in a second, and model files of untrained networks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from bioatt_training.data.bank import Slice
from bioatt_training.fit.config import Config, DataConfig, NetworkConfig, OptimiserConfig, RunConfig

SIDE = 120
NOISE_HU = 40.0
GPU_SCRIPT = Path(__file__).parents[2] / "Testing" / "gpu" / "run.sh"
MISSING = ("SimpleITK", "pydicom", "lightning", "safetensors", "numba", "matplotlib")
"""Packages that a GPU machine may lack."""


@pytest.fixture
def machine(tmp_path: Path) -> dict[str, str]:
    """Environment of a machine without the packages in MISSING; results are written to `out`."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {MISSING!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Missing())\n",
        encoding="utf-8",
    )
    (tmp_path / "out").mkdir()
    return {
        **os.environ,
        "PYTHON": sys.executable,
        "PYTHONPATH": str(site),
        "OUT": str(tmp_path / "out"),
        "GPU_PREVIOUS": str(tmp_path / "previous"),
        "OMP_NUM_THREADS": "1",
    }


@pytest.fixture
def ended(machine: dict[str, str]) -> Callable[..., subprocess.CompletedProcess]:
    """ended("check", …) → the completed process of Testing/gpu/run.sh with these arguments on such a machine."""

    script = ["sh", str(GPU_SCRIPT)]

    def run(*command: str) -> subprocess.CompletedProcess:
        return subprocess.run([*script, *command], env=machine, capture_output=True, text=True, timeout=300)

    run.command = script
    return run


@pytest.fixture
def made_up_bank(tmp_path: Path) -> Callable[..., Path]:
    """make(train=2, validation=1, test=3, slices=2) → folder of a bank.

    Each patient is a disc of soft tissue with a dark and a bright inset, 120² px of 0.8 mm; the noise of 40 HU is
    smoothed over 3 px; the prior of slice n is descriptor n mod 17.
    """

    def make(train: int = 2, validation: int = 1, test: int = 3, slices: int = 2, side: int = SIDE) -> Path:
        from scipy.ndimage import uniform_filter

        from bioatt.anatomy.descriptors import load_descriptor_set

        folder = tmp_path / "bank"
        folder.mkdir()
        rng = np.random.default_rng(0)
        owners = [
            (f"{part}-{number}", part)
            for part, count in (("train", train), ("validation", validation), ("test", test))
            for number in range(count)
            for _ in range(slices)
        ]
        y, x = (np.mgrid[:side, :side] - (side - 1) / 2) / side
        described, targets, noises = [], [], []
        for number, (patient, part) in enumerate(owners):
            target = np.full((side, side), -1000.0)
            target[np.hypot(y, x) < 0.48] = 50
            target[np.hypot(y - 0.25, x) < 0.1] = -850
            target[np.hypot(y + 0.3, x - rng.uniform(-0.1, 0.1)) < 0.08] = 600
            target += rng.normal(0, 5, target.shape)
            noise = uniform_filter(rng.normal(size=target.shape), 3)
            described.append(
                Slice(
                    source=f"{number}.nrrd",
                    patient=patient,
                    part=part,
                    pixel_mm=0.8,
                    thickness_mm=3.0,
                    kernel="B30",
                    noise_hu=12.0,
                    offset=number * target.size,
                    shape=(side, side),
                )
            )
            targets.append(np.rint(target).astype(np.int16))
            noises.append(np.rint(noise / noise.std() * NOISE_HU).astype(np.int16))
        np.stack(targets).tofile(folder / "target.bin")
        np.stack(noises).tofile(folder / "noise.bin")
        np.save(folder / "prior.npy", np.eye(17, dtype=np.float32)[np.arange(len(owners)) % 17])
        header = {
            "descriptor_set": "paper17",
            "descriptors": list(load_descriptor_set("paper17").descriptors),
            "prior": "maps",
            "dose_fraction": 0.25,
            "slices": [asdict(one) for one in described],
        }
        (folder / "bank.json").write_text(json.dumps(header), encoding="utf-8")
        return folder

    return make


@pytest.fixture
def shifting_model(tmp_path: Path) -> Callable[..., Path]:
    """make(name, shift_hu) → file of a network that adds a constant to every pixel of its input."""

    def make(name: str = "shift", shift_hu: float = 0.0, arm: str = "base", weighting: str = "anatomical") -> Path:
        import torch

        from bioatt.anatomy.descriptors import load_descriptor_set
        from bioatt.inference.models import save_model
        from bioatt.network import build_network

        network = build_network(arm, 4, 17, weighting)
        with torch.no_grad():
            network.decoder[-1].weight.zero_()
            network.decoder[-1].bias.fill_(shift_hu / 500)
        names = list(load_descriptor_set("paper17").descriptors) if arm == "bioatt" else []
        path = tmp_path / f"{name}.safetensors"
        metadata = {"version": "1", "descriptor_set": "paper17", "descriptors": names, "prior": "maps"}
        save_model(path, network, {**metadata, "training": {}})
        return path

    return make


def write_bank(folder: Path, parts: list[str], side: int = 110) -> Path:
    """Write a bank of side² slices with 60 HU of white noise, each of another patient; the n-th prior peaks at n."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    size = side * side
    target = np.full((len(parts), side, side), 40, np.int16)
    target[:, ::9] += 100
    target.tofile(folder / "target.bin")
    rng.normal(scale=60, size=target.shape).astype(np.int16).tofile(folder / "noise.bin")
    prior = np.full((len(parts), 17), 0.5 / 17) + 0.5 * np.eye(17)[np.arange(len(parts)) % 17]
    np.save(folder / "prior.npy", prior.astype(np.float32))
    slices = [
        Slice("s", f"patient {n}", part, 0.8, 3.0, "B30", 12.0, n * size, (side, side)) for n, part in enumerate(parts)
    ]
    names = [f"d{n}" for n in range(17)]
    header = {"descriptor_set": "paper17", "descriptors": names, "prior": "maps", "dose_fraction": 0.25}
    (folder / "bank.json").write_text(json.dumps({**header, "slices": [asdict(one) for one in slices]}))
    return folder


@pytest.fixture(scope="session")
def bank_folder(tmp_path_factory) -> Path:
    """A bank of a validation slice, six training slices and a validation slice, each with 2 × 2 grid cells."""
    return write_bank(tmp_path_factory.mktemp("banks") / "bank", ["validation", *["train"] * 6, "validation"])


@pytest.fixture
def tiny(bank_folder) -> Callable[..., Config]:
    """A four-filter configuration for that bank that trains in a second; options are assigned to its tables by name."""
    defaults = {
        **{"name": "tiny", "version": "1", "validate_every": 6, "save_every": 4, "ema_decay": 0.5},
        **{"precision": "32-true", "filters": 4, "steps": 18, "learning_rate": 3e-3, "margin": 4},
        **{"bank": str(bank_folder), "patch": 40, "batch": 4, "validation_patches": 8},
    }

    def make(**options: object) -> Config:
        if "epochs" in options:
            options = {"steps": 0, **options}
        values = {**defaults, **options}
        method = values.pop("method", None)
        tables = []
        for kind in (RunConfig, NetworkConfig, OptimiserConfig, DataConfig):
            tables.append(kind(**{name: values.pop(name) for name in list(values) if name in kind.__annotations__}))
        assert not values
        return Config(*tables, method)

    return make
