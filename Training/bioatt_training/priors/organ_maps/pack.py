"""The slices that a training on the card needs, in one file: HU in 8 bits, fine in soft tissue, coarse beyond."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bioatt.core.errors import InputError
from bioatt_training.priors.organ_maps.slices import OrganSlices, joined

LEVELS_HU = np.concatenate(
    [np.arange(-1000.0, -160, 14), np.arange(-160.0, 280, 4), np.arange(280.0, 1240, 14)]
).astype(np.float32)
"""HU of each stored value."""
_PARTS = ("train", "validation", "phantom")


def write_pack(path: Path, train: OrganSlices, validation: OrganSlices, phantom: OrganSlices) -> None:
    """Write all training rows, the outlined validation rows and the torsos'."""
    parts = dict(zip(_PARTS, (train, validation.where(validation.outlined), phantom), strict=True))
    columns = {one.name: getattr(joined(parts.values()), one.name) for one in fields(OrganSlices)}
    stored = quantised(columns.pop("images"))
    # neighbours differ little: their differences compress to less
    stored[:, :, 1:] -= stored[:, :, :-1].copy()
    labels = columns.pop("labels")
    labels[:, :, 1:] -= labels[:, :, :-1].copy()
    part = np.repeat(list(parts), [len(one) for one in parts.values()])
    partial = path.with_suffix(".partial.npz")
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(partial, allow_pickle=False, images=stored, labels=labels, part=part, **columns)
    partial.replace(path)


def read_pack(path: Path) -> dict[str, OrganSlices]:
    """Slices by part: train, validation, phantom. Raises InputError for another file."""
    try:
        with np.load(path) as held:
            columns = {name: held[name] for name in held.files}
        part = columns.pop("part")
        images = np.cumsum(columns.pop("images"), axis=2, dtype=np.uint8)
        columns["images"] = LEVELS_HU.astype(np.float16)[images]
        columns["labels"] = np.cumsum(columns["labels"], axis=2, dtype=np.uint8)
        slices = OrganSlices(**columns)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path.name} is no pack of organ slices ({type(error).__name__}): make it again") from None
    return {name: slices.where(part == name) for name in _PARTS}


def quantised(images: NDArray[np.float16]) -> NDArray[np.uint8]:
    """The nearest level of each HU."""
    edges = (LEVELS_HU[1:] + LEVELS_HU[:-1]) / 2
    return np.stack([np.searchsorted(edges, image.astype(np.float32)).astype(np.uint8) for image in images])
