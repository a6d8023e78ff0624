"""Trained-model files (`NAME.safetensors` with metadata in the header) and the catalogue of models.

Weights may be stored as float16, or as int8 with one scale per output channel; they are used as float32.

The header's key "bioatt" holds JSON: arm, filters, weighting, layout (default red_cnn), padding, normalisation,
descriptors, prior (the source that "auto" means), training (ranges of noise, pixel, slice thickness, kernels;
prior_rise: `priors.guard`; data and licence), version, metrics.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from bioatt.core.errors import InputError
from bioatt.core.hu import OFFSET_HU, SCALE_HU
from bioatt.core.resources import models_folder, resources_folder
from bioatt.io.files import atomic_write
from bioatt.network import ARMS, LAYOUTS, WEIGHTINGS, BioAttNetwork, build_network
from bioatt.network.packing import packed, unpacked
from bioatt.priors import FORMER_NAMES

FORMAT = 3
FORMATS = (1, 2, FORMAT)
"""Readable formats. Files in formats 2 and 3 may request features that are no longer supported (`_UNSUPPORTED`)."""
NORMALISATION = {"offset_hu": OFFSET_HU, "scale_hu": SCALE_HU}
PADDING = "reflect"
LARGEST_FILTERS = 1024
_UNSUPPORTED = ("means_px", "quiet_means_px", "mixture_noise_hu")
"""Low-frequency preservation and two sets of weights; a network conditioned on the noise level needs neither."""


@dataclass(frozen=True)
class TrainedModel:
    """A network with trained weights, in evaluation mode on the CPU, and its file's metadata."""

    network: BioAttNetwork
    metadata: Mapping[str, Any]
    name: str
    sha256: str

    @property
    def descriptors(self) -> tuple[str, ...]:
        """Names of the N attention maps, in the network's order; empty for the arms without a prior."""
        return tuple(self.metadata.get("descriptors", ()))

    def prior_source(self, asked: str = "auto") -> str:
        """A source for `build_prior`; "auto" is the one used in training, or the organ maps if the file names none."""
        source = str(self.metadata.get("prior") or "maps") if asked == "auto" else asked
        return FORMER_NAMES.get(source, source)

    @property
    def version(self) -> str:
        """Version of the weights."""
        return str(self.metadata.get("version", "0"))


@dataclass(frozen=True)
class CatalogueEntry:
    """An entry of `models.json`. path: its weights on this machine, None if they are missing."""

    name: str
    file: str
    sha256: str
    summary: str
    path: Path | None = None


def catalogue() -> tuple[CatalogueEntry, ...]:
    """Models in `Resources/Models/models.json`, with the paths of those that are installed."""
    folders = [resources_folder() / "Models", models_folder()]
    entries = []
    for line in _catalogue_file()["models"]:
        path = next((folder / line["file"] for folder in folders if (folder / line["file"]).is_file()), None)
        entries.append(CatalogueEntry(line["name"], line["file"], line["sha256"], line["summary"], path))
    return tuple(entries)


def default_model(device_type: str) -> str:
    """Name of the model that `auto` selects on a device type: `cpu`, `cuda` or `mps`."""
    defaults = _catalogue_file()["default"]
    return defaults.get(device_type, defaults["cpu"])


def _catalogue_file() -> dict[str, Any]:
    return json.loads((resources_folder() / "Models" / "models.json").read_text(encoding="utf-8"))


def load_model(model: str | Path | TrainedModel) -> TrainedModel:
    """Load a model by catalogue name or from a .safetensors file; a loaded model is returned unchanged.

    Raises InputError for an unknown name, a missing file, a file that is not a BioAtt model, and a catalogue model
    whose SHA-256 differs from the catalogue's.
    """
    if isinstance(model, TrainedModel):
        return model
    path = Path(model)
    if path.suffix == ".safetensors":
        if not path.is_file():
            raise InputError(f"model file {path.name} does not exist: check the path")
        return read_model(path)
    for entry in catalogue():
        if entry.name == str(model):
            if entry.path is None:
                raise InputError(f"the weights of {entry.name} are missing: reinstall BioAttDenoise")
            loaded = read_model(entry.path, expected_sha256=entry.sha256)
            return replace(loaded, name=entry.name)
    known = ", ".join(entry.name for entry in catalogue())
    raise InputError(f"unknown model {str(model)!r}: use one of {known}, or a .safetensors file")


