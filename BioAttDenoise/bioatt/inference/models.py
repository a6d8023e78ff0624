"""Trained-model files, `NAME.safetensors` with metadata in the header, and the catalogue of models.

Weights may be stored as float16; they are used as float32.

The header's key "bioatt" holds JSON: arm, filters, weighting, layout (default red_cnn), means_px (σ of
`BioAttNetwork.preserve_low_frequencies`, default 0), mixture_noise_hu and quiet_means_px (noise range and low-noise σ
of `InterpolatedWeights`, absent without it), padding, normalisation, descriptors, prior (the source that "auto" means),
training (ranges of noise, pixel, slice thickness, kernels; prior_rise: `priors.guard`; data and licence), version,
metrics.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bioatt.core.errors import InputError
from bioatt.core.hu import OFFSET_HU, SCALE_HU
from bioatt.core.resources import models_folder, resources_folder
from bioatt.io.files import atomic_write
from bioatt.network import ARMS, LAYOUTS, WEIGHTINGS, BioAttNetwork, InterpolatedWeights, build_network

FORMAT = 3
FORMATS = (1, 2, FORMAT)
"""Format 1 has neither low-frequency preservation nor weight interpolation; in format 2 low-noise weights preserve low
frequencies only where the high-noise weights do.
"""
NORMALISATION = {"offset_hu": OFFSET_HU, "scale_hu": SCALE_HU}
PADDING = "reflect"
LARGEST_MEANS_PX = 64.0
LARGEST_FILTERS = 1024
QUIET = "quiet."
"""Prefix of the names of the low-noise weights, in files with weight interpolation."""
INTERPOLATION_KEYS = ("mixture_noise_hu", "quiet_means_px")


@dataclass(frozen=True)
class TrainedModel:
    """A network with its weights, in evaluation mode on the CPU, and the metadata of its file.

    interpolated: both ends of the weight interpolation, None without; `network` then has the weights for high noise.
    """

    network: BioAttNetwork
    metadata: Mapping[str, Any]
    name: str
    sha256: str
    interpolated: InterpolatedWeights | None = None

    @property
    def descriptors(self) -> tuple[str, ...]:
        """Names of the N attention maps, in the network's order; empty for the arms without a prior."""
        return tuple(self.metadata.get("descriptors", ()))

    def prior_source(self, asked: str = "auto") -> str:
        """A source for `build_prior`; "auto" is the one of the training, embedded where the file tells none."""
        return str(self.metadata.get("prior") or "embedded") if asked == "auto" else asked

    @property
    def version(self) -> str:
        """Version of the weights."""
        return str(self.metadata.get("version", "0"))


@dataclass(frozen=True)
class CatalogueEntry:
    """An entry of `models.json`. path: its weights on this machine, None where they are missing."""

    name: str
    file: str
    sha256: str
    summary: str
    path: Path | None = None


def catalogue() -> tuple[CatalogueEntry, ...]:
    """Models of `Resources/Models/models.json`, with the path of those that are installed."""
    folders = [resources_folder() / "Models", models_folder()]
    entries = []
    for line in _catalogue_file()["models"]:
        path = next((folder / line["file"] for folder in folders if (folder / line["file"]).is_file()), None)
        entries.append(CatalogueEntry(line["name"], line["file"], line["sha256"], line["summary"], path))
    return tuple(entries)


def default_model(device_type: str) -> str:
    """Name of the model that `auto` means on a device type: `cpu`, `cuda` or `mps`."""
    defaults = _catalogue_file()["default"]
    return defaults.get(device_type, defaults["cpu"])


def _catalogue_file() -> dict[str, Any]:
    return json.loads((resources_folder() / "Models" / "models.json").read_text(encoding="utf-8"))


