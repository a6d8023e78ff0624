"""Storage of the results of many scans: one folder per scan, published atomically, with a manifest of its content."""

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
"""Folder in the output for incomplete results. Remnants of a killed run are removed when the same scan is started
again.
"""


def key_of(content_sha256: str, model_sha256: str, settings: Mapping[str, Any]) -> str:
    """Key that identifies finished work: SHA-256 of the scan's content, the model's weights and the settings."""
    content = json.dumps([content_sha256, model_sha256, settings], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


class Results:
    """The results in an output folder. index: folders of the results that existed at the start, by key."""

    def __init__(self, out: Path, index: Mapping[str, Path] | None = None) -> None:
        self.out, self.index = out, index or {}

    @contextmanager
    def making(self, key: str) -> Iterator[Path]:
        """Yield an empty folder for results in progress; removed at the end unless it was published.

        Raises BusyError if another process is computing the same results, OSError on a system error.
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
        """The folder of finished results, whatever its name; None if there are none or some are missing."""
        places = (*self._places(name, key), *filter(None, [self.index.get(key)]))
        return next((place for place in places if (read_manifest(place) or {}).get("key") == key), None)

    def publish(self, folder: Path, name: str, key: str) -> Path:
        """Move finished results to their name, with the key appended if the name is taken. Replaces nothing."""
        for place in self._places(name, key):
            make_folder(place.parent)
            try:
                if not os.path.lexists(place):
                    folder.rename(place)
                    return place
            except OSError:
                if not os.path.lexists(place):
                    raise
        raise InputError(f"{place.name} already exists and stays untouched: name another output folder")

    def _places(self, name: str, key: str) -> tuple[Path, Path]:
        place = self.out / name
        return place, place.with_name(f"{place.name}-{key[:8]}")


def index_of(out: Path) -> dict[str, Path]:
    """Folders of finished results below an output folder, by key."""
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
    """Read the manifest of finished results; None if there is none or an output does not match it."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        whole = all(output_entry(folder / entry["name"]) == entry for entry in manifest["outputs"])
        return manifest if whole and manifest["key"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
