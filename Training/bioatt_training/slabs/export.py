"""Trained networks as model files: averaged weights in float16, and a description of the training data."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bioatt.anatomy.descriptors import DescriptorSet
from bioatt.core.errors import InputError
from bioatt.core.noise import noise_sd
from bioatt.inference.models import save_model
from bioatt.network.slab_unet import SlabUNet
from bioatt_training.slabs.stacks import Plan, Stack
from bioatt_training.slabs.train import RECORD


def export(
    outputs: Path, out: Path, descriptors: DescriptorSet, stacks: Sequence[Stack], plans: Sequence[Plan], version: str
) -> dict[str, Path]:
    """Write NAME.safetensors for every network in `outputs` to `out`; returns the paths by name.

    Raises InputError if `outputs` contains no training.
    """
    try:
        record = json.loads((outputs / RECORD).read_text(encoding="utf-8"))
        weights = {name: torch.load(outputs / f"{name}.pt", weights_only=True) for name in record["recipe"]["filters"]}
    except (OSError, KeyError, ValueError) as error:
        raise InputError(
            f"{outputs.name} holds no training of the network ({type(error).__name__}): give its output folder"
        ) from None
    training = training_of(record, stacks, plans)
    paths = {}
    for name, filters in record["recipe"]["filters"].items():
        network = SlabUNet("bioatt", filters, len(descriptors))
        network.load_state_dict(weights[name])
        last = record["history"][-1]
        metadata = {
            "version": version,
            "descriptor_set": descriptors.name,
            "descriptors": list(descriptors.descriptors),
            "prior": "maps",
            "training": training,
            "recipe": record["recipe"],
            "changes": record.get("changes", []),
            "metrics": {key: last[f"{name} {key}"] for key in ("with", "alone") if f"{name} {key}" in last},
        }
        paths[name] = out / f"{name}.safetensors"
        save_model(paths[name], network.half(), metadata)
    return paths


def training_of(record: Mapping[str, Any], stacks: Sequence[Stack], plans: Sequence[Plan]) -> dict[str, Any]:
    """Description of the training in a model file; `bioatt.inference.suitability` compares scans with it."""
    taught = [one for one in stacks if one.part == "train" and not one.phantom]
    noise = [noise_sd(image) for stack in taught for image in stack.hu]
    drawing = record["recipe"]["drawing"]
    doses = drawing["doses"]
    low, high = np.nanpercentile(noise, [5, 95])
    thickness, pixel = [one.thickness_mm for one in taught], [one.pixel_mm for one in stacks]
    return {
        "noise_hu": [round(float(low / np.sqrt(doses[1])), 1), round(float(high / np.sqrt(doses[0])), 1)],
        "pixel_mm": [round(min(pixel), 2), round(max(pixel), 2)],
        "slice_thickness_mm": [float(np.nanmin(thickness)), float(np.nanmax(thickness))],
        "kernels": sorted({one.kernel for one in plans if one.part == "train" and one.kernel}),
        "doses": doses,
        "patients": len({one.patient for one in taught}),
        "slices": sum(len(one.hu) for one in taught),
        "phantoms": sum(one.phantom for one in stacks),
        "patch": drawing["patch"],
        "steps": record["step"],
        "patches_shown": record["step"] * drawing["batch"],
        "seed": record["recipe"]["seed"],
    }