def load_model(model: str | Path | TrainedModel) -> TrainedModel:
    """Load a model by its catalogue name or from a .safetensors file; a loaded one is returned as it is.

    Raises InputError for an unknown name, a missing file, a file that is no BioAtt model, and where the SHA-256 of a
    catalogue model differs from the catalogue's.
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
    """Read a trained-model file. Raises InputError where it is corrupt or not one of ours."""
    import safetensors.torch  # here, so that networks can be trained where it is not installed

    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    if expected_sha256 is not None and sha256 != expected_sha256:
        raise InputError(f"model file {path.name} is damaged (its SHA-256 is not the catalogue's): reinstall it")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
        weights = safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        raise InputError(f"model file {path.name} cannot be read as safetensors ({error}): get another copy") from None
    try:
        metadata = {"layout": "red_cnn", "means_px": 0.0, **json.loads(header["bioatt"])}
        _check(metadata, path.name)
        given = {name: value for name, value in weights.items() if not name.startswith(QUIET)}
        network, interpolated = _network(metadata, given, metadata["means_px"]), None
        if "mixture_noise_hu" in metadata:
            other = {name.removeprefix(QUIET): value for name, value in weights.items() if name.startswith(QUIET)}
            quiet = _network(metadata, other or given, metadata["quiet_means_px"])
            if not metadata["means_px"]:  # at the quiet end only: share 0 here, as at the noisy end
                network.preserve_low_frequencies(float(metadata["quiet_means_px"]), share=0.0)
            low, high = metadata["mixture_noise_hu"]
            interpolated = InterpolatedWeights(quiet, network, (float(low), float(high)))
    except InputError:
        raise
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(
            f"model file {path.name} is not a BioAtt model ({type(error).__name__}): use another"
        ) from None
    if not all(bool(torch.isfinite(value).all()) for value in weights.values()):
        raise InputError(f"model file {path.name} holds NaN or infinite weights, it is no trained model: get it again")
    return TrainedModel(network, metadata, path.stem, sha256, interpolated)


def _network(metadata: Mapping[str, Any], weights: Mapping[str, Tensor], means_px: float) -> BioAttNetwork:
    """The network that a header describes, with these weights."""
    network = build_network(
        metadata["arm"],
        metadata["filters"],
        max(len(metadata["descriptors"]), 1),
        metadata["weighting"],
        metadata["layout"],
        float(means_px),
    )
    network.load_state_dict(weights)
    return network.eval()


def _check(metadata: Mapping[str, Any], name: str) -> None:
    """Check that this program reads the header correctly. Raises InputError, KeyError or TypeError."""
    expected = {"format": FORMATS, "padding": (PADDING,), "normalisation": (NORMALISATION,)}
    for key, known in expected.items():
        if metadata[key] not in known:
            raise InputError(
                f"{name} has {key} {metadata[key]}, this program reads {known[-1]}: update it, or the model"
            )
    for key, names in (("arm", ARMS), ("weighting", WEIGHTINGS), ("layout", LAYOUTS)):
        if metadata[key] not in names:
            raise InputError(f"{name} has an unknown {key} {metadata[key]!r}: this program knows {', '.join(names)}")
    for key in ("means_px", "quiet_means_px"):
        if not 0 <= float(metadata.get(key, 0.0)) <= LARGEST_MEANS_PX:
            raise InputError(f"{name} has {key} {metadata[key]}: 0 to {LARGEST_MEANS_PX:g} can be read")
    if not (isinstance(metadata["filters"], int) and 1 <= metadata["filters"] <= LARGEST_FILTERS):
        raise InputError(f"{name} has {str(metadata['filters'])[:20]} filters: 1 to {LARGEST_FILTERS} can be read")
    names = (*metadata["descriptors"], *(metadata.get("training", {}).get("kernels") or ()))
    if isinstance(metadata["descriptors"], str) or not all(isinstance(one, str) for one in names):
        raise InputError(f"{name} has descriptors or kernels that are no list of names: update the model")
    low, high = metadata.get("mixture_noise_hu", (0.0, 1.0))
    if not 0 <= float(low) < float(high):
        raise InputError(f"{name} interpolates between {low} and {high} HU of noise: the first must be lower")
    if metadata["arm"] == "bioatt" and not metadata["descriptor_set"]:
        raise KeyError("descriptor_set")
    if not isinstance(metadata.get("prior") or "", str):
        raise InputError(f"{name} has a prior that is no name of a source: update the model")
    if not 0 < float(metadata.get("training", {}).get("prior_rise", 1.0)) <= 1:
        raise InputError(f"{name} has prior_rise {metadata['training']['prior_rise']}: above 0 to 1 can be read")
    for key in ("noise_hu", "pixel_mm", "slice_thickness_mm"):
        low, high = metadata.get("training", {}).get(key, (0.0, 0.0))
        if not float(low) <= float(high):
            raise InputError(f"{name} has a range {key} whose ends are swapped: {low} to {high}")


def save_model(
    path: Path, network: BioAttNetwork, metadata: Mapping[str, Any], quiet: BioAttNetwork | None = None
) -> str:
    """Write a trained-model file, whole or not at all; returns its SHA-256.

    metadata: must hold `descriptors` (names; empty for arms without prior), `version` and `training`; the network's own
    attributes are added. quiet: the low-noise end of a weight interpolation whose high-noise end is `network`; the
    metadata must then hold `mixture_noise_hu` (`InterpolatedWeights.noise_hu`). Weights equal at both ends are stored
    once.
    """
    described = {
        **metadata,
        "format": FORMAT,
        "arm": network.arm,
        "filters": network.filters,
        "weighting": network.weighting,
        "layout": network.layout,
        "means_px": _means_px(network),
        "padding": PADDING,
        "normalisation": NORMALISATION,
    }
    weights = network.state_dict()
    if quiet is None:  # the metadata may come from a model with one
        described = {key: value for key, value in described.items() if key not in INTERPOLATION_KEYS}
    else:
        described["quiet_means_px"] = _means_px(quiet)
        others = quiet.state_dict()
        if not all(torch.equal(value, weights[name]) for name, value in others.items()):
            weights.update({f"{QUIET}{name}": value for name, value in others.items()})
    import safetensors.torch

    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    partial = path.with_name(f".{path.name}.partial")
    safetensors.torch.save_file(weights, partial, metadata={"bioatt": json.dumps(described, sort_keys=True)})
    partial.chmod(0o644)  # safetensors creates it readable by its owner alone, which breaks a shared installation
    os.replace(partial, path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def add_to_training(path: Path, added: Mapping[str, Any]) -> str:
    """Add keys to `training` in a model file's header, whole or not at all; returns the file's new SHA-256.

    The weights' bytes stay as they are (safetensors: eight bytes of length, a JSON header, the tensors). Raises
    InputError where the file is not one of ours.
    """
    read_model(path)
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    metadata = json.loads(header["__metadata__"]["bioatt"])
    metadata["training"] = {**metadata.get("training", {}), **added}
    header["__metadata__"]["bioatt"] = json.dumps(metadata, sort_keys=True)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the format aligns the tensors to eight bytes
    with atomic_write(path) as partial:
        partial.write_bytes(len(text).to_bytes(8, "little") + text + content[end:])
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _means_px(network: BioAttNetwork) -> float:
    return network.low_pass.sigma_px if network.low_pass is not None and network.low_pass.share else 0.0