def read_model(path: Path, expected_sha256: str | None = None) -> TrainedModel:
    """Read a trained-model file. Raises InputError if it is damaged or not a BioAtt model."""
    import safetensors.torch  # here, so that networks can be trained without it

    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    if expected_sha256 is not None and sha256 != expected_sha256:
        raise InputError(f"model file {path.name} is damaged (its SHA-256 differs from the catalogue's): reinstall it")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
        weights = safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        raise InputError(f"model file {path.name} cannot be read as safetensors ({error}): get another copy") from None
    try:
        metadata = {"layout": "red_cnn", **json.loads(header["bioatt"])}
        _check(metadata, path.name)
        network = build_network(
            metadata["arm"],
            metadata["filters"],
            max(len(metadata["descriptors"]), 1),
            metadata["weighting"],
            metadata["layout"],
        )
        weights = unpacked(weights)
        network.load_state_dict(weights)
    except InputError:
        raise
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(
            f"model file {path.name} is not a BioAtt model ({type(error).__name__}): use another"
        ) from None
    if not all(bool(torch.isfinite(value).all()) for value in weights.values()):
        raise InputError(f"model file {path.name} contains NaN or infinite weights: get another copy")
    return TrainedModel(network.eval(), metadata, path.stem, sha256)


def _check(metadata: Mapping[str, Any], name: str) -> None:
    """Check that this program reads the header correctly. Raises InputError, KeyError or TypeError."""
    expected = {"format": FORMATS, "padding": (PADDING,), "normalisation": (NORMALISATION,)}
    for key, known in expected.items():
        if metadata[key] not in known:
            raise InputError(
                f"{name} has {key} {metadata[key]}, but this program reads {known[-1]}: update the program or the model"
            )
    for key, names in (("arm", ARMS), ("weighting", WEIGHTINGS), ("layout", LAYOUTS)):
        if metadata[key] not in names:
            raise InputError(f"{name} has an unknown {key} {metadata[key]!r}: this program knows {', '.join(names)}")
    if any(metadata.get(key) for key in _UNSUPPORTED):
        raise InputError(f"{name} dates from before version 1.0.0 and is no longer supported: train the model again")
    if not (isinstance(metadata["filters"], int) and 1 <= metadata["filters"] <= LARGEST_FILTERS):
        raise InputError(f"{name} has {str(metadata['filters'])[:20]} filters: 1 to {LARGEST_FILTERS} are supported")
    names = (*metadata["descriptors"], *(metadata.get("training", {}).get("kernels") or ()))
    if isinstance(metadata["descriptors"], str) or not all(isinstance(one, str) for one in names):
        raise InputError(f"{name} has descriptors or kernels that are not a list of names: update the model")
    if metadata["arm"] == "bioatt" and not metadata["descriptor_set"]:
        raise KeyError("descriptor_set")
    if not isinstance(metadata.get("prior") or "", str):
        raise InputError(f"{name} has a prior that is not the name of a source: update the model")
    if not 0 < float(metadata.get("training", {}).get("prior_rise", 1.0)) <= 1:
        raise InputError(f"{name} has prior_rise {metadata['training']['prior_rise']}: it must be above 0, at most 1")
    for key in ("noise_hu", "pixel_mm", "slice_thickness_mm"):
        low, high = metadata.get("training", {}).get(key, (0.0, 0.0))
        if not float(low) <= float(high):
            raise InputError(f"{name} has a reversed range {key}, {low} to {high}: update the model")


def save_model(path: Path, network: BioAttNetwork, metadata: Mapping[str, Any], *, as_int8: bool = False) -> str:
    """Write a trained-model file atomically and return its SHA-256.

    as_int8: store weight matrices as int8, half the size of float16; the error is 1/254 of a channel's largest value.
    metadata: must hold `descriptors` (names; empty for arms without prior), `version` and `training`; the network's
    attributes are added.
    """
    described = {
        **{key: value for key, value in metadata.items() if key not in _UNSUPPORTED},
        "format": FORMAT,
        "arm": network.arm,
        "filters": network.filters,
        "weighting": network.weighting,
        "layout": network.layout,
        "padding": PADDING,
        "normalisation": NORMALISATION,
    }
    import safetensors.torch

    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    weights = packed(weights) if as_int8 else weights
    with atomic_write(path) as partial:
        safetensors.torch.save_file(weights, partial, metadata={"bioatt": json.dumps(described, sort_keys=True)})
    return hashlib.sha256(path.read_bytes()).hexdigest()
