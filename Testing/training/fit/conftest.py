"""A small bank and a configuration that trains on it in a second."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from bioatt_training.data.bank import Slice
from bioatt_training.fit.config import Config, DataConfig, NetworkConfig, OptimiserConfig, RunConfig

SIDE = 110


def write_bank(folder: Path, parts: list[str], side: int = SIDE) -> Path:
    """Slices of side² with white noise of 60 HU, one patient and one part each; the n-th prior peaks at n."""
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
    header = {"descriptor_set": "paper17", "descriptors": names, "prior": "embedded", "dose_fraction": 0.25}
    (folder / "bank.json").write_text(json.dumps({**header, "slices": [asdict(one) for one in slices]}))
    return folder


@pytest.fixture(scope="session")
def bank_folder(tmp_path_factory) -> Path:
    """Validation, six training slices of 2 × 2 cells of the grid, validation."""
    return write_bank(tmp_path_factory.mktemp("banks") / "bank", ["validation", *["train"] * 6, "validation"])


@pytest.fixture
def tiny(bank_folder) -> Callable[..., Config]:
    """A configuration of four filters over that bank; options are sorted into its tables by name."""
    defaults = {
        **{"name": "tiny", "version": "1", "validate_every": 6, "save_every": 4, "ema_decay": 0.5},
        **{"precision": "32-true", "filters": 4, "steps": 18, "learning_rate": 3e-3, "margin": 4},
        **{"bank": str(bank_folder), "patch": 40, "batch": 4, "validation_patches": 8},
    }

    def make(**options: object) -> Config:
        if "epochs" in options:
            options = {"steps": 0, **options}
        values = {**defaults, **options}
        tables = []
        for kind in (RunConfig, NetworkConfig, OptimiserConfig, DataConfig):
            tables.append(kind(**{name: values.pop(name) for name in list(values) if name in kind.__annotations__}))
        assert not values
        return Config(*tables)

    return make
