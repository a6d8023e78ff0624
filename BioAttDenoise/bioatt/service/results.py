"""Where the results of many scans lie: a folder each, which appears whole, with a manifest that tells what is in it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bioatt.core.errors import InputError
from bioatt.io.files import make_folder
from bioatt.io.locks import locked

MANIFEST = "manifest.json"
WORK = ".bioatt"
"""Folder in the output for what is not whole yet. What a run that was ended by force left there goes when the same
scan is begun again.
"""


def key_of(content_sha256: str, model_sha256: str, settings: Mapping[str, Any]) -> str:
    """By what finished work is recognised: the scan's content, the model's weights and the settings (SHA-256)."""
    said = json.dumps([content_sha256, model_sha256, settings], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()


class Results:
    """The results in an output folder. index: where those lie that were there at the beginning, by key."""

    def __init__(self, out: Path, index: Mapping[str, Path] | None = None) -> None:
        self.out, self.index = out, index or {}

    @contextmanager
    def making(self, key: str) -> Iterator[Path]:
        """An empty folder for results that are being made, removed at the end unless it was published.

        Raises BusyError if another process makes the same ones, OSError if the system refuses.
        """
        folder = self.out / WORK / key[:16]
        make_folder(folder.parent)
        with locked(folder.with_suffix(".lock"), "the scan"):
            try:
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def find(self, key: str, name: str) -> Path | None:
        """The folder of finished results, under whatever name; None if there are none, or some of them is gone."""
        places = (*self._places(name, key), *filter(None, [self.index.get(key)]))
        return next((place for place in places if (read_manifest(place) or {}).get("key") == key), None)

    def publish(self, folder: Path, name: str, key: str) -> Path:
        """Move finished results to their name; where that is taken, the key is added. Nothing is replaced."""
        for place in self._places(name, key):
            make_folder(place.parent)
            try:
                if not os.path.lexists(place):
                    folder.rename(place)
                    return place
            except OSError:
                if not os.path.lexists(place):
                    raise
        raise InputError(f"{place.name} is there already, and stays as it is: name another output folder")

    def _places(self, name: str, key: str) -> tuple[Path, Path]:
        place = self.out / name
        return place, place.with_name(f"{place.name}-{key[:8]}")


def index_of(out: Path) -> dict[str, Path]:
    """The folders of finished results below an output folder by key."""
    found: dict[str, Path] = {}
    for root, folders, names in os.walk(out):
        if MANIFEST in names:
            folders.clear()
            manifest = read_manifest(Path(root))
            if manifest is not None:
                found[str(manifest["key"])] = Path(root)
        folders[:] = sorted(name for name in folders if name != WORK)
    return found


def output_entry(path: Path) -> dict[str, Any]:
    """An output file or folder of files for the manifest: name, number of files and bytes."""
    files = [file for file in path.iterdir() if file.is_file()] if path.is_dir() else [path]
    return {"name": path.name, "files": len(files), "bytes": sum(file.stat().st_size for file in files)}


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of finished results; None if there is none, or an output it names is not as it says."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        whole = all(output_entry(folder / entry["name"]) == entry for entry in manifest["outputs"])
        return manifest if whole and manifest["key"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
