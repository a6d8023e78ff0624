"""Slices on training cells to train and evaluate the organ-map network, and their file for GPU training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bioatt.core.errors import InputError
from bioatt.io.files import atomic_write, make_folder
from bioatt_training.priors.rows import Rows, joined

FINE = 2
"""Training cells along a cell of the network: augmentation rotates and stretches them before averaging."""
GRID = 304
"""Training cells along a side of the image: 502 mm."""
AIR_HU = -1000.0
LEVELS_HU = np.concatenate(
    [np.arange(-1000.0, -160, 14), np.arange(-160.0, 280, 4), np.arange(280.0, 1240, 14)]
).astype(np.float32)
"""HU of the 8-bit values of a pack: fine in soft tissue, coarse elsewhere."""
_PARTS = ("train", "validation", "phantom")


@dataclass(frozen=True)
class OrganSlices(Rows):
    """n slices, one row each; C = descriptors + 1 classes, 0 for none.

    images: float16 HU (n, GRID, GRID). labels: uint8 (n, GRID, GRID), class of each cell. possible: bool (n, C),
    possible classes of a cell of 0: only none if everything is outlined. present, sure: bool (n, C - 1), organs of the
    slice, and whether that is known. outlined: bool (n,). patients, files: text (n,). z: (n,) slice of the file.
    """

    images: NDArray[np.float16]
    labels: NDArray[np.uint8]
    possible: NDArray[np.bool_]
    present: NDArray[np.bool_]
    sure: NDArray[np.bool_]
    outlined: NDArray[np.bool_]
    patients: NDArray[np.str_]
    files: NDArray[np.str_]
    z: NDArray[np.int64]


def cells_of(image: NDArray[np.float16]) -> NDArray[np.float32]:
    """Training cells (GRID, GRID) → the network's cells."""
    side = image.shape[0] // FINE
    return image.astype(np.float32).reshape(side, FINE, side, FINE).mean(axis=(1, 3))


def write_pack(path: Path, train: OrganSlices, validation: OrganSlices, phantom: OrganSlices) -> None:
    """Write the data for GPU training: all training rows, the outlined validation rows and the torsos."""
    parts = dict(zip(_PARTS, (train, validation.where(validation.outlined), phantom), strict=True))
    columns = joined(parts.values()).columns()
    stored = quantised(columns.pop("images"))
    # neighbours differ little, so their differences compress better
    stored[:, :, 1:] -= stored[:, :, :-1].copy()
    labels = columns.pop("labels")
    labels[:, :, 1:] -= labels[:, :, :-1].copy()
    part = np.repeat(list(parts), [len(one) for one in parts.values()])
    make_folder(path.parent)
    with atomic_write(path) as partial:
        np.savez_compressed(partial, allow_pickle=False, images=stored, labels=labels, part=part, **columns)


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
        raise InputError(
            f"{path.name} is not a pack of organ slices ({type(error).__name__}): create it again"
        ) from None
    return {name: slices.where(part == name) for name in _PARTS}


def quantised(images: NDArray[np.float16]) -> NDArray[np.uint8]:
    """The nearest level of each HU."""
    edges = (LEVELS_HU[1:] + LEVELS_HU[:-1]) / 2
    return np.stack([np.searchsorted(edges, image.astype(np.float32)).astype(np.uint8) for image in images])
