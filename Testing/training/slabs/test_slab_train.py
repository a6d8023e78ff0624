"""Training of the networks for neighbouring slices: it learns, resumes, and exports models that can be loaded."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bioatt.anatomy.descriptors import load_descriptor_set
from bioatt.core.errors import InputError
from bioatt.inference.models import read_model
from bioatt_training.slabs.batches import Drawing
from bioatt_training.slabs.export import export
from bioatt_training.slabs.pack import Pack
from bioatt_training.slabs.stacks import Plan, Stack
from bioatt_training.slabs.train import Recipe, Stop, Training, dead_units

RECIPE = Recipe(
    filters={"bioatt": 4, "bioatt-fast": 2},
    drawing=Drawing(patch=64, batch=6, phantoms=2, seed=2),
    steps=4,
    warm_up=2,
)
CPU = torch.device("cpu")


def run(pack: Pack, folder: Path, steps: int) -> Training:
    folder.mkdir(exist_ok=True)
    training = Training(pack, replace(RECIPE, steps=steps), folder, CPU)
    training.run(math.inf, 600, Stop(), lambda line: None)
    return training


def test_a_training_goes_on_and_exports_models(pack: Pack, tmp_path: Path) -> None:
    first = run(pack, tmp_path / "run", 3)
    assert first.step == 3
    again = Training(pack, replace(RECIPE, steps=5), tmp_path / "run", CPU)
    assert again.step == 3
    assert again.record["changes"] == ["after step 3: steps 3 → 5"], "told in the model card"
    for name, network in again.networks.items():
        for key, value in network.state_dict().items():
            torch.testing.assert_close(value, first.networks[name].state_dict()[key], msg=key)
    stack = Stack(
        "s", "a", "train", pack.hu[:3], pack.hu[:3] * 0, np.arange(3), pack.own_level[:3], pack.quarter_level[:3],
        pack.response[0], 1.25, 0.8, 1.0, 0.3, phantom=False,
    )  # fmt: skip
    plan = Plan(Path("s.nrrd"), "a", "train", "B30", 1.0, 0.3, 3)
    paths = export(tmp_path / "run", tmp_path, load_descriptor_set("paper17"), [stack], [plan], "0.1")
    model = read_model(paths["bioatt-fast"])
    assert model.network.layout == "slab_unet"
    assert model.metadata["prior"] == "maps"
    assert model.metadata["training"]["kernels"] == ["B30"]
    assert model.metadata["training"]["steps"] == 3


def test_networks_learn(pack: Pack, tmp_path: Path) -> None:
    """A few dozen steps reduce the noise of flat slices."""
    training = Training(
        pack,
        replace(RECIPE, steps=60, learning_rate=3e-3, averaging=0.5, floor_hu=(20.0, 20.0), bias_weight=0.0),
        tmp_path,
        CPU,
    )
    assert training.validate()["bioatt alone"] == pytest.approx(1)
    training.run(math.inf, 600, Stop(), lambda line: None)
    assert training.validate()["bioatt alone"] < 0.998


def test_dead_units_are_counted(pack: Pack, tmp_path: Path) -> None:
    training = Training(pack, RECIPE, tmp_path, CPU)
    network, batch = training.networks["bioatt"], training.validation[0]
    alive = dead_units(network, batch)
    block = network.encoder[0][0]
    total = sum(one.conv1.out_channels for one in network.modules() if isinstance(one, type(block)))
    torch.nn.init.constant_(block.conv1.bias, -1e6)
    assert dead_units(network, batch) - alive == pytest.approx(block.conv1.out_channels / total, abs=0.05)


def test_a_folder_without_a_training_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no training"):
        export(tmp_path, tmp_path, load_descriptor_set("paper17"), [], [], "1")
