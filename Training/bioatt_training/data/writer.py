"""Writing a bank (see `bioatt_training.bank`): whole, or not at all."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from bioatt.errors import InputError
from bioatt_training.bank import Slice

LIMITS = {"target.bin": 32000, "noise.bin": 4000, "softened.bin": 32000}
"""The files of voxels, int16 HU, and the largest value in each."""
FILES = (*LIMITS, "prior.npy", "bank.json")


class BankWriter:
    """Context in which slices are added; the folder appears when it ends without an error.

    softened: whether every slice comes with a target of its own beside the scan.
    Raises InputError where the folder exists and holds anything but a bank.
    """

    def __init__(self, folder: Path, header: dict[str, Any], *, softened: bool = False) -> None:
        if folder.exists() and not (folder.is_dir() and {path.name for path in folder.iterdir()} <= set(FILES)):
            raise InputError(f"{folder.name} exists and is no bank: name a new folder")
        self.folder, self.header = folder, header
        self.slices: list[Slice] = []
        self._priors: list[np.ndarray] = []
        self._names = list(LIMITS)[: 3 if softened else 2]
        self._partial = folder.with_name(folder.name + ".partial")

    def __enter__(self) -> BankWriter:
        shutil.rmtree(self._partial, ignore_errors=True)
        self._partial.mkdir(parents=True)
        self._files = [(self._partial / name).open("wb") for name in self._names]
        return self

    def add(
        self,
        scan: np.ndarray,
        noise: np.ndarray,
        prior: np.ndarray,
        about: dict[str, Any],
        softened: np.ndarray | None = None,
    ) -> None:
        """One slice: images (y, x) HU, prior (N,), and the fields of `Slice` save offset and shape."""
        offset = self._files[0].tell() // 2
        self.slices.append(Slice(**about, offset=offset, shape=(scan.shape[0], scan.shape[1])))
        self._priors.append(prior)
        images = [scan, noise] if softened is None else [scan, noise, softened]
        for name, stream, image in zip(self._names, self._files, images, strict=True):
            stream.write(np.clip(np.rint(image), -LIMITS[name], LIMITS[name]).astype(np.int16).tobytes())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for stream in self._files:
            stream.close()
        if kind is not None:
            shutil.rmtree(self._partial, ignore_errors=True)
            return
        np.save(self._partial / "prior.npy", np.stack(self._priors))
        header = {**self.header, "slices": [asdict(one) for one in self.slices]}
        (self._partial / "bank.json").write_text(json.dumps(header, indent=0), encoding="utf-8")
        shutil.rmtree(self.folder, ignore_errors=True)
        self._partial.rename(self.folder)
