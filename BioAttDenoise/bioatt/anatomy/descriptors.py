"""Descriptor sets: the anatomical descriptors t₁…t_N over which a prior is a distribution (paper §2.1), as data.

A set is a JSON file with names, prompts and HU windows for a vision-language model, and the names of each descriptor's
structures in segmentations. Its schema is `Resources/Anatomy/descriptor-set.schema.json`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from bioatt.core.errors import InputError
from bioatt.core.resources import resources_folder
from bioatt.io.files import read_json

ANATOMY_SET = "paper17"
"""The set that defines the organs in label volumes (value = index + 1), organ tables and strengths by organ."""
DEFAULT_WINDOWS = ((-160.0, 240.0),)
DEFAULT_TEMPLATES = ("{}",)
_SET_KEYS = {"$schema", "name", "about", "hu_windows", "templates", "descriptors"}
_DESCRIPTOR_KEYS = {"name", "phrase", "prompts", "structures"}


@dataclass(frozen=True)
class DescriptorSet:
    """N descriptors in the order of a prior's columns.

    prompts: texts of each descriptor, whose embeddings are averaged. hu_windows: one (low, high) in HU for a grey
    image, or three for red, green and blue. structures: names of each descriptor in segmentations and organ tables
    (* matches anything).
    """

    name: str
    descriptors: tuple[str, ...]
    prompts: tuple[tuple[str, ...], ...]
    hu_windows: tuple[tuple[float, float], ...] = DEFAULT_WINDOWS
    structures: tuple[tuple[str, ...], ...] = ()

    def __len__(self) -> int:
        return len(self.descriptors)

    def columns_of(self, structure: str) -> tuple[int, ...]:
        """Columns of the descriptors to which a structure belongs: none, one or several ("aorta").

        Case, spaces and underscores are ignored.
        """
        wanted = _plain(structure)
        named = self.structures or ((),) * len(self)
        return tuple(
            column
            for column, (descriptor, patterns) in enumerate(zip(self.descriptors, named, strict=True))
            if wanted == _plain(descriptor) or any(fnmatchcase(wanted, _plain(pattern)) for pattern in patterns)
        )

    def column_named(self, name: str) -> int:
        """Column of the descriptor with this name, ignoring case, spaces and underscores. Raises InputError if none."""
        for column, descriptor in enumerate(self.descriptors):
            if _plain(descriptor) == _plain(name):
                return column
        raise InputError(f"unknown organ {name!r}: use one of {', '.join(self.descriptors)}")

    def check_covers(self, descriptors: Sequence[str]) -> None:
        """Raise InputError, which lists the missing ones, if this set lacks descriptors of a model."""
        missing = [name for name in descriptors if name not in self.descriptors]
        if missing:
            raise InputError(f"descriptor set {self.name} lacks {', '.join(missing)}: add them under these names")

    @property
    def text_hash(self) -> str:
        """SHA-256 of names and prompts, on which text embeddings depend."""
        content = json.dumps([self.descriptors, self.prompts], ensure_ascii=False)
        return hashlib.sha256(content.encode()).hexdigest()


def descriptor_set_names() -> tuple[str, ...]:
    """Names of the sets shipped in `Resources/Anatomy`."""
    folder = resources_folder() / "Anatomy"
    return tuple(sorted(path.stem for path in folder.glob("*.json") if not path.name.endswith(".schema.json")))


def load_descriptor_set(name_or_path: str | Path) -> DescriptorSet:
    """Read a shipped set by name, or a JSON file.

    Raises InputError if the name is unknown, or the file is missing or does not follow the schema.
    """
    path = Path(name_or_path)
    if path.suffix.lower() != ".json":
        shipped = descriptor_set_names()
        if str(name_or_path) not in shipped:
            known = ", ".join(shipped)
            raise InputError(f"unknown descriptor set {str(name_or_path)!r}: use one of {known}, or a .json file")
        path = resources_folder() / "Anatomy" / f"{name_or_path}.json"
    content = read_json(path, "descriptor set")
    try:
        return parse_descriptor_set(content)
    except InputError as error:
        raise InputError(f"descriptor set {path.name}: {error}") from None


def parse_descriptor_set(content: Any) -> DescriptorSet:
    """Descriptor set from decoded JSON. Raises InputError for the first violation of the schema."""
    _object(content, "the file", _SET_KEYS, required={"name", "descriptors"})
    name = _text(content["name"], "name")
    if not all(letter.isalnum() or letter in "_.-" for letter in name):
        raise InputError("name may contain only letters, digits and _ . -")
    templates = _texts(content.get("templates", list(DEFAULT_TEMPLATES)), "templates")
    for template in templates:
        if template.count("{}") != 1 or template.count("{") != 1 or template.count("}") != 1:
            raise InputError(f"template {template!r} must contain {{}} exactly once, for the descriptor")
    entries = content["descriptors"]
    if not isinstance(entries, list) or not 2 <= len(entries) <= 256:
        raise InputError("descriptors must be a list of 2 to 256 objects")
    names, prompts, structures = [], [], []
    for position, entry in enumerate(entries):
        where = f"descriptors[{position}]"
        _object(entry, where, _DESCRIPTOR_KEYS, required={"name"})
        names.append(_text(entry["name"], f"{where}.name"))
        phrase = _text(entry.get("phrase", names[-1]), f"{where}.phrase")
        own = entry.get("prompts")
        prompts.append(
            _texts(own, f"{where}.prompts")
            if own is not None
            else tuple(template.replace("{}", phrase) for template in templates)
        )
        structures.append(_texts(entry.get("structures", []), f"{where}.structures", least=0))
    doubles = sorted({given for given in names if [_plain(other) for other in names].count(_plain(given)) > 1})
    if doubles:
        raise InputError(f"descriptor {doubles[0]!r} is named twice")
    return DescriptorSet(name, tuple(names), tuple(prompts), _windows(content), tuple(structures))


def _plain(name: str) -> str:
    return "_".join(name.strip().lower().replace("_", " ").split())


def _windows(content: Mapping[str, Any]) -> tuple[tuple[float, float], ...]:
    windows = content.get("hu_windows", DEFAULT_WINDOWS)
    if not isinstance(windows, list | tuple) or len(windows) not in (1, 3):
        raise InputError("hu_windows must be a list of one window (grey) or three (red, green, blue)")
    for window in windows:
        pair = isinstance(window, list | tuple) and len(window) == 2
        if not pair or not all(type(edge) in (int, float) and -32768 <= edge <= 32767 for edge in window):
            raise InputError("each of hu_windows must be [low, high] in HU")
        if window[0] >= window[1]:
            raise InputError(f"HU window [{window[0]}, {window[1]}] must rise from low to high")
    return tuple((float(low), float(high)) for low, high in windows)


def _object(value: Any, where: str, keys: set[str], required: set[str]) -> None:
    if not isinstance(value, dict):
        raise InputError(f"{where} must be a JSON object")
    if missing := sorted(required - value.keys()):
        raise InputError(f"{where} lacks {missing[0]!r}")
    if unknown := sorted(value.keys() - keys):
        raise InputError(f"{where} has an unknown key {unknown[0]!r}: known are {', '.join(sorted(keys))}")


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{where} must be a non-empty string")
    return value


def _texts(value: Any, where: str, least: int = 1) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) < least:
        raise InputError(f"{where} must be a list of strings")
    return tuple(_text(item, f"{where}[{position}]") for position, item in enumerate(value))
