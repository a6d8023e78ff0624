"""Outputs of a GPU training: a few files of less than 16 MiB, consistent whenever it is interrupted.

`train.json` is the index: {"config", "pack", "device", "arms": {name: progress}, "state": {"arm", "files", …}}.
`weights-K.pt`: averaged weights in float16 of four arms. `state-G-weights-K.pt`: float32 weights and averages of the
arm in training; `state-G-moments-K.pt`: its optimiser's moments; without them it resumes with a warm-up. A new
generation G is written before train.json refers to it; then the previous one is removed.
"""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bioatt.core.errors import InputError
from bioatt.io.files import atomic_write, make_folder
from bioatt_training.fit.arms import ARMS

RECORD = "train.json"
PART_BYTES = 15 << 20
ARMS_A_FILE = 4

Tensors = dict[str, Tensor]


class Outputs:
    """The folder of a training's outputs. record: the content of train.json, empty if there is none yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        make_folder(folder)
        self.record: dict[str, Any] = read_record(folder) if (folder / RECORD).is_file() else {}

    def save_arm(self, name: str, averages: Mapping[str, Tensor]) -> None:
        """Add an arm's averaged weights; train.json is left to `save_state` or `save_record`."""
        path = weights_file(self.folder, name)
        kept: dict[str, Tensors] = _load(path) if path.is_file() else {}
        kept[name] = {key: value.detach().half().cpu() for key, value in averages.items()}
        _save(path, kept)

    def save_state(self, arm: str, weights: Tensors, moments: Tensors, about: Mapping[str, Any]) -> None:
        """Save everything the arm needs to resume; `about` is added to train.json."""
        before = self.record.get("state", {})
        generation = "b" if before.get("generation") == "a" else "a"
        files = {
            kind: self._save_parts(f"state-{generation}-{kind}", tensors)
            for kind, tensors in (("weights", weights), ("moments", moments))
        }
        self.record["state"] = {"arm": arm, "generation": generation, "files": files, **about}
        self.save_record()
        self._remove(before)

    def drop_state(self) -> None:
        """The arm is finished: remove its resume state."""
        before = self.record.pop("state", {})
        self.save_record()
        self._remove(before)

    def load_state(self) -> tuple[Tensors, Tensors] | None:
        """Weights and moments of the arm in training; no moments if their files are missing, None without weights."""
        files = self.record.get("state", {}).get("files")
        if files is None:
            return None
        if not all((self.folder / name).is_file() for name in files["weights"]):
            raise InputError(
                f"{self.folder.name} lacks {', '.join(files['weights'])}, listed in {RECORD}: copy them too"
            )
        complete = all((self.folder / name).is_file() for name in files["moments"])
        return self._load_parts(files["weights"]), self._load_parts(files["moments"]) if complete else {}

    def save_record(self) -> None:
        """Write train.json, which makes the files it lists current."""
        with atomic_write(self.folder / RECORD) as partial:
            partial.write_text(json.dumps(self.record, indent=1), encoding="utf-8")

    def _save_parts(self, stem: str, tensors: Tensors) -> list[str]:
        parts: list[Tensors] = [{}]
        size = 0
        for name, value in tensors.items():
            size += value.nbytes
            if size > PART_BYTES and parts[-1]:
                parts.append({})
                size = value.nbytes
            parts[-1][name] = value.detach().cpu()
        names = [f"{stem}-{number}.pt" for number in range(1, len(parts) + 1)]
        for name, part in zip(names, parts, strict=True):
            _save(self.folder / name, part)
        return names

    def _load_parts(self, names: list[str]) -> Tensors:
        return {key: value for name in names for key, value in _load(self.folder / name).items()}

    def _remove(self, state: Mapping[str, Any]) -> None:
        for names in state.get("files", {}).values():
            for name in names:
                (self.folder / name).unlink(missing_ok=True)


def read_record(folder: Path) -> dict[str, Any]:
    """Content of train.json. Raises InputError if it is missing or damaged."""
    try:
        record: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        if not {"config", "pack", "arms"} <= record.keys():
            raise ValueError
    except (OSError, ValueError):
        raise InputError(f"{folder.name} has no {RECORD} of a GPU training: give the folder of its outputs") from None
    return record


def weights_file(folder: Path, arm: str) -> Path:
    """Path of an arm's averaged weights."""
    return folder / f"weights-{list(ARMS).index(arm) // ARMS_A_FILE + 1}.pt"  # type: ignore[arg-type]


def load_arm(folder: Path, arm: str) -> Tensors:
    """An arm's averaged weights, float16. Raises InputError if they are missing."""
    path = weights_file(folder, arm)
    try:
        weights: Tensors = _load(path)[arm]
    except (OSError, KeyError, RuntimeError, pickle.UnpicklingError, EOFError):
        raise InputError(f"{path.name} is missing, or has no weights of the arm {arm}: copy all outputs") from None
    return weights


def _save(path: Path, content: Any) -> None:
    with atomic_write(path) as partial, partial.open("wb") as stream:
        torch.save(content, stream)
        stream.flush()
        os.fsync(stream.fileno())


def _load(path: Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True)
