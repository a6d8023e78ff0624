"""Installation of BiomedCLIP: download with consent, import of a copy, export, removal.

Files are collected in a temporary folder next to the final one and renamed when all are complete and verified.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any

import safetensors.torch

from bioatt.anatomy.descriptors import DescriptorSet
from bioatt.core.errors import InputError
from bioatt.core.resources import models_folder
from bioatt.priors.biomedclip.files import (
    CONFIG,
    IMAGE_REPOSITORY,
    MANIFEST,
    TEXT_CONFIG,
    TEXT_REPOSITORY,
    VOCABULARIES,
    WEIGHTS,
    BiomedCLIPFiles,
    default_folder,
    in_folder,
    read_manifest,
    sha256_of,
)
from bioatt.priors.biomedclip.hub import fetch, list_repository
from bioatt.priors.biomedclip.prior import image_weights, load_image_tower, load_pickled
from bioatt.priors.biomedclip.text import FOLDER as TEXT_FOLDER
from bioatt.priors.biomedclip.text import cache_name, load_open_clip, text_embeddings, write_text_embeddings

SIZE_MB = 790
_TOKENIZER = ("tokenizer_config.json", "special_tokens_map.json")


def download(consent: bool, folder: Path | None = None, *, endpoint: str | None = None) -> Path:
    """Fetch BiomedCLIP and its text repository from the Hugging Face hub into `folder` (see `default_folder`).

    consent: whether the user agreed to download SIZE_MB. An interrupted download is resumed, and every file is verified
    against the hub's checksum. endpoint: a mirror of the hub.
    Raises InputError without consent, if the hub cannot be reached, if a file does not match its checksum, or if the
    folder holds other files.
    """
    if not consent:
        raise InputError(
            f"BiomedCLIP is a {SIZE_MB} MB download from the Hugging Face hub, under the licence stated there: confirm "
            "with --yes, or import a copy (`bioatt models import biomedclip FOLDER`)"
        )
    target = folder or default_folder()
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        raise InputError("HF_HUB_OFFLINE is set: unset it to download, or import a copy")
    _check_own_folder(target)
    partial = target.with_name(f"{target.name}.partial")
    partial.mkdir(parents=True, exist_ok=True)
    image = _fetch(IMAGE_REPOSITORY, [(CONFIG,), (WEIGHTS[0], WEIGHTS[2])], partial, endpoint)
    text_repository = json.loads((partial / CONFIG).read_text(encoding="utf-8"))["model_cfg"]["text_cfg"][
        "hf_model_name"
    ]
    text = _fetch(text_repository, [(TEXT_CONFIG,), VOCABULARIES, *((name,) for name in _TOKENIZER)], partial, endpoint)
    return _settle(partial, target, {"sources": {IMAGE_REPOSITORY: image, text_repository: text}})


def import_folder(source: Path, folder: Path | None = None) -> Path:
    """Copy BiomedCLIP from `source`: another installation's folder, or a clone of the published repository.

    Files with a manifest are verified against its checksums. The text model's `config.json`, which the published
    repository lacks, is added if the text model is the published one. Pickled weights are converted to safetensors.
    Raises InputError if files are missing, damaged or inconsistent, or the target holds other files.
    """
    target = folder or default_folder()
    source = source.resolve()
    if not source.is_dir():
        raise InputError(f"BiomedCLIP folder {source.name} does not exist: check the path")
    if source == target.resolve():
        raise InputError("BiomedCLIP is already installed from this folder: nothing to import")
    _check_own_folder(target)
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        return _settle(partial, target, _copied(source, partial))
    except InputError as error:  # its message names the temporary folder
        shutil.rmtree(partial, ignore_errors=True)
        raise InputError(str(error).replace(partial.name, source.name)) from None


def _copied(source: Path, partial: Path) -> dict[str, Any]:
    """Copy the files of `source`, verified if its manifest has checksums; returns the manifest's other keys."""
    manifest = read_manifest(source)
    weights = next((name for name in WEIGHTS if (source / name).is_file()), None)
    for name in filter(None, (CONFIG, weights, TEXT_CONFIG, *VOCABULARIES, *_TOKENIZER)):
        if (source / name).is_file():
            shutil.copyfile(source / name, partial / name)
            if manifest.get("sha256", {}).get(name, "") not in ("", sha256_of(partial / name)):
                raise InputError(
                    f"{name} in {source.name} is damaged (its SHA-256 differs from the manifest): copy it again"
                )
    if (source / TEXT_FOLDER).is_dir():
        shutil.copytree(source / TEXT_FOLDER, partial / TEXT_FOLDER)
    _complete_text_config(partial)
    return {key: manifest[key] for key in ("sources", "image_tower_only", "weights_id") if key in manifest}


