"""Denoising of one scan by the rule that applies to it: the step that batches and nodes repeat.

engine = Engine("auto")
outcome = denoise_series(series, read_rules(path), Results(out), engine)
outcome.status      # done, done before, left out or failed
outcome.folder      # results: volumes or derived DICOM series, preview.webp, manifest.json
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bioatt.core.errors import BioAttError, Cancelled, InputError
from bioatt.core.provenance import DENOISED_BEFORE, DERIVED_MARK
from bioatt.io.files import suffix_of
from bioatt.io.integrity import content_sha256
from bioatt.io.locks import BusyError
from bioatt.io.outputs import check_result_output, write_result
from bioatt.io.phases import each_volume
from bioatt.service.finding import Series
from bioatt.service.results import MANIFEST, Results, key_of, output_entry, read_manifest
from bioatt.service.rules import Rule, first_met

if TYPE_CHECKING:
    from bioatt.anatomy.sources import AnatomySource
    from bioatt.core.volume import Volume
    from bioatt.inference.denoiser import Denoiser
    from bioatt.inference.slices import Progress

DONE, DONE_BEFORE, LEFT_OUT, FAILED = "done", "done before", "left out", "failed"
DICOM = "dicom"
PREVIEW = "preview.webp"
_OWN_FORMAT = {".nhdr": "nrrd", ".mhd": "mha", ".nii": "nii.gz"}
"""Output format for input formats that are not written; others keep their format."""

log = logging.getLogger("bioatt.service")


@dataclass(frozen=True)
class Outcome:
    """Outcome of a scan. reason: why it was left out or failed. ours: whether the program, not the input, is at fault.

    folder: of its results. seconds: duration, whatever the outcome.
    """

    name: str
    status: str
    reason: str = ""
    folder: Path | None = None
    ours: bool = False
    seconds: float = 0.0

    @property
    def manifest(self) -> dict[str, Any]:
        """Manifest of its results; empty if there are none."""
        return (self.folder and read_manifest(self.folder)) or {}


class Engine:
    """Denoisers by model, and the organ maps, each loaded on first use and kept for the next scan."""

    def __init__(self, device: str = "auto") -> None:
        self.device = device
        self._denoisers: dict[str, Denoiser] = {}

    def denoiser(self, model: str) -> Denoiser:
        """The denoiser for a model. Raises InputError for an unknown model or device."""
        from bioatt.inference.assembly import make_denoiser
        from bioatt.inference.options import EngineOptions

        if model not in self._denoisers:
            self._denoisers[model] = make_denoiser(EngineOptions(model=model, device=self.device))
        return self._denoisers[model]

    @cached_property
    def anatomy(self) -> AnatomySource:
        """The organ maps."""
        from bioatt.compute.device import choose
        from bioatt.priors.anatomy import build_anatomy

        return build_anatomy("maps", str(choose(self.device).device))


class _LeftOut(Exception):
    """A scan is not denoised, for this reason."""


def denoise_series(
    series: Series,
    rules: tuple[Rule, ...],
    results: Results,
    engine: Engine,
    *,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Outcome:
    """Denoise each volume of a scan and publish the results atomically, or return why not. Raises only Cancelled.

    Existing results for the same content, model and settings are recognised, whatever their name. Series denoised by
    this program are left out, so that results are never taken for new scans.
    """
    started = time.monotonic()

    def outcome(status: str, reason: str = "", folder: Path | None = None, ours: bool = False) -> Outcome:
        return Outcome(series.name, status, reason, folder, ours, time.monotonic() - started)

    try:
        status, folder = _denoise(series, rules, results, engine, progress, cancelled)
        return outcome(status, folder=folder)
    except Cancelled:
        raise
    except (_LeftOut, BusyError) as reason:
        return outcome(LEFT_OUT, str(reason))
    except (InputError, MemoryError, OSError) as error:
        cause = str(error) if isinstance(error, InputError) else getattr(error, "strerror", "") or "memory ran out"
        return outcome(FAILED, " ".join(cause.split()))
    except BioAttError as error:
        return outcome(FAILED, " ".join(str(error).split()), ours=True)
    except Exception as error:
        log.info("failed", exc_info=True)
        return outcome(FAILED, f"internal error ({type(error).__name__}): please report it with --verbose", ours=True)


def _denoise(
    series: Series,
    rules: tuple[Rule, ...],
    results: Results,
    engine: Engine,
    progress: Progress | None,
    cancelled: Callable[[], bool] | None,
) -> tuple[str, Path]:
    if DERIVED_MARK in (series.facts.series_description or ""):
        raise _LeftOut(DENOISED_BEFORE)
    rule = first_met(rules, series.facts)
    if rule is None or rule.skip:
        raise _LeftOut("no rule applies" if rule is None else f"skipped by {rule.name}")
    started = time.monotonic()
    denoiser = engine.denoiser(rule.model)
    content = content_sha256(series.content)
    hashed = time.monotonic() - started
    key = key_of(content, denoiser.model.sha256, rule.settings())
    with results.making(key) as folder:
        there = results.find(key, series.name)
        if there is not None:
            return DONE_BEFORE, there
        volumes = [
            _volume(volume, phase, folder, f"-{number}" * bool(phase), rule, engine, progress, cancelled)
            for number, (phase, volume) in enumerate(each_volume(series.files), start=1)
        ]
        manifest = {
            "key": key,
            "content_sha256": content,
            "rule": rule.name,
            "settings": rule.settings(),
            "outputs": [entry for volume in volumes for entry in volume.pop("outputs")],
            "volumes": volumes,
            "hash_s": hashed,
            "seconds": time.monotonic() - started,
        }
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        return DONE, results.publish(folder, series.name, key)


def _volume(
    volume: Volume,
    phase: str,
    folder: Path,
    ending: str,
    rule: Rule,
    engine: Engine,
    progress: Progress | None,
    cancelled: Callable[[], bool] | None,
) -> dict[str, Any]:
    """Denoise, write and measure one volume; returns its part of the manifest. ending: suffix of the volume's files."""
    from bioatt.anatomy.organs import find_organs
    from bioatt.inference.report import run_manifest
    from bioatt.service.preview import write_preview

    if DENOISED_BEFORE in volume.warnings:
        raise _LeftOut(DENOISED_BEFORE)
    outputs = [_output(folder, name, ending) for name in rule.formats or (_own_format(volume),)]
    for output in outputs:
        check_result_output(volume, output, _is_dicom(output))
    result = engine.denoiser(rule.model).denoise(
        volume,
        strength=rule.strength,
        organ_strength=rule.organ_strength,
        anatomy=engine.anatomy,
        progress=progress,
        cancelled=cancelled,
    )
    warnings = list(result.warnings)
    for output in outputs:
        warnings += write_result(
            result.volume,
            output,
            _is_dicom(output),
            model_name=result.model.name,
            model_version=result.model.version,
            strength=result.strength,
            strength_asked=result.strength_asked,
            organ_strength=result.organ_strength,
        )
    organs = find_organs(volume, engine.anatomy, after=result.volume, cancelled=cancelled).table
    preview = folder / f"{Path(PREVIEW).stem}{ending}{Path(PREVIEW).suffix}"
    write_preview(volume, result.volume, preview)
    return {
        **run_manifest(result, volume.sources),
        "phase": phase or None,
        "warnings": [*warnings, *organs["warnings"]],
        "organs": organs["organs"],
        "preview": preview.name,
        "outputs": [output_entry(output) for output in (*outputs, preview)],
    }


def _output(folder: Path, name: str, ending: str) -> Path:
    return folder / (f"{DICOM}{ending}" if name == DICOM else f"denoised{ending}.{name}")


def _is_dicom(output: Path) -> bool:
    return output.name.startswith(DICOM)


def _own_format(volume: Volume) -> str:
    suffix = suffix_of(volume.sources[0])
    if suffix in (".nrrd", ".nii.gz", ".mha", *_OWN_FORMAT):
        return _OWN_FORMAT.get(suffix, suffix[1:])
    return DICOM
