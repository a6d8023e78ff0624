"""The paper's patches, a 9×9 grid of 55² in every slice (§3.1), and whole slices, with random orientation."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from bioatt.core.errors import InputError
from bioatt.core.hu import CLIP_HU
from bioatt_training.data.bank import Bank
from bioatt_training.fit.config import GRID_PATCH
from bioatt_training.fit.patches import standardised

PATCH, SIDE = GRID_PATCH, 9


class SliceDataset(Dataset):
    """Whole slices of 55 px or more: low and target (1, y, x) standardised HU, and p (N,).

    Numbers continue over the passes through the data: with n slices, n + 2 is slice 2 of the second pass. augment:
    quarter turn, up-down and left-right flips, each with probability ½, drawn by seed and number (the paper stores such
    copies). alignment: "slice" gives each slice its own prior; "position" gives the k-th slice of the part the k-th row
    of the table of all slices, an error in the authors' code.
    """

    def __init__(
        self, bank: Bank, part: str, *, augment: bool = False, seed: int = 0, alignment: str = "slice"
    ) -> None:
        self.bank, self.augment, self.seed = bank, augment, seed
        indices = bank.indices(part)
        self.prior_row = dict(zip(indices, indices if alignment == "slice" else range(len(indices)), strict=True))
        self.places = self._places(indices)
        if not len(self.places):
            raise InputError(f"the bank has no {part} slices of {PATCH} px or more")

    def _places(self, indices: list[int]) -> NDArray[np.int32]:
        """Slice, first row, first column, height and width of each item."""
        shapes = {index: self.bank.slices[index].shape for index in indices}
        return np.array([(index, 0, 0, *shape) for index, shape in shapes.items() if min(shape) >= PATCH], np.int32)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor, Tensor]:
        index, y, x, height, width = self.places[number % len(self.places)].tolist()
        window = (slice(y, y + height), slice(x, x + width))
        images = (*self.bank.pair(index), self.bank.target(index))
        scan, noise, target = (image[window].astype(np.float32) for image in images)
        low = np.clip(scan + noise, *CLIP_HU)
        if self.augment:
            rng = np.random.default_rng([self.seed, number])
            turn, vertical, horizontal = rng.random(3) < 0.5
            quarter = int(rng.choice([-1, 1])) if turn else 0
            low, target = (
                np.rot90(image, quarter)[:: -1 if vertical else 1, :: -1 if horizontal else 1]
                for image in (low, target)
            )
        return standardised(low), standardised(target), torch.from_numpy(self.bank.prior[self.prior_row[index]])


class GridDataset(SliceDataset):
    """Patches of the grid, slice by slice: low and target (1, 55, 55); otherwise like `SliceDataset`.

    The grid starts in the slice's first corner and covers 495² of 512²; a smaller slice has fewer cells.
    """

    def _places(self, indices: list[int]) -> NDArray[np.int32]:
        cells = [
            (index, y, x, PATCH, PATCH) for index in indices for y, x in grid_corners(self.bank.slices[index].shape)
        ]
        return np.array(cells, np.int32)


def grid_corners(shape: tuple[int, int]) -> list[tuple[int, int]]:
    """First row and column of each cell in a slice of this shape."""
    rows, columns = (range(0, min(SIDE, length // PATCH) * PATCH, PATCH) for length in shape)
    return [(y, x) for y in rows for x in columns]


def cells(images: Tensor) -> Tensor:
    """Cut slices (B, 1, y, x) into the grid: (B · cells, 1, 55, 55)."""
    corners = grid_corners((images.shape[-2], images.shape[-1]))
    return torch.cat([images[..., y : y + PATCH, x : x + PATCH] for y, x in corners])
