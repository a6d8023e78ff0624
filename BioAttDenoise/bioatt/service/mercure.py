"""A mercure processing module: reads a folder of DICOM files and writes a folder of derived ones.

mercure passes the folders in MERCURE_IN_DIR and MERCURE_OUT_DIR. The first contains .dcm files (SERIES#IMAGE.dcm) and
task.json, whose "process": {"settings": {...}} holds the settings from mercure's pages for module and rule. These are
the keys of one rule of `service.rules`, e.g. {"strength": "medium"}; mercure itself selects the series.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bioatt.core.errors import InputError
from bioatt.io.files import move_new, read_json
from bioatt.service.finding import find_series
from bioatt.service.results import Results
from bioatt.service.rules import rules_of
from bioatt.service.studies import DICOM, DONE, FAILED, Engine, Outcome, denoise_series

TASK = "task.json"


def run_module(source: Path, out: Path, device: str = "auto") -> list[Outcome]:
    """Denoise the series that mercure put into `source`; derived images appear in `out`, one series at a time.

    Raises InputError if a folder is missing, the settings cannot be used, or a series could not be denoised; the other
    series are written nevertheless.
    """
    for folder in (source, out):
        if not folder.is_dir():
            raise InputError(
                f"folder {folder.name} does not exist: let mercure create it, or mount it with docker's --volume"
            )
    rules = rules_of({"rule": [_settings(source)]}, source)
    if set(rules[0].formats) - {DICOM}:
        raise InputError(f"{TASK}: settings: formats: mercure accepts only DICOM: remove formats")
    engine = Engine(device)
    with tempfile.TemporaryDirectory(prefix=".bioatt-", dir=out) as work:
        outcomes = [denoise_series(one, rules, Results(Path(work)), engine) for one in find_series(source).series]
        for outcome in outcomes:
            if outcome.status == DONE and outcome.folder is not None:
                _publish(outcome.folder, out)
    failed = [outcome for outcome in outcomes if outcome.status == FAILED]
    if failed:
        raise InputError("; ".join(f"{outcome.name}: {outcome.reason}" for outcome in failed))
    return outcomes


def _settings(source: Path) -> Mapping[str, Any]:
    """The module's settings in task.json; empty if the file, or that part of it, is missing."""
    if not (source / TASK).exists():
        return {}
    task = read_json(source / TASK, "mercure's task")
    process = task.get("process") if isinstance(task, dict) else None
    settings = process.get("settings") if isinstance(process, dict) else None
    if settings is not None and not isinstance(settings, dict):
        raise InputError(f"{TASK}: the settings are not a JSON object: give one, e.g. {{}}")
    return settings or {}


def _publish(results: Path, out: Path) -> None:
    """Move derived images into the folder that mercure reads, named in its scheme: SERIES#IMAGE.dcm."""
    from pydicom import dcmread

    for image in sorted(results.rglob("*.dcm")):
        header = dcmread(image, specific_tags=["SeriesInstanceUID", "SOPInstanceUID"])
        move_new(image, out / f"{header.SeriesInstanceUID}#{header.SOPInstanceUID}.dcm")
