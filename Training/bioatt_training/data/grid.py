"""The paper's patches: a 9×9 grid of 55² in every slice (§3.1), with its rotations and flips drawn on the fly."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from bioatt.errors import InputError
from bioatt.models import OFFSET_HU, SCALE_HU
from bioatt_training.bank import Bank

PATCH, SIDE = 55, 9


class GridDataset(Dataset):
    """Patch n of the grid, slice by slice: low and target (1, 55, 55) standardised HU, and p (N,).

    The grid begins in the slice's first corner and covers 495² of 512²; a smaller slice has fewer cells. augment: a
    quarter turn, up–down and left–right, each with probability ½ (the paper stores such copies; here they are drawn by
    patch number and epoch).
    """

    def __init__(self, bank: Bank, part: str, *, augment: bool = False, seed: int = 0) -> None:
        self.bank, self.augment, self.seed, self.epoch = bank, augment, seed, 0
        self.places = [place for index in bank.indices(part) for place in _places(index, bank.slices[index].shape)]
        if not self.places:
            raise InputError(f"the bank has no {part} slices of {PATCH} px or more")

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor, Tensor]:
        index, y, x = self.places[number]
        target, noise = (image[y : y + PATCH, x : x + PATCH].astype(np.float32) for image in self.bank.pair(index))
        low = target + noise
        if self.augment:
            rng = np.random.default_rng([self.seed, self.epoch, number])
            turn, vertical, horizontal = rng.random(3) < 0.5
            quarter = int(rng.choice([-1, 1])) if turn else 0
            low, target = (
                np.rot90(image, quarter)[:: -1 if vertical else 1, :: -1 if horizontal else 1]
                for image in (low, target)
            )
        return _standard(low), _standard(target), torch.from_numpy(self.bank.prior[index])


def _places(index: int, shape: tuple[int, int]) -> list[tuple[int, int, int]]:
    rows, columns = (range(0, min(SIDE, length // PATCH) * PATCH, PATCH) for length in shape)
    return [(index, y, x) for y in rows for x in columns]


def _standard(hu: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray((hu - np.float32(OFFSET_HU)) / np.float32(SCALE_HU)))[None]
