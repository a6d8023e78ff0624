"""The JSON report of a denoising run: enough to reproduce and assess it, nothing about the patient."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bioatt
from bioatt.anatomy.descriptors import load_descriptor_set
from bioatt.core.errors import InputError
from bioatt.io.files import atomic_write, files_named
from bioatt.io.integrity import content_sha256, data_files

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bioatt.inference.denoiser import Denoiser, Result
    from bioatt.inference.options import EngineOptions


def run_manifest(result: Result, inputs: Iterable[Path]) -> dict[str, Any]:
    """Versions, model hash, hash of the inputs' content, settings, noise (`Result.noise`) and timings.

    inputs: the files of the scan. strength_asked: the requested level or target, null if a value was requested. Raises
    OSError if an input no longer exists.
    """
    before, after = result.noise or (None, None)
    files = list(dict.fromkeys(file for path in inputs for file in (path, *data_files(path))))
    return {
        "bioatt": bioatt.__version__,
        "python": platform.python_version(),
        "torch": importlib.metadata.version("torch"),
        "inputs": {"files": len(files), "sha256": content_sha256(files)},
        "model": {"name": result.model.name, "version": result.model.version, "sha256": result.model.sha256},
        "strength": result.strength,
        "strength_asked": result.strength_asked or None,
        "organ_strength": dict(result.organ_strength),
        "anatomy": result.anatomy,
        "device": result.device,
        "precision": result.precision,
        "backend": result.backend,
        "threads": result.threads,
        "shape_zyx": list(result.volume.shape),
        "noise_hu": {"before": before, "after": after},
        "seconds": result.seconds,
        "seconds_per_slice": result.seconds / result.volume.shape[0],
        "warnings": list(result.warnings),
        "research_use_only": True,
    }


def report(result: Result, prior_provenance: dict[str, Any] | None = None) -> dict[str, Any]:
    """`run_manifest` with prior by slice, and noise before and after by slice (HU, null if not measurable).

    The key prior_blended holds, by slice, the share of the model's own prior in the prior that the network received.
    prior_provenance: see `provenance`.
    """
    return {
        **run_manifest(result, result.volume.sources),
        "prior": None if result.prior is None else result.prior.as_table(),
        "prior_provenance": prior_provenance,
        "prior_blended": None if result.prior_blended is None else _numbers(result.prior_blended),
        "noise_before_hu": _numbers(result.noise_before),
        "noise_after_hu": _numbers(result.noise_after),
    }


def _numbers(values: NDArray[Any]) -> list[float | None]:
    return [_number(value) for value in values]


def _number(value: float) -> float | None:
    return float(value) if value == value else None


def write_report(
    result: Result, path: Path, prior_provenance: dict[str, Any] | None = None, *, overwrite: bool = True
) -> None:
    """Write `report` atomically as JSON. Raises InputError as `atomic_write`."""
    with atomic_write(path, overwrite=overwrite) as partial:
        partial.write_text(json.dumps(report(result, prior_provenance), indent=1), encoding="utf-8")


def provenance(denoiser: Denoiser, options: EngineOptions) -> dict[str, Any] | None:
    """Provenance of the prior; None for a model without prior.

    {"descriptor_set": {"name", "sha256" of names and prompts}, "prior_files_sha256": of the files that `options.prior`
    names, in that order}. File names are omitted, since they may identify a patient. Raises InputError if a file is
    missing.
    """
    if not denoiser.model.metadata.get("descriptor_set"):
        return None
    descriptors = denoiser.descriptors if options.descriptors is None else load_descriptor_set(options.descriptors)
    try:
        files = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files_named(options.prior)]
    except OSError as error:
        raise InputError(f"a prior file cannot be read ({error.strerror}): check the path") from None
    return {"descriptor_set": {"name": descriptors.name, "sha256": descriptors.text_hash}, "prior_files_sha256": files}
