"""A bank of training slices: scans, quarter-dose noise and priors, created once and memory-mapped.

Noise for another dose fraction a is the stored noise times √((1/a − 1) / 3), since inserted variance scales as 1/a − 1
(apart from electronic noise). The target is the scan itself, whose own noise stays in the input, or, in banks with
softened targets, the scan as a softer kernel shows it. `bioatt_training.data.writer` writes banks.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bioatt.core.errors import InputError

DOSE = 0.25
BODY_HU = -600
"""Threshold above which a patch's centre is in the body."""


def noise_scale(dose: float) -> np.float32:
    """Factor that turns a quarter dose's inserted noise into that of `dose`: inserted variance scales as 1/dose − 1."""
    return np.float32(np.sqrt((1 / dose - 1) / (1 / DOSE - 1)))


@dataclass(frozen=True)
class Slice:
    """One slice of the bank. offset: start of its voxels in the bank's flat arrays."""

    source: str
    patient: str
    part: str
    pixel_mm: float
    thickness_mm: float | None
    kernel: str | None
    noise_hu: float | None
    offset: int
    shape: tuple[int, int]
    slice_id: str = ""
    spacing_mm: float | None = None


class Bank:
    """A bank on disk: `slices`, `prior` (slices, N), and voxels by slice."""

    def __init__(self, folder: Path) -> None:
        try:
            header = json.loads((folder / "bank.json").read_text(encoding="utf-8"))
        except OSError:
            raise InputError(f"{folder.name} is not a bank of slices: create it with `bioatt-train prepare`") from None
        self.header: dict[str, Any] = header
        self.slices = [Slice(**{**line, "shape": tuple(line["shape"])}) for line in header["slices"]]
        self.prior: NDArray[np.float32] = np.load(folder / "prior.npy")
        self._folder = folder

    def __getstate__(self) -> dict[str, Any]:
        """Drop the mapped files: each process maps them itself, since pickling a map copies all voxels."""
        return {name: value for name, value in self.__dict__.items() if not isinstance(value, np.memmap)}

    @cached_property
    def identity(self) -> str:
        """Fingerprint of the header, the priors and the middle row of every image."""
        digest = hashlib.sha256(json.dumps(self.header, sort_keys=True).encode())
        digest.update(self.prior.tobytes())
        for index in range(len(self.slices)):
            for image in (*self.pair(index), self.target(index)):
                digest.update(image[len(image) // 2].tobytes())
        return digest.hexdigest()[:16]

    @cached_property
    def _scan(self) -> NDArray[np.int16]:
        return np.memmap(self._folder / "target.bin", np.int16, mode="r")

    @cached_property
    def _noise(self) -> NDArray[np.int16]:
        return np.memmap(self._folder / "noise.bin", np.int16, mode="r")

    @cached_property
    def _softened(self) -> NDArray[np.int16] | None:
        path = self._folder / "softened.bin"
        return np.memmap(path, np.int16, mode="r") if path.is_file() else None

    def pair(self, index: int) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
        """Scan and quarter-dose noise of a slice, (y, x) HU, mapped: their sum is the quarter-dose input."""
        return self._image(self._scan, index), self._image(self._noise, index)

    def target(self, index: int) -> NDArray[np.int16]:
        """Training target (y, x) HU, mapped: the scan of `pair`, or its softened form."""
        return self._image(self._scan if self._softened is None else self._softened, index)

    def _image(self, flat: NDArray[np.int16], index: int) -> NDArray[np.int16]:
        one = self.slices[index]
        return flat[one.offset : one.offset + one.shape[0] * one.shape[1]].reshape(one.shape)

    def indices(self, part: str) -> list[int]:
        """Slices of a part: train, validation or test."""
        return [index for index, one in enumerate(self.slices) if one.part == part]
