"""A network that GPU step `organs` trained: its averaged weights and its record, as `variants` writes them."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from bioatt.core.errors import InputError
from bioatt.network.organ_maps import OrganMapNetwork
from bioatt_training.priors.organ_maps.train import Trained


def adopt(named: str, classes: int) -> Trained:
    """`FILE.pt` or `FILE.pt:VARIANT`, FILE.json beside it → the variant's network of so many classes; without a name
    the variant of the highest mean Dice on the validation patients.

    Raises InputError for files that are no such pair and for a variant that they lack.
    """
    path, variant = _split(named)
    try:
        record = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        weights = torch.load(path, map_location="cpu", weights_only=True)
        variant = variant or max(record, key=lambda name: record[name]["history"][-1]["mean"])
        if variant not in weights or variant not in record:
            raise InputError(f"{path.name} has no variant {variant}: choose from {', '.join(sorted(record))}")
        config = record[variant]["config"]
        network = OrganMapNetwork(classes, tuple(config["widths"]))
        network.load_state_dict(weights[variant])
        return Trained(network, config, int(record[variant]["history"][-1]["step"]))
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{path.name} and {path.stem}.json cannot be adopted ({type(error).__name__}): "
            "name the organs.pt of `Testing/gpu/run.sh organs`, its organs.json beside it"
        ) from None


def _split(named: str) -> tuple[Path, str]:
    path, colon, variant = named.rpartition(":")
    return (Path(path), variant) if colon and path.endswith(".pt") else (Path(named), "")
