"""Training patches without scans at both doses."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import zoom
from torch import Tensor
from torch.utils.data import Dataset

from bioatt.core.errors import InputError
from bioatt.core.hu import CLIP_HU
from bioatt_training.data.bank import DOSE, Bank, noise_scale
from bioatt_training.data.prior_augmentation import perturb
from bioatt_training.fit.config import DataConfig
from bioatt_training.fit.patches import PatchDataset, conditioned, standardised, turned

Image = NDArray[np.float32]
SAME_ANATOMY = 0.97
"""Minimum correlation, at an eighth of the resolution, of neighbouring slices that are treated as the same image."""
LEAST_PATIENTS = 2


class PatientPatches(PatchDataset):
    """Patches of some patients of a bank's training part."""

    def __init__(self, bank: Bank, config: DataConfig, patients: Sequence[str], count: int, seed: int) -> None:
        self.patients = frozenset(patients)
        super().__init__(bank, config, "train", count, seed)

    def _candidates(self, part: str) -> list[int]:
        return [index for index in super()._candidates(part) if self.bank.slices[index].patient in self.patients]


class UnpairedPatches(Dataset):
    """Patch number n: low and full dose (1, H, W) of different patients, standardised HU, and p (N,) of each.

    low_bank: low-dose scans. Without it, the half of the bank's patients with the noisier scans is used only at low
    dose, with simulated noise, and the other half only at full dose: a discriminator cannot distinguish doses whose
    noise overlaps.
    """

    def __init__(self, bank: Bank, config: DataConfig, seed: int, low_bank: Bank | None = None) -> None:
        self.scanned_low = low_bank is not None
        patients = _patients_by_noise(bank)
        if low_bank is None and len(patients) < LEAST_PATIENTS:
            raise InputError("unpaired training needs two patients or more, or a bank of low-dose scans: [unpaired]")
        full_patients, low_patients = patients[: len(patients) // 2], patients[len(patients) // 2 :]
        if low_bank is not None:
            low_patients, full_patients = _patients_by_noise(low_bank), patients
        self.low = PatientPatches(low_bank or bank, config, low_patients, 1, seed)
        self.full = PatientPatches(bank, config, full_patients, 1, seed + 1)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        noisy, scan, low_p = self.low[number]
        _, full, full_p = self.full[number]
        return scan if self.scanned_low else noisy, full, low_p, full_p


class LowDosePatches(PatchDataset):
    """Patches of training slices known only at low dose, from which both input and target are derived.

    scanned_low: the bank's scans are low dose; otherwise their quarter-dose noise is added.
    """

    def __init__(
        self, bank: Bank, config: DataConfig, seed: int, *, scanned_low: bool, knows_noise: bool = False
    ) -> None:
        self.scanned_low = scanned_low
        super().__init__(bank, config, "train", 1, seed, knows_noise=knows_noise)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor, Tensor]:
        index, rng = self._drawn(number)
        window = self._window(index, rng)
        turns, flip = int(rng.integers(4)), bool(rng.integers(2))
        slices = self._images(index, rng)
        given, wanted = (standardised(turned(image[window], turns, flip)) for image in slices)
        if self.knows_noise:
            given = conditioned(given, slices[0])
        p = perturb(self.bank.prior[index], self.config.prior_perturbation, rng)
        return given, wanted, torch.from_numpy(p)

    @abstractmethod
    def _images(self, index: int, rng: np.random.Generator) -> tuple[Image, Image]:
        """Input and target of a slice, (y, x) in HU."""

    def _low(self, index: int) -> Image:
        scan, noise = (image.astype(np.float32) for image in self.bank.pair(index))
        return scan if self.scanned_low else np.clip(scan + noise, *CLIP_HU)


class NoisierPatches(LowDosePatches):
    """Noisier2Noise (Moran 2020, arXiv 1910.11908): the low dose with added noise, as if at a fraction a of its dose.

    The target, low dose − a / (1 − a) · added noise, has the noise-free slice as its mean given the input. a is drawn
    from the configuration's doses. The noise added to a simulated low dose is the slice's own noise mirrored
    left-right: similar in strength and texture, and independent except at the midline.
    """

    def _images(self, index: int, rng: np.random.Generator) -> tuple[Image, Image]:
        dose = self._dose(rng)
        noise = self.bank.pair(index)[1].astype(np.float32)
        if self.scanned_low:
            added = noise * noise_scale(dose)
        else:  # as strong as the total noise of the low dose, including the scan's own
            added = noise[:, ::-1] * np.float32(np.sqrt((1 / dose - 1) / (1 - DOSE)))
        low = self._low(index)
        return np.clip(low + added, *CLIP_HU), low - added * np.float32(dose / (1 - dose))


class NeighbourPatches(LowDosePatches):
    """Noise2Noise (Lehtinen 2018, arXiv 1803.04189) with the next slice of the scan as the other noisy image.

    Neighbours differ in more than noise, so structures that change between slices are blurred. Slices without a similar
    neighbour are left out.
    """

    def _candidates(self, part: str) -> list[int]:
        self.next = {}
        slices = self.bank.slices
        for index in super()._candidates(part):
            after = index + 1
            if after < len(slices) and (slices[after].source, slices[after].shape) == (
                slices[index].source,
                slices[index].shape,
            ):
                small = [zoom(self._low(k), 1 / 8, order=1).ravel() for k in (index, after)]
                if np.corrcoef(*small)[0, 1] >= SAME_ANATOMY:
                    self.next[index] = after
        if not self.next:
            raise InputError("no slices of the bank have a similar neighbour: use noisier2noise")
        return list(self.next)

    def _images(self, index: int, rng: np.random.Generator) -> tuple[Image, Image]:
        pair = [index, self.next[index]]
        if rng.random() < 0.5:
            pair.reverse()
        given, wanted = (self._low(k) for k in pair)
        return given, wanted


def _patients_by_noise(bank: Bank) -> list[str]:
    """Patients of the training part, from the least to the most noise; those without a measured noise last."""
    noise: dict[str, list[float]] = {}
    for index in bank.indices("train"):
        one = bank.slices[index]
        noise.setdefault(one.patient, []).append(math.inf if one.noise_hu is None else one.noise_hu)
    return sorted(noise, key=lambda patient: (median(noise[patient]), patient))
