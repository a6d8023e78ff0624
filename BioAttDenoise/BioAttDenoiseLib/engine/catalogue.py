"""Models and sources of anatomy that the panel offers: shipped, imported, and BiomedCLIP if downloaded. Reads JSON, no
weights.
"""

from __future__ import annotations

import json
import shutil
import struct
from dataclasses import dataclass
from pathlib import Path

from slicer.i18n import tr as _

from .settings import models_folder

SUFFIX = ".safetensors"
BIOMEDCLIP = "biomedclip"


@dataclass(frozen=True)
class ModelEntry:
    """A selectable model: `value` is passed to the engine; `present` is true if its weights are on this computer."""

    value: str
    label: str
    summary: str
    present: bool
    imported: bool = False


def shipped_models_folder() -> Path:
    """Resources/Models next to the installed module, or at the top of a clone."""
    package = Path(__file__).resolve().parents[1]
    candidates = [package.parent / "Resources" / "Models", package.parents[1] / "Resources" / "Models"]
    return next((folder for folder in candidates if (folder / "models.json").is_file()), candidates[0])


def models() -> list[ModelEntry]:
    """Shipped models in the catalogue's order, then the user's own by name."""
    shipped, own = shipped_models_folder(), models_folder()
    try:
        lines = json.loads((shipped / "models.json").read_text(encoding="utf-8"))["models"]
    except (OSError, ValueError, KeyError):
        lines = []  # the engine reports a broken installation when it runs
    entries = [
        ModelEntry(
            line["name"], line["name"], line["summary"], any((f / line["file"]).is_file() for f in (own, shipped))
        )
        for line in lines
    ]
    known = {line["file"] for line in lines}
    files = sorted(own.glob(f"*{SUFFIX}")) if own.is_dir() else []
    entries += [ModelEntry(str(f), f.stem, str(f), True, imported=True) for f in files if f.name not in known]
    return entries


def model_choices() -> list[tuple[str, str, str, bool]]:
    """Entries of the panel's model list: value, name, tool tip, and whether it can be selected."""
    found = [("auto", _("Automatic"), _("The model recommended for this computer's device."), True)]
    for entry in models():
        label = entry.label if entry.present else _("{name} (missing)").format(name=entry.label)
        found.append((entry.value, label, entry.summary, entry.present))
    return found


def prior_choices() -> list[tuple[str, str, str, bool]]:
    """Entries of the panel's list of anatomy sources, likewise."""
    biomedclip = "BiomedCLIP" if biomedclip_present() else _("BiomedCLIP (download under Advanced)")
    about = _(
        "The source used in the publication: a vision-language model, 790 MB, downloaded under Advanced. "
        "Its published weights have not been tested with this module."
    )
    return [
        ("maps", _("Built-in"), _("The organ maps that ship with the module; needs no download."), True),
        (BIOMEDCLIP, biomedclip, about, True),
        ("uniform", _("None (uniform)"), _("Every structure is equally likely: shows what the anatomy adds."), True),
        ("random", _("Random"), _("Random probabilities: a control for experiments."), True),
    ]


def descriptor_choices() -> list[tuple[str, str, str, bool]]:
    """Entries of the panel's list of descriptor sets, likewise."""
    return [("", _("The model's own"), _("The descriptors the model was trained with."), True)]


def biomedclip_present() -> bool:
    """Whether BiomedCLIP's files are in the models folder."""
    return (models_folder() / BIOMEDCLIP).is_dir()


def import_model(path: Path) -> Path:
    """Copy a model file atomically into the models folder. Raises ValueError if it is not a BioAtt model."""
    if not is_model(path):
        text = _("{name} is not a BioAtt model: choose a .safetensors file written by bioatt-train.")
        raise ValueError(text.format(name=path.name))
    folder = models_folder()
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{path.name}.partial"
    shutil.copyfile(path, partial)
    partial.replace(folder / path.name)
    return folder / path.name


def remove_model(value: str) -> None:
    """Delete an imported model's file."""
    path = Path(value)
    if path.parent == models_folder():
        path.unlink(missing_ok=True)


def is_model(path: Path) -> bool:
    """Whether a safetensors file has BioAtt metadata."""
    return "bioatt" in _metadata(path)


def versions() -> list[tuple[str, str]]:
    """(name, version) of the models on this computer, as recorded in their files."""
    found = {}
    for folder in (shipped_models_folder(), models_folder()):
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            try:
                found[path.stem] = json.loads(_metadata(path).get("bioatt", "{}")).get("version")
            except (ValueError, AttributeError):
                found[path.stem] = None
    return [(name, str(version)) for name, version in found.items() if version]


def _metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file (its header is JSON after an 8-byte length); empty if it has none."""
    try:
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(min(length, 1 << 24)))
        return dict(header.get("__metadata__") or {})
    except (OSError, ValueError, AttributeError, TypeError, struct.error):
        return {}
