"""Location and completeness of BiomedCLIP's files: a folder, or the Hugging Face cache.

A folder holds `open_clip_config.json`, the weights, and for the text tower a BERT `config.json` and a vocabulary
(`vocab.txt` or `tokenizer.json`). The published model has the latter two in a separate repository.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bioatt.core.errors import InputError
from bioatt.core.resources import models_folder

IMAGE_REPOSITORY = "microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224"
TEXT_REPOSITORY = "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract"
CONFIG = "open_clip_config.json"
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")
TEXT_CONFIG = "config.json"
VOCABULARIES = ("vocab.txt", "tokenizer.json")
MANIFEST = "biomedclip.json"
HOW_TO_GET = (
    "run `bioatt models download biomedclip` on a connected machine, or `bioatt models import biomedclip FOLDER` "
    "with a copy"
)


@dataclass(frozen=True)
class BiomedCLIPFiles:
    """The files of one BiomedCLIP. text_folder: None for an export without the text tower."""

    config: Path
    weights: Path
    text_folder: Path | None

    @property
    def model_config(self) -> Mapping[str, Any]:
        """`model_cfg` of the published configuration. Raises InputError if the file is not such a configuration."""
        return self._configuration("model_cfg")

    @property
    def preprocessing(self) -> Mapping[str, Any]:
        """`preprocess_cfg`: mean and std of the RGB channels."""
        return self._configuration("preprocess_cfg")

    def _configuration(self, key: str) -> Mapping[str, Any]:
        try:
            section = json.loads(self.config.read_text(encoding="utf-8"))[key]
        except (OSError, ValueError, KeyError, TypeError):
            raise InputError(f"{self.config.name} is not an open_clip configuration: {HOW_TO_GET}") from None
        return section

    def weights_id(self) -> str:
        """SHA-256 of the weights: from the folder's manifest if the file size matches, else computed."""
        manifest = read_manifest(self.config.parent)
        if manifest.get("weights_bytes") == self.weights.stat().st_size:
            return str(manifest["weights_id"])
        return sha256_of(self.weights)


def default_folder() -> Path:
    """BIOATT_BIOMEDCLIP, else a folder next to the user's models."""
    override = os.environ.get("BIOATT_BIOMEDCLIP")
    return Path(override) if override else models_folder() / "biomedclip"


def find_files(place: str = "") -> BiomedCLIPFiles:
    """Find the files in a folder, in the Hugging Face cache (`hf-hub:ORG/NAME`), or ("") in a default location.

    Raises InputError that names the missing file and how to get it. Never uses the network.
    """
    if place.startswith("hf-hub:"):
        found = in_hub_cache(place.removeprefix("hf-hub:"))
        if found is None:
            raise InputError(
                f"{place} is incomplete in the Hugging Face cache (it needs the model and its text repository): "
                f"{HOW_TO_GET}"
            )
        return found
    if place:
        return in_folder(Path(place.removeprefix("local-dir:")))
    if default_folder().is_dir():
        return in_folder(default_folder())
    found = in_hub_cache(IMAGE_REPOSITORY)
    if found is None:
        raise InputError(f"BiomedCLIP is not installed: {HOW_TO_GET}; or use the prior `maps`")
    return found


def in_folder(folder: Path) -> BiomedCLIPFiles:
    """Files of a folder; exports without text tower need no text files. Raises InputError that names missing files."""
    if not folder.is_dir():
        raise InputError(f"BiomedCLIP folder {folder.name} does not exist: {HOW_TO_GET}")
    config = folder / CONFIG
    weights = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if not config.is_file():
        raise InputError(f"BiomedCLIP folder {folder.name} lacks {CONFIG}: {HOW_TO_GET}")
    if weights is None:
        raise InputError(f"BiomedCLIP folder {folder.name} lacks {WEIGHTS[0]} or {WEIGHTS[2]}: {HOW_TO_GET}")
    if read_manifest(folder).get("image_tower_only"):
        return BiomedCLIPFiles(config, weights, None)
    if not any((folder / name).is_file() for name in VOCABULARIES):
        raise InputError(
            f"BiomedCLIP folder {folder.name} lacks its vocabulary (vocab.txt or tokenizer.json), without which every "
            f"word is unknown and the prior is meaningless: {HOW_TO_GET}"
        )
    if not (folder / TEXT_CONFIG).is_file():
        raise InputError(f"BiomedCLIP folder {folder.name} lacks its text model's {TEXT_CONFIG}: {HOW_TO_GET}")
    return BiomedCLIPFiles(config, weights, folder)


def in_hub_cache(repository: str) -> BiomedCLIPFiles | None:
    """Files of a model repository and its text repository in the Hugging Face cache; None if any is missing."""
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None

    def cached(repository: str, *names: str) -> Path | None:
        for name in names:
            found = try_to_load_from_cache(repository, name)
            if isinstance(found, str):
                return Path(found)
        return None

    config, weights = cached(repository, CONFIG), cached(repository, *WEIGHTS)
    if config is None or weights is None:
        return None
    text_repository = BiomedCLIPFiles(config, weights, None).model_config["text_cfg"]["hf_model_name"]
    text_config, vocabulary = cached(text_repository, TEXT_CONFIG), cached(text_repository, *VOCABULARIES)
    if text_config is None or vocabulary is None:
        return None
    return BiomedCLIPFiles(config, weights, text_config.parent)


def read_manifest(folder: Path) -> Mapping[str, Any]:
    """The manifest written by `download` or `import_folder`; empty for other folders."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return manifest if isinstance(manifest, dict) else {}


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, read in chunks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
