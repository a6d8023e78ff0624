"""Random patches from a bank: position, orientation, dose and noise follow from the seed and the patch's number."""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from bioatt.core.errors import InputError
from bioatt.core.hu import CLIP_HU, OFFSET_HU, SCALE_HU
from bioatt_training.data import augmentation as variation
from bioatt_training.data.augmentation import Patch
from bioatt_training.data.bank import BODY_HU, DOSE, Bank, Slice, noise_scale
from bioatt_training.data.prior_augmentation import perturb
from bioatt_training.fit.config import DataConfig

GRID = 8


class PatchDataset(Dataset):
    """Patch number n of a seed is always the same; `count` of them make an epoch.

    Items: low and target (1, patch, patch), standardised HU, and p (N,).
    """

    def __init__(self, bank: Bank, config: DataConfig, part: str, count: int, seed: int) -> None:
        self.bank, self.config, self.count, self.seed = bank, config, count, seed
        self.training = part == "train"
        fitting = [i for i in self._candidates(part) if min(bank.slices[i].shape) >= config.patch]
        if config.own_noise == "removed" and bank.header.get("target", "scan") != "scan":
            raise InputError("[data] own_noise cannot be removed from softened targets: keep it, or use another bank")
        if not fitting:
            raise InputError(f"the bank has no {part} slices of {config.patch} px or more: use smaller patches")
        self.indices = np.array(fitting)
        self.weights = self._weights()
        self.corners = {index: self._corners(index) for index in fitting}

    def _candidates(self, part: str) -> list[int]:
        """Slices of the bank that patches may come from."""
        return self.bank.own_kernel_indices(part) if self.config.own_noise == "removed" else self.bank.indices(part)

    def _weights(self) -> NDArray[np.float64]:
        """Probability of each slice: per patient the root of its number of slices, phantoms in all `phantom_share`."""
        patients = [self.bank.slices[index].patient for index in self.indices]
        counts = Counter(patients)
        weights = np.array([1 / np.sqrt(counts[patient]) for patient in patients])
        phantom = np.array([self.bank.slices[index].is_phantom for index in self.indices])
        share = self.config.phantom_share if phantom.any() else 0.0
        for members, part in ((phantom, share), (~phantom, 1 - share)):
            if members.any():
                weights[members] *= part / weights[members].sum()
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
        index, rng, sign = self._drawn(number)
        scan, noise = self.bank.pair(index)
        window = self._window(index, rng)
        images = (scan, noise, self.bank.target(index))
        full, extra, target = (image[window].astype(np.float32) for image in images)
        p, dose = self.bank.prior[index], DOSE
        if self.training:
            dose = float(np.exp(rng.uniform(*np.log(self.config.doses))))
            extra *= sign * noise_scale(dose)
            full, extra, target = self._varied(full, extra, target, self.bank.slices[index], rng)
            p = perturb(p, self.config.prior_perturbation, rng)
        low = np.clip(full + extra, *CLIP_HU)
        if self.config.own_noise == "removed" and not self.bank.slices[index].is_phantom:
            target = target - extra * np.float32(dose / (1 - dose))
        return standardised(low), standardised(target), torch.from_numpy(p)

    def _window(self, index: int, rng: np.random.Generator) -> tuple[slice, slice]:
        """Rows and columns of a patch whose centre lies in the body."""
        corners, size = self.corners[index], self.config.patch
        corner = corners[rng.integers(len(corners))] + rng.integers(GRID, size=2)
        y, x = np.minimum(corner, np.array(self.bank.slices[index].shape) - size).tolist()
        return slice(y, y + size), slice(x, x + size)

    def _drawn(self, number: int) -> tuple[int, np.random.Generator, int]:
        """Slice, random generator and sign of the noise of a patch.

        With `opposite_noise`, numbers 2k and 2k + 1 have one slice, and on a phantom all but the sign in common.
        """
        rng = np.random.default_rng([self.seed, number])
        if not (self.training and self.config.opposite_noise):
            return int(rng.choice(self.indices, p=self.weights)), rng, 1
        shared = np.random.default_rng([self.seed, number // 2, 1])
        index = int(shared.choice(self.indices, p=self.weights))
        return (index, shared, 1 - 2 * (number % 2)) if self.bank.slices[index].is_phantom else (index, rng, 1)

    def _varied(
        self, full: Patch, extra: Patch, target: Patch, about: Slice, rng: np.random.Generator
    ) -> tuple[Patch, Patch, Patch]:
        """The three images in the same orientation, some patches with inserts or another kernel, as configured."""
        turns, flip = int(rng.integers(4)), bool(rng.integers(2))
        full, extra, target = (turned(image, turns, flip) for image in (full, extra, target))
        if self.config.insert_share and rng.random() < self.config.insert_share:
            added = variation.inserts(full, about.pixel_mm, about.kernel, rng)
            full, target = full + added, target + added
        if self.config.kernel_share and rng.random() < self.config.kernel_share:
            factor = variation.kernel_change(full.shape, about.pixel_mm, rng)
            full, extra, target = (variation.filtered(image, factor) for image in (full, extra, target))
        return full, extra, target


def turned(image: NDArray[np.float32], turns: int, flip: bool) -> NDArray[np.float32]:
    """Quarter turns, then up-down."""
    image = np.rot90(image, turns)
    return image[::-1] if flip else image


def standardised(hu: NDArray[np.float32]) -> Tensor:
    """A slice or patch (y, x) in HU as the network's (1, y, x)."""
    return torch.from_numpy((np.ascontiguousarray(hu) - np.float32(OFFSET_HU)) / np.float32(SCALE_HU))[None]