def export_image_tower(files: BiomedCLIPFiles, folder: Path, sets: Sequence[DescriptorSet]) -> Path:
    """Write a folder with the image tower and the text embeddings of `sets`, without the text tower: 340 MB.

    For machines that use only these descriptor sets; `import_folder` installs it there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: weight.clone().contiguous() for name, weight in image_weights(files).items()}
    safetensors.torch.save_file(weights, folder / WEIGHTS[0])
    shutil.copyfile(files.config, folder / CONFIG)
    for descriptors in sets:
        write_text_embeddings(
            folder / TEXT_FOLDER / cache_name(files, descriptors), text_embeddings(files, descriptors)
        )
    _write_manifest(folder, {"image_tower_only": True, "weights_id": files.weights_id()})
    return folder


def remove(folder: Path | None = None) -> bool:
    """Delete BiomedCLIP, incomplete downloads and cached text embeddings; False if there was nothing to delete.

    Raises InputError if the folder was not created by `download` or `import_folder`.
    """
    target = folder or default_folder()
    places = (target, target.with_name(f"{target.name}.partial"), models_folder() / TEXT_FOLDER)
    installed = [place for place in places if place.is_dir()]
    _check_own_folder(target)
    for place in installed:
        shutil.rmtree(place)
    return bool(installed)


def _check_own_folder(target: Path) -> None:
    """Raise InputError if the folder to be deleted or replaced was not written by this program."""
    if target.is_dir() and any(target.iterdir()) and not (target / MANIFEST).is_file():
        raise InputError(
            f"folder {target.name} holds files of other programs: empty it yourself, "
            "or set BIOATT_BIOMEDCLIP to another folder"
        )


def _fetch(name: str, wanted: Iterable[Sequence[str]], folder: Path, endpoint: str | None) -> str:
    """Download and verify the first available file of each group in `wanted`; returns the commit."""
    try:
        repository = list_repository(name, endpoint)
        for choices in wanted:
            found = next((choice for choice in choices if choice in repository.files), None)
            if found is not None:
                fetch(repository, found, folder)
            elif choices[0] not in _TOKENIZER:
                raise InputError(f"{name} no longer has {' or '.join(choices)}: import a copy from another machine")
    except InputError:
        raise
    except (OSError, ValueError, KeyError, HTTPException) as error:
        raise InputError(
            f"{name} could not be downloaded from the Hugging Face hub ({type(error).__name__}): run the command again "
            "to resume, or import a copy from a connected machine"
        ) from None
    return repository.commit


def _complete_text_config(folder: Path) -> None:
    if (folder / TEXT_CONFIG).is_file() or not (folder / CONFIG).is_file():
        return
    config = BiomedCLIPFiles(folder / CONFIG, folder, folder).model_config
    if config.get("text_cfg", {}).get("hf_model_name") == TEXT_REPOSITORY:
        bert_base = {"model_type": "bert", "architectures": ["BertForMaskedLM"]}  # transformers' defaults are BERT-base
        (folder / TEXT_CONFIG).write_text(json.dumps(bert_base), encoding="utf-8")


def _settle(partial: Path, target: Path, manifest: dict[str, Any]) -> Path:
    """Convert the weights, test loading them, write the manifest, and rename the folder."""
    (partial / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    files = in_folder(partial)
    if files.weights.suffix == ".bin":
        safe = partial / WEIGHTS[0]
        state = {name: weight.clone().contiguous() for name, weight in load_pickled(files).items()}
        safetensors.torch.save_file(state, safe)
        files.weights.unlink()
    _write_manifest(partial, manifest)
    files = in_folder(partial)
    load_image_tower(files)
    if files.text_folder is not None:
        load_open_clip(files)
    shutil.rmtree(target, ignore_errors=True)
    partial.replace(target)
    return target


def _write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write the manifest: checksums of the files and the id of the weights (for exports, that of the whole model)."""
    weights = next(folder / name for name in WEIGHTS if (folder / name).is_file())
    sums = {path.name: sha256_of(path) for path in sorted(folder.iterdir()) if path.is_file() and path.name != MANIFEST}
    described = {"weights_id": sums[weights.name], **manifest}
    described |= {"weights_bytes": weights.stat().st_size, "sha256": sums}
    (folder / MANIFEST).write_text(json.dumps(described, indent=1), encoding="utf-8")
