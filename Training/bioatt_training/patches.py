"""Random patches from a bank: place, orientation, dose and noise drawn anew each time, reproducibly by number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from bioatt.errors import InputError
from bioatt.models import OFFSET_HU, SCALE_HU
from bioatt_training.bank import DOSE, Bank
from bioatt_training.prior_perturbation import perturb

BODY_HU = -600
CLIP_HU = (-1024, 3071)
"""What a scanner stores: noise in lung and air is cut off at the lower end, which the network must expect."""
GRID = 8


@dataclass(frozen=True)
class DataConfig:
    """What a run is fed. doses: range of dose fractions, drawn evenly on a log scale; validation uses quarter dose.

    phantom_share: part of the patches that come from phantoms, whose targets are noise-free.
    prior_perturbation: part of the patches that are shown another prior than their own (see `prior_perturbation`).
    """

    bank: str
    patch: int = 128
    batch: int = 8
    doses: tuple[float, float] = (0.1, 0.6)
    phantom_share: float = 0.2
    prior_perturbation: float = 0.3
    validation_patches: int = 256


class PatchDataset(Dataset):
    """Patch number n of a seed is always the same; `count` of them make an epoch.

    Items: low and target (1, patch, patch), standardised HU, and p (N,).
    """

    def __init__(self, bank: Bank, config: DataConfig, part: str, count: int, seed: int) -> None:
        self.bank, self.config, self.count, self.seed = bank, config, count, seed
        self.training = part == "train"
        fitting = [i for i in bank.indices(part) if min(bank.slices[i].shape) >= config.patch]
        if not fitting:
            raise InputError(f"the bank has no {part} slices of {config.patch} px or more: use smaller patches")
        self.indices = np.array(fitting)
        self.weights = self._weights()
        self.corners = {index: self._corners(index) for index in fitting}

    def _weights(self) -> NDArray[np.float64]:
        """Chance of each slice: patients weigh as the root of their slices, phantoms as `phantom_share`."""
        patients = [self.bank.slices[index].patient for index in self.indices]
        counts = Counter(patients)
        weights = np.array([1 / np.sqrt(counts[patient]) for patient in patients])
        phantom = np.array([patient.startswith("phantom-") for patient in patients])
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
        rng = np.random.default_rng([self.seed, number])
        index = int(rng.choice(self.indices, p=self.weights))
        target, noise = self.bank.pair(index)
        corners = self.corners[index]
        size = self.config.patch
        corner = corners[rng.integers(len(corners))] + rng.integers(GRID, size=2)
        y, x = np.minimum(corner, np.array(target.shape) - size)
        window = (slice(y, y + size), slice(x, x + size))
        clean, extra = target[window].astype(np.float32), noise[window].astype(np.float32)
        p = self.bank.prior[index]
        if self.training:
            extra *= noise_scale(float(np.exp(rng.uniform(*np.log(self.config.doses)))))
            turns, flip = int(rng.integers(4)), bool(rng.integers(2))
            clean, extra = (_turned(image, turns, flip) for image in (clean, extra))
            p = perturb(p, self.config.prior_perturbation, rng)
        low = np.clip(clean + extra, *CLIP_HU)
        return _standard(low), _standard(clean), torch.from_numpy(p)


def noise_scale(dose: float) -> np.float32:
    """Factor that turns a quarter dose's inserted noise into that of `dose`: inserted variance goes as 1/dose − 1."""
    return np.float32(np.sqrt((1 / dose - 1) / (1 / DOSE - 1)))


def _turned(image: NDArray[np.float32], turns: int, flip: bool) -> NDArray[np.float32]:
    turned = np.rot90(image, turns)
    return turned[::-1] if flip else turned


def _standard(hu: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy((np.ascontiguousarray(hu) - np.float32(OFFSET_HU)) / np.float32(SCALE_HU))[None]


class ResumableLoader(DataLoader):
    """Batches in order of the patches' numbers. Its state lets the trainer go on where a checkpoint was written."""

    def __init__(self, dataset: PatchDataset, batch: int) -> None:
        self._numbers = _Numbers(len(dataset))
        self._batches = 0
        super().__init__(dataset, batch_size=batch, sampler=self._numbers)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        self._batches = self._numbers.first // (self.batch_size or 1)
        for batch in super().__iter__():
            self._batches += 1
            yield batch
        self._numbers.first = 0

    def state_dict(self) -> dict[str, int]:
        """How many batches were given out."""
        return {"batches": self._batches}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Begin the next iteration after that many batches."""
        self._numbers.first = state["batches"] * (self.batch_size or 1)


class _Numbers(Sampler[int]):
    """first, first + 1, … count − 1."""

    def __init__(self, count: int) -> None:
        self.first, self.count = 0, count

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.first, self.count))

    def __len__(self) -> int:
        return self.count


class PatchData:
    """The loaders of a run, and what its model file will say about the data."""

    def __init__(self, config: DataConfig, seed: int, steps: int) -> None:
        self.config = config
        self.bank = Bank(Path(config.bank))
        self.train = PatchDataset(self.bank, config, "train", steps * config.batch, seed)
        self.validation = PatchDataset(self.bank, config, "validation", config.validation_patches, 0)

    @property
    def descriptors(self) -> tuple[str, ...]:
        """Names of the prior's columns."""
        return tuple(self.bank.header["descriptors"])

    def train_loader(self) -> DataLoader:
        """The run's patches, in order of their number: an epoch is the run."""
        return ResumableLoader(self.train, self.config.batch)

    def validation_loader(self) -> DataLoader:
        """The same quarter-dose patches of left-out patients every time."""
        return DataLoader(self.validation, batch_size=self.config.batch)

    def description(self) -> dict[str, Any]:
        """Ranges of the training slices: what `bioatt.suitability` holds a scan against."""
        slices = [self.bank.slices[index] for index in self.bank.indices("train")]
        noise = [one.noise_hu for one in slices if one.noise_hu]
        thickness = [one.thickness_mm for one in slices if one.thickness_mm is not None]
        pixel = [one.pixel_mm for one in slices]
        return {
            "noise_hu": [round(float(bound), 1) for bound in _input_noise(noise, self.config.doses)],
            "pixel_mm": [round(min(pixel), 2), round(max(pixel), 2)],
            "slice_thickness_mm": [min(thickness), max(thickness)],
            "kernels": sorted({one.kernel for one in slices if one.kernel}),
            "doses": list(self.config.doses),
            "patients": len({one.patient for one in slices if not one.patient.startswith("phantom-")}),
            "slices": len(slices),
            "phantoms": len({one.patient for one in slices if one.patient.startswith("phantom-")}),
            "patch": self.config.patch,
        }


def _input_noise(noise_hu: list[float], doses: tuple[float, float]) -> tuple[float, float]:
    """Range of σ that inputs had: the targets' 5th to 95th percentile, raised by the highest and the lowest dose."""
    low, high = np.percentile(noise_hu, [5, 95])
    return low / np.sqrt(doses[1]), high / np.sqrt(doses[0])
