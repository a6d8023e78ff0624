"""Location of `Resources/`: the environment variable, then the installed package (wheel, Slicer), then the clone."""

from __future__ import annotations

import os
from pathlib import Path

from bioatt.core.errors import InputError


def resources_folder() -> Path:
    """The folder that holds `Models/` and `Anatomy/`.

    Raises InputError if no candidate has them.
    """
    package = Path(__file__).resolve().parents[1]
    candidates = [
        package / "Resources",  # wheel
        package.parent / "Resources",  # qt-scripted-modules of a Slicer install
        package.parent.parent / "Resources",  # clone
    ]
    if override := os.environ.get("BIOATT_RESOURCES"):
        candidates.insert(0, Path(override))
    for folder in candidates:
        if (folder / "Models").is_dir() and (folder / "Anatomy").is_dir():
            return folder
    raise InputError("no Resources/ folder with Models/ and Anatomy/: reinstall, or set BIOATT_RESOURCES to its path")


def models_folder() -> Path:
    """Folder of the user's own models: BIOATT_MODELS, else a folder in the user's cache."""
    if override := os.environ.get("BIOATT_MODELS"):
        return Path(override)
    cache = os.environ.get("XDG_CACHE_HOME") or (os.environ.get("LOCALAPPDATA") if os.name == "nt" else None)
    return Path(cache or Path.home() / ".cache") / "bioatt"
