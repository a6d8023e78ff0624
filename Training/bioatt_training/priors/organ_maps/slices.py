"""Slices that train and judge the organ-map network, on training cells."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

FINE = 2
"""Training cells along a cell of the network: augmentation turns and stretches them before they are averaged."""
GRID = 304
"""Training cells along a side of the image: 502 mm."""
AIR_HU = -1000.0


@dataclass(frozen=True)
class OrganSlices:
    """n slices, one row each; C = descriptors + 1 classes, 0 for none.

    images: float16 HU (n, GRID, GRID). labels: uint8 (n, GRID, GRID), class of each cell. possible: bool (n, C), what a
    cell of 0 may be: only none where all is outlined. present, sure: bool (n, C - 1), organs of the slice, and whether
    that is known. outlined: bool (n,). patients, files: text (n,). z: (n,) slice of the file.
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

    def __len__(self) -> int:
        return len(self.z)

    def where(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> OrganSlices:
        """Only these rows."""
        return OrganSlices(**{one.name: getattr(self, one.name)[rows] for one in fields(self)})


def joined(parts: Iterable[OrganSlices]) -> OrganSlices:
    """The rows of all parts."""
    listed = list(parts)
    return OrganSlices(
        **{one.name: np.concatenate([getattr(part, one.name) for part in listed]) for one in fields(OrganSlices)}
    )


def cells_of(image: NDArray[np.float16]) -> NDArray[np.float32]:
    """Training cells (GRID, GRID) → the network's cells."""
    side = image.shape[0] // FINE
    return image.astype(np.float32).reshape(side, FINE, side, FINE).mean(axis=(1, 3))
