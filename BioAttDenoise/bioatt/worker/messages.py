"""Conversion between fields of requests and replies and the engine's objects: options, volumes, priors, results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bioatt.core.errors import InputError
from bioatt.core.strength import DEFAULT_STRENGTH, LEVELS, UNMEASURED, Strength, TargetNoise
from bioatt.inference.options import EngineOptions
from bioatt.io.integrity import data_files

if TYPE_CHECKING:
    from bioatt.anatomy.sources import AnatomySource
    from bioatt.core.noise.removal import NoiseRemoval
    from bioatt.core.volume import Volume
    from bioatt.inference.denoiser import Denoiser, Result

FindDevices = Callable[[], list[dict[str, str]]]


def engine_options(request: dict[str, Any], find_devices: FindDevices) -> EngineOptions:
    """Options from a request; device "gpu" is the best device other than the CPU. Raises InputError without one."""
    names = (field.name for field in fields(EngineOptions))
    options = EngineOptions(**{name: request[name] for name in names if request.get(name) is not None})
    if options.device != "gpu":
        return options
    best = find_devices()[0]["name"]
    if best == "cpu":
        raise InputError("no graphics card found: choose the processor or automatic")
    return replace(options, device=best)


def file_stamps(options: EngineOptions) -> list[tuple[int, int]]:
    """(mtime in ns, bytes) of the files that the options name, to detect edited files."""
    found = [each.stat() for file in options.files() for each in (file, *data_files(file)) if each.is_file()]
    return [(state.st_mtime_ns, state.st_size) for state in found]


def volume_of(described: dict[str, Any], folder: Path, *, hu: bool = True) -> Volume:
    """The volume of a request: a file, or an array in the private folder plus geometry. hu: False for labels."""
    from bioatt.core.hu import check_hu
    from bioatt.core.volume import Acquisition, Volume
    from bioatt.io.dicom.read import check_headers
    from bioatt.io.images import read_volume

    if "path" in described:
        series, phase = described.get("series"), described.get("phase")
        return read_volume(described["path"], series=series, phase=phase, hu=hu)
    voxels = _array(folder / Path(described["array"]).name)
    return Volume(
        voxels,
        spacing=tuple(described["spacing"]),
        origin=tuple(described["origin"]),
        direction=np.asarray(described["direction"], float),
        acquisition=Acquisition(**(described.get("acquisition") or {})),
        warnings=(*check_headers(tuple(described.get("files") or ())), *(check_hu(voxels) if hu else ())),
    )


def _array(file: Path) -> np.ndarray:
    """Load an array from the private folder. Raises InputError if it is missing or not an array."""
    try:
        return np.asarray(np.load(file))
    except (ValueError, EOFError, FileNotFoundError, IsADirectoryError):
        raise InputError(f"{file.name} is not an array in the worker's folder: save it there as .npy") from None


def anatomy_of(described: str | dict[str, Any] | None, folder: Path, device: str = "cpu") -> AnatomySource:
    """The anatomy source that a request describes. Raises InputError if it cannot be used."""
    from bioatt.priors.anatomy import anatomy_of_labels, build_anatomy

    if described is None or isinstance(described, str):
        return build_anatomy(described or "maps", device)
    labels = volume_of(described["labels"], folder, hu=False)
    return anatomy_of_labels(labels, {int(value): str(name) for value, name in described["names"].items()})


def denoise_arguments(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Keyword arguments of `Denoiser.denoise`: strength, organ_strength, anatomy, slices, attention."""
    slices, attention = request.get("slices"), request.get("attention")
    arguments: dict[str, Any] = {
        "strength": _strength(request),
        "slices": None if slices is None else range(*slices),
    }
    if request.get("organ_strength"):
        anatomy = request.get("anatomy") or "maps"
        arguments |= {
            "organ_strength": request["organ_strength"],
            "anatomy": anatomy if anatomy == "maps" else anatomy_of(anatomy, folder),
        }
    if attention is not None:
        from bioatt.inference.attention import AttentionRequest

        given = {k: v for k, v in attention.items() if v is not None}
        wanted: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
        arguments["attention"] = AttentionRequest(**wanted)
    return arguments


def _strength(request: dict[str, Any]) -> Strength:
    strength, target = request.get("strength"), request.get("target_noise")
    if target is not None:
        return TargetNoise(float(target))
    return DEFAULT_STRENGTH if strength is None else strength


def strength_reply(removal: NoiseRemoval | None) -> dict[str, Any]:
    """The strength of each level for a volume, its noise in HU, and the share that strengths 0, 0.05 … 1 remove.

    The last two are null if the noise cannot be measured.
    """
    if removal is None:
        return {"levels": UNMEASURED, "noise": None, "removed": None}
    return {
        "levels": {name: removal.strength(share) for name, share in LEVELS.items()},
        "noise": removal.noise_hu,
        "removed": [round(removal.removed(step / 20), 4) for step in range(21)],
    }


def probabilities_of(table: dict[str, Any], descriptors: tuple[str, ...]) -> np.ndarray:
    """p (N,) over a model's descriptors, from a prior table with one row. Raises InputError if one is missing."""
    from bioatt.priors import Prior

    row = np.asarray([table["probabilities"]], np.float32)
    return np.asarray(Prior(row, tuple(table["descriptors"]), "override", ("",)).aligned_to(descriptors).p)[0]


def prior_reply(table: dict[str, Any]) -> dict[str, Any]:
    """A prior table without slice identifiers; its rows are in canonical order, feet to head."""
    return {key: table[key] for key in ("source", "descriptors", "probabilities")}


def model_reply(denoiser: Denoiser) -> dict[str, Any]:
    """Name, version, hash and descriptors of a loaded model."""
    model = denoiser.model
    return {**_identity(model), "descriptors": list(model.descriptors)}


def result_reply(result: Result, provenance: dict[str, Any] | None) -> dict[str, Any]:
    """The numbers of a Result.

    `noise_before` and `noise_after` in HU are measured as in the forecast of the `strength` reply, null if not
    measurable.
    """
    before, after = result.noise or (None, None)
    return {
        "model": _identity(result.model),
        "prior": None if result.prior is None else prior_reply(result.prior.as_table()),
        "provenance": None if result.prior is None else provenance,
        "device": result.device,
        "precision": result.precision,
        "way": result.way,
        "strength": result.strength,
        "strength_asked": result.strength_asked or None,
        "organ_strength": dict(result.organ_strength),
        "anatomy": result.anatomy,
        "noise_before": before,
        "noise_after": after,
    }


def _identity(model: Any) -> dict[str, str]:
    return {"name": model.name, "version": model.version, "sha256": model.sha256}
