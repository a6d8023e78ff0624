"""Attention maps of one slice as in the paper's figures 8–15, and their saturation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bioatt.core.attention_views import SCALE, contrast
from bioatt.core.body import body_mask
from bioatt.core.hu import CLIP_HU, OFFSET_HU, SCALE_HU
from bioatt.inference import tiling
from bioatt.inference.models import TrainedModel
from bioatt.network import Stage
from bioatt_training.data.bank import Bank

ORGANS = ("lungs", "mediastinum", "liver", "spine")
"""Descriptors to show, if the bank has them; the paper's figures show a slice through the lungs."""
SATURATED = 0.95


def shown_slice(bank: Bank) -> int:
    """The test slice with the largest lung probability in its prior; the first for descriptors without lungs."""
    indices, names = bank.indices("test"), bank.header["descriptors"]
    if "lungs" not in names:
        return indices[0]
    return indices[int(np.argmax(bank.prior[indices, names.index("lungs")]))]


def shown_organs(names: tuple[str, ...]) -> list[str]:
    """Four of a model's descriptors, in the order of the figures."""
    return [*[organ for organ in ORGANS if organ in names], *[name for name in names if name not in ORGANS]][:4]


def maps_of(model: TrainedModel, bank: Bank, index: int) -> dict[Stage, NDArray[np.float32]]:
    """A (N, y, x) of both stages for the low dose of a slice, independent of the weighting by pₙ."""
    scan, noise = bank.pair(index)
    low = np.clip(scan.astype(np.float32) + noise, *CLIP_HU)
    padded = torch.from_numpy(tiling.pad((low - OFFSET_HU) / SCALE_HU, model.network).astype(np.float32))[None]
    p = torch.from_numpy(bank.prior[index]) if model.network.uses_prior else None
    record: dict[Stage, torch.Tensor] = {}
    with torch.inference_mode(), torch.random.fork_rng():
        torch.manual_seed(0)  # the random arm's "last" maps depend on the weights drawn at "middle"
        tiling.run(model.network, padded, p, tiling.Box(0, low.shape[0], 0, low.shape[1]), record=record)
    return {stage: maps.numpy() for stage, maps in record.items()}


def maps_file(folder: Path, epoch: int) -> Path:
    """Path of a run's maps of an epoch."""
    return folder / f"attention-{epoch:03d}.npz"


def kept_maps(folder: Path) -> dict[int, Path]:
    """The maps kept by a run, by epoch."""
    return {int(path.stem.partition("-")[2]): path for path in sorted(folder.glob("attention-*.npz"))}


def keep_maps(model: TrainedModel, bank: Bank, index: int, path: Path, epoch: int) -> list[dict[str, Any]]:
    """Write the maps for the figures to an .npz file and return each stage's statistics over the body.

    The file has "STAGE/contrast" (4, y, x), int8, 127 = 1, of `shown_organs`, and "STAGE/mean" (y, x), uint8, 255 = 1,
    the mean of A over the organs. Figures: {"epoch", "stage", "mean", "saturated": fraction of A above 0.95,
    "organ_spread": mean over the body of the standard deviation of A between organs, "pixel_spread": mean over organs
    of that between pixels}.
    """
    body = body_mask(bank.pair(index)[0].astype(np.float32))
    body = body if body.any() else np.ones_like(body)
    pictures: dict[str, Any] = {}
    figures = []
    for stage, maps in maps_of(model, bank, index).items():
        inside = maps[:, body]
        figures.append(
            {
                "epoch": epoch,
                "stage": stage,
                "mean": float(inside.mean()),
                "saturated": float((inside > SATURATED).mean()),
                "organ_spread": float(inside.std(axis=0).mean()),
                "pixel_spread": float(inside.std(axis=1).mean()),
            }
        )
        stored = {name: _stored(one * body) for name, one in zip(model.descriptors, maps, strict=True)}
        views = [contrast(stored, name) for name in shown_organs(model.descriptors)]
        pictures[f"{stage}/contrast"] = np.rint(np.stack(views) * 127).astype(np.int8)
        pictures[f"{stage}/mean"] = _stored(maps.mean(axis=0))
    np.savez_compressed(path, **pictures)
    return figures


def _stored(a: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.rint(np.clip(a, 0, 1) / SCALE).astype(np.uint8)
