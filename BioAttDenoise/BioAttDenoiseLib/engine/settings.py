"""Settings of this computer, kept outside the scene."""

from __future__ import annotations

from pathlib import Path

import slicer

MODELS_FOLDER = "BioAttDenoise/ModelsFolder"


def models_folder() -> Path:
    """Folder for downloaded and imported models: the user's choice, else a folder in the home folder's cache."""
    chosen = slicer.app.settings().value(MODELS_FOLDER, "")
    return Path(chosen) if chosen else Path.home() / ".cache" / "bioatt"


def set_models_folder(folder: Path) -> None:
    """Remember the user's choice."""
    slicer.app.settings().setValue(MODELS_FOLDER, str(folder))
