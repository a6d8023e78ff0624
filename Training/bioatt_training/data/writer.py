"""Writing a bank (see `bioatt_training.data.bank`): atomically, with resume after an interruption."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from bioatt.core.errors import InputError
from bioatt.io.files import make_folder
from bioatt_training.data.bank import Slice

LIMITS = {"target.bin": 32000, "noise.bin": 4000, "softened.bin": 32000}
"""The files of voxels, int16 HU, and the largest value in each."""
FILES = (*LIMITS, "prior.npy", "bank.json")
JOURNAL = "journal.jsonl"


class BankWriter:
    """Context manager that adds slices; the folder appears if it exits without an error.

    softened: whether every slice has a separate target in addition to the scan. work: describes the bank's sources and
    options; a call with the same work resumes after the last `finish` of an interrupted one. done: the notes of
    finished scans, by name. Raises InputError if the folder exists and is not a bank, and, on entry, if it cannot be
    created.
    """

    def __init__(self, folder: Path, header: dict[str, Any], *, softened: bool = False, work: str = "") -> None:
        if folder.exists() and not (folder.is_dir() and {path.name for path in folder.iterdir()} <= set(FILES)):
            raise InputError(f"{folder.name} exists and is not a bank: give a new folder")
        self.folder, self.header, self.work = folder, header, work
        self.slices: list[Slice] = []
        self.done: dict[str, Any] = {}
        self._priors: list[np.ndarray] = []
        self._kept = 0
        self._names = list(LIMITS)[: 3 if softened else 2]
        self._partial = folder.with_name(folder.name + ".partial")

    def __enter__(self) -> BankWriter:
        if not self._go_on():
            shutil.rmtree(self._partial, ignore_errors=True)
            make_folder(self._partial)
            (self._partial / JOURNAL).write_text(json.dumps(self.work) + "\n", encoding="utf-8")
        self._files = [(self._partial / name).open("ab") for name in self._names]
        for stream in self._files:
            stream.truncate(2 * self._voxels())
            stream.seek(0, os.SEEK_END)
        return self

    def _go_on(self) -> bool:
        """Resume from a journal of the same work, with its slices, priors and notes; whether there was one."""
        path = self._partial / JOURNAL
        try:
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        except OSError:
            return False
        complete = [line for line in lines if line.endswith("\n")]  # a killed call may leave a partial line
        if not complete or json.loads(complete[0]) != self.work:
            return False
        path.write_text("".join(complete), encoding="utf-8")
        for entry in map(json.loads, complete[1:]):
            self.slices += [Slice(**{**one, "shape": tuple(one["shape"])}) for one in entry["slices"]]
            self._priors += [np.array(row, np.float32) for row in entry["priors"]]
            self.done[entry["name"]] = entry["note"]
        self._kept = len(self.slices)
        return True

    def _voxels(self) -> int:
        """Number of voxels of the slices so far."""
        if not self.slices:
            return 0
        last = self.slices[-1]
        return last.offset + last.shape[0] * last.shape[1]

    def add(
        self,
        scan: np.ndarray,
        noise: np.ndarray,
        prior: np.ndarray,
        about: dict[str, Any],
        softened: np.ndarray | None = None,
    ) -> None:
        """Add a slice: images (y, x) HU, prior (N,), and the fields of `Slice` except offset and shape."""
        self.slices.append(Slice(**about, offset=self._voxels(), shape=(scan.shape[0], scan.shape[1])))
        self._priors.append(prior)
        images = [scan, noise] if softened is None else [scan, noise, softened]
        for name, stream, image in zip(self._names, self._files, images, strict=True):
            stream.write(np.clip(np.rint(image), -LIMITS[name], LIMITS[name]).astype(np.int16).tobytes())

    def finish(self, name: str, note: Any = None) -> None:
        """Commit the slices added since the last call: a scan is done; `note` (JSON) is stored with it."""
        for stream in self._files:
            stream.flush()
        kept = self._kept
        entry = {
            "name": name,
            "slices": [asdict(one) for one in self.slices[kept:]],
            "priors": [np.asarray(row, float).tolist() for row in self._priors[kept:]],
            "note": note,
        }
        with (self._partial / JOURNAL).open("a", encoding="utf-8") as journal:
            journal.write(json.dumps(entry) + "\n")
        self._kept = len(self.slices)
        self.done[name] = note

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for stream in self._files:
            stream.close()
        if kind is not None:
            if not self._kept:
                shutil.rmtree(self._partial, ignore_errors=True)
            return
        np.save(self._partial / "prior.npy", np.stack(self._priors))
        header = {**self.header, "slices": [asdict(one) for one in self.slices]}
        (self._partial / "bank.json").write_text(json.dumps(header, indent=0), encoding="utf-8")
        (self._partial / JOURNAL).unlink()
        shutil.rmtree(self.folder, ignore_errors=True)
        self._partial.rename(self.folder)
