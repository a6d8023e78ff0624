"""The report of a batch: report.json, report.csv (one line per volume) and report.html (one file, with thumbnails)."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bioatt
from bioatt.anatomy.descriptors import ANATOMY_SET, load_descriptor_set
from bioatt.io.files import atomic_write
from bioatt.service.page import page
from bioatt.service.studies import Outcome

if TYPE_CHECKING:
    from bioatt.service.batch import Batch

NAME = "report"
_COLUMNS = (
    "name", "status", "reason", "folder", "phase", "slices", "model", "strength", "noise_before_hu", "noise_after_hu",
    "seconds", "warnings",
)  # fmt: skip


def report(batch: Batch) -> dict[str, Any]:
    """The content of report.json. Names are those of the input's files and folders."""
    return {
        "bioatt": bioatt.__version__,
        "finished": datetime.now().astimezone().isoformat(timespec="seconds"),
        "seconds": round(batch.seconds, 2),
        "counts": dict(Counter(outcome.status for outcome in batch.outcomes)),
        "images_left_out": dict(batch.found.left_out),
        "scans": [_scan(outcome, batch.out) for outcome in batch.outcomes],
        "research_use_only": True,
    }


def write_report(found: dict[str, Any], out: Path) -> None:
    """Write a `report` to the output folder in its three forms, each atomically, replacing those of an earlier run."""
    texts = {"json": json.dumps(found, indent=1) + "\n", "csv": as_csv(found), "html": page(found, out)}
    for suffix, text in texts.items():
        with atomic_write(out / f"{NAME}.{suffix}") as partial:
            partial.write_text(text, encoding="utf-8")


def _scan(outcome: Outcome, out: Path) -> dict[str, Any]:
    manifest = outcome.manifest
    return {
        "name": outcome.name,
        "status": outcome.status,
        "reason": outcome.reason or None,
        "folder": None if outcome.folder is None else outcome.folder.relative_to(out).as_posix(),
        "seconds": round(outcome.seconds, 2),
        "rule": manifest.get("rule"),
        "content_sha256": manifest.get("content_sha256"),
        "outputs": manifest.get("outputs", []),
        "volumes": manifest.get("volumes", []),
    }


def as_csv(found: dict[str, Any]) -> str:
    """Format as CSV: one line per volume, or per scan without results. Two columns of noise in HU for each organ."""
    organs = load_descriptor_set(ANATOMY_SET).descriptors
    columns = [*_COLUMNS, *(_column(organ, when) for organ in organs for when in ("before", "after"))]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    for scan in found["scans"]:
        writer.writerows({key: _plain(value) for key, value in row.items()} for row in _rows(scan))
    return text.getvalue()


def _rows(scan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    own = {key: scan[key] for key in ("name", "status", "reason", "folder", "seconds")}
    if not scan["volumes"]:
        yield own
    for volume in scan["volumes"]:
        yield {
            **own,
            "phase": volume["phase"],
            "slices": volume["shape_zyx"][0],
            "model": volume["model"]["name"],
            "strength": volume["strength"],
            "noise_before_hu": volume["noise_hu"]["before"],
            "noise_after_hu": volume["noise_hu"]["after"],
            "seconds": round(volume["seconds"], 2),
            "warnings": "; ".join(volume["warnings"]),
            **{_column(row["organ"], when): row[f"noise_{when}"] for row in volume["organs"] for when in _TIMES},
        }


_TIMES = ("before", "after")


def _column(organ: str, when: str) -> str:
    return f"{organ.replace(' ', '_')}_noise_{when}_hu"


def _plain(value: Any) -> Any:
    """Escape text that a spreadsheet would take for a formula (=, +, - or @ at the start); names may be untrusted."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t") else value
