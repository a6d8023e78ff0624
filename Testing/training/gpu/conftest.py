"""A data pack of made-up patients, and a configuration that trains on it in seconds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bioatt_training.fit.config import Config
from bioatt_training.gpu import packing
from bioatt_training.gpu.pack import Pack, read_pack
from bioatt_training.gpu.packing import pack_bank

ROOT = Path(__file__).parents[3]
TINY = """
[run]
name = "bioatt-paper"
version = "1"
ema_decay = 0.9
precision = "32-true"

[network]
arm = "bioatt"
filters = 4

[optimiser]
steps = {steps}
algorithm = "adam"
learning_rate = 1e-3
schedule = "cosine"
loss = "mse"
margin = 0

[data]
bank = "pack"
patch = 55
batch = 4
doses = [0.25, 0.25]
prior_perturbation = 0.0
"""


@pytest.fixture(autouse=True)
def few_validation_patches(monkeypatch) -> None:
    """Few enough to validate quickly on a CPU."""
    monkeypatch.setattr(packing, "VALIDATION_PATCHES", 16)


@pytest.fixture
def pack_file(made_up_bank, tmp_path) -> Path:
    """A pack of three training patients with two slices each."""
    pack_bank(made_up_bank(train=3), tmp_path / "pack.npz", 5.0)
    return tmp_path / "pack.npz"


@pytest.fixture
def pack(pack_file) -> Pack:
    """The pack read from `pack_file`."""
    return read_pack(pack_file)


@pytest.fixture
def tiny_file(tmp_path) -> Callable[..., Path]:
    """tiny_file(steps=12) → a TOML file."""

    def make(steps: int = 12) -> Path:
        path = tmp_path / f"tiny-{steps}.toml"
        path.write_text(TINY.format(steps=steps), encoding="utf-8")
        return path

    return make


@pytest.fixture
def tiny(tiny_file) -> Callable[..., Config]:
    """tiny(steps=12, patch=40, …) → the configuration; options are assigned to its tables by name."""

    def make(steps: int = 12, **options: object) -> Config:
        config = Config.read(tiny_file(steps))
        tables = {}
        for name in ("run", "network", "optimiser", "data"):
            table = getattr(config, name)
            tables[name] = replace(table, **{key: options.pop(key) for key in [*options] if hasattr(table, key)})
        assert not options
        return replace(config, **tables)

    return make
