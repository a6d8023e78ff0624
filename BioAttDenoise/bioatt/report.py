"""The JSON report of a denoising: enough to repeat it and to judge it, nothing about the patient."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bioatt
from bioatt.files import appearing_whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bioatt.denoiser import Result


def report(result: Result) -> dict[str, Any]:
    """Versions, model hash, prior by slice, noise before and after by slice (HU, null where unmeasurable), timings."""
    return {
        "bioatt": bioatt.__version__,
        "python": platform.python_version(),
        "torch": importlib.metadata.version("torch"),
        "model": {"name": result.model.name, "version": result.model.version, "sha256": result.model.sha256},
        "prior": None if result.prior is None else result.prior.as_table(),
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


def write_report(result: Result, path: Path) -> None:
    """Write `report(result)` as JSON, whole or not at all."""
    with appearing_whole(path) as partial:
        partial.write_text(json.dumps(report(result), indent=1), encoding="utf-8")
