"""Random patches from a bank: position, orientation, dose and noise are determined by the seed and the patch number."""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from bioatt.core.errors import InputError
from bioatt.core.hu import CLIP_HU, OFFSET_HU, SCALE_HU
from bioatt.core.noise import noise_level
from bioatt.network.slab_unet import alone
from bioatt_training.data.bank import BODY_HU, Bank, noise_scale
from bioatt_training.data.prior_augmentation import perturb
from bioatt_training.fit.config import DataConfig

GRID = 8


class PatchDataset(Dataset):
    """Patch n of a seed is always the same; an epoch has `count` patches.

    Items: low and target (1, patch, patch), standardised HU, and p (N,). knows_noise: low in the format of
    `conditioned`.
    """

    def __init__(
        self, bank: Bank, config: DataConfig, part: str, count: int, seed: int, *, knows_noise: bool = False
    ) -> None:
        self.bank, self.config, self.count, self.seed = bank, config, count, seed
        self.knows_noise = knows_noise
        self.training = part == "train"
        fitting = [i for i in self._candidates(part) if min(bank.slices[i].shape) >= config.patch]
        if not fitting:
            raise InputError(f"the bank has no {part} slices of {config.patch} px or more: use smaller patches")
        self.indices = np.array(fitting)
        self.weights = self._weights()
        self.corners = {index: self._corners(index) for index in fitting}

    def _candidates(self, part: str) -> list[int]:
        """Slices of the bank from which patches are drawn."""
        return self.bank.indices(part)

    def _weights(self) -> NDArray[np.float64]:
        """Probability of each slice; a patient's weight is the square root of its number of slices."""
        patients = [self.bank.slices[index].patient for index in self.indices]
        counts = Counter(patients)
        weights = np.array([1 / np.sqrt(counts[patient]) for patient in patients])
        return weights / weights.sum()

    def _corners(self, index: int) -> NDArray[np.int64]:
        """Upper left corners of patches whose centre lies in the body, on a coarse grid."""
        target, _ = self.bank.pair(index)
        half, size = self.config.patch // 2, self.config.patch
        centres = target[
            half : target.shape[0] - size + half + 1 : GRID, half : target.shape[1] - size + half + 1 : GRID
        ]
        corners = np.argwhere(centres > BODY_HU) * GRID
        return corners if corners.size else np.zeros((1, 2), np.int64)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor, Tensor]:
        index, rng = self._drawn(number)
        window = self._window(index, rng)
        images = (*self.bank.pair(index), self.bank.target(index))
        scan, noise, target = (image[window].astype(np.float32) for image in images)
        p, scale = self.bank.prior[index], np.float32(1)
        if self.training:
            scale = noise_scale(self._dose(rng))
            turns, flip = int(rng.integers(4)), bool(rng.integers(2))
            scan, noise, target = (turned(image, turns, flip) for image in (scan, noise, target))
            p = perturb(p, self.config.prior_perturbation, rng)
        low = standardised(np.clip(scan + scale * noise, *CLIP_HU))
        if self.knows_noise:
            low = conditioned(low, images[0] + scale * images[1])
        return low, standardised(target), torch.from_numpy(p)

    def _drawn(self, number: int) -> tuple[int, np.random.Generator]:
        """Slice of a patch, and the random generator for everything else drawn for it."""
        rng = np.random.default_rng([self.seed, number])
        return int(rng.choice(self.indices, p=self.weights)), rng

    def _dose(self, rng: np.random.Generator) -> float:
        return float(np.exp(rng.uniform(*np.log(self.config.doses))))

    def _window(self, index: int, rng: np.random.Generator) -> tuple[slice, slice]:
        """Rows and columns of a patch whose centre lies in the body."""
        corners, size = self.corners[index], self.config.patch
        corner = corners[rng.integers(len(corners))] + rng.integers(GRID, size=2)
        y, x = np.minimum(corner, np.array(self.bank.slices[index].shape) - size).tolist()
        return slice(y, y + size), slice(x, x + size)


def turned(image: NDArray[np.float32], turns: int, flip: bool) -> NDArray[np.float32]:
    """Quarter turns, then up-down."""
    image = np.rot90(image, turns)
    return image[::-1] if flip else image


def standardised(hu: NDArray[np.float32]) -> Tensor:
    """A slice or patch (y, x) in HU as network input (1, y, x)."""
    return torch.from_numpy((np.ascontiguousarray(hu) - np.float32(OFFSET_HU)) / np.float32(SCALE_HU))[None]


def conditioned(patch: Tensor, hu: NDArray[np.float32]) -> Tensor:
    """A patch (1, H, W) of the slice hu (y, x) in the format of `slab_unet.alone`, with the slice's noise level."""
    return alone(patch[None], noise_level(hu))[0]
