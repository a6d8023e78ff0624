"""The JSON report of a denoising: enough to repeat it and to judge it, nothing about the patient."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bioatt
from bioatt.anatomy.descriptors import load_descriptor_set
from bioatt.core.errors import InputError
from bioatt.io.files import atomic_write

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bioatt.inference.denoiser import Denoiser, Result


def report(result: Result, made_of: dict[str, Any] | None = None) -> dict[str, Any]:
    """Versions, model hash, prior by slice, noise before and after by slice (HU, null where unmeasurable), timings.

    prior_blended: share by slice of the model's own prior that the network was shown in place of the one asked for.
    made_of: the prior's `provenance`.
    """
    return {
        "bioatt": bioatt.__version__,
        "python": platform.python_version(),
        "torch": importlib.metadata.version("torch"),
        "model": {"name": result.model.name, "version": result.model.version, "sha256": result.model.sha256},
        "prior": None if result.prior is None else result.prior.as_table(),
        "prior_provenance": made_of,
        "prior_blended": None if result.prior_blended is None else _numbers(result.prior_blended),
        "strength": result.strength,
        "device": result.device,
        "precision": result.precision,
        "shape_zyx": list(result.volume.shape),
        "noise_before_hu": _numbers(result.noise_before),
        "noise_after_hu": _numbers(result.noise_after),
        "seconds": result.seconds,
        "seconds_per_slice": result.seconds / result.volume.shape[0],
        "warnings": list(result.warnings),
        "research_use_only": True,
    }


def _numbers(values: NDArray[Any]) -> list[float | None]:
    return [float(value) if value == value else None for value in values]


def write_report(result: Result, path: Path, made_of: dict[str, Any] | None = None, *, overwrite: bool = True) -> None:
    """Write `report(result, made_of)` as JSON, whole or not at all. Raises OccupiedError as `atomic_write`."""
    with atomic_write(path, overwrite=overwrite) as partial:
        partial.write_text(json.dumps(report(result, made_of), indent=1), encoding="utf-8")


def provenance(denoiser: Denoiser, *, prior: str = "embedded", descriptors: str | None = None) -> dict[str, Any] | None:
    """What a prior with these options is made of; None where the model has none.

    descriptor_set: name and SHA-256 of its words; prior_files_sha256: of the files that `prior` names, in that order.
    The files' names are left out: they may name a patient. Raises InputError where a file is gone.
    """
    from bioatt.io.files import files_named

    if not denoiser.model.metadata.get("descriptor_set"):
        return None
    words = denoiser.descriptors if descriptors is None else load_descriptor_set(descriptors)
    try:
        files = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files_named(prior)]
    except OSError as error:
        raise InputError(f"a file of the prior cannot be read ({error.strerror}): check the path") from None
    return {"descriptor_set": {"name": words.name, "sha256": words.text_hash}, "prior_files_sha256": files}
