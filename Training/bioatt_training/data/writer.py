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

FILES = ("target.bin", "noise.bin", "prior.npy", "bank.json")


class BankWriter:
    """Context in which slices are added; the folder appears when it ends without an error.

    Raises InputError where the folder exists and holds anything but a bank.
    """

    def __init__(self, folder: Path, header: dict[str, Any]) -> None:
        if folder.exists() and not (folder.is_dir() and {path.name for path in folder.iterdir()} <= set(FILES)):
            raise InputError(f"{folder.name} exists and is no bank: name a new folder")
        self.folder, self.header = folder, header
        self.slices: list[Slice] = []
        self._priors: list[np.ndarray] = []
        self._partial = folder.with_name(folder.name + ".partial")

    def __enter__(self) -> BankWriter:
        shutil.rmtree(self._partial, ignore_errors=True)
        self._partial.mkdir(parents=True)
        self._target = (self._partial / "target.bin").open("wb")
        self._noise = (self._partial / "noise.bin").open("wb")
        return self

    def add(self, target: np.ndarray, noise: np.ndarray, prior: np.ndarray, about: dict[str, Any]) -> None:
        """One slice: target and noise (y, x) HU, prior (N,), and the fields of `Slice` save offset and shape."""
        offset = self._target.tell() // 2
        self.slices.append(Slice(**about, offset=offset, shape=(target.shape[0], target.shape[1])))
        self._priors.append(prior)
        for stream, image, limit in ((self._target, target, 32000), (self._noise, noise, 4000)):
            stream.write(np.clip(np.rint(image), -limit, limit).astype(np.int16).tobytes())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._target.close()
        self._noise.close()
        if kind is not None:
            shutil.rmtree(self._partial, ignore_errors=True)
            return
        np.save(self._partial / "prior.npy", np.stack(self._priors))
        header = {**self.header, "slices": [asdict(one) for one in self.slices]}
        (self._partial / "bank.json").write_text(json.dumps(header, indent=0), encoding="utf-8")
        shutil.rmtree(self.folder, ignore_errors=True)
        self._partial.rename(self.folder)
