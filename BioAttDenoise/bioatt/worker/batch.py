"""The request `batch`, as `bioatt batch`; without a rules file, the request's settings form a single rule."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bioatt.service.batch import Told, run_batch
from bioatt.service.report import NAME, report, write_report
from bioatt.service.rules import Rule, read_rules, rules_of

_SETTINGS = ("model", "strength", "organ_strength")


def batch(request: dict[str, Any], device: str, told: Callable[[Told], None]) -> dict[str, Any]:
    """Denoise all scans in an input into a folder with a report; returns the reply. InputError as `run_batch`."""
    out = Path(request["output"]["path"])
    found = report(run_batch(Path(request["source"]["path"]), out, _rules(request), device=device, told=told))
    write_report(found, out)
    return {"report": found, "page": str(out / f"{NAME}.html")}


def _rules(request: dict[str, Any]) -> tuple[Rule, ...]:
    if request.get("rules"):
        return read_rules(Path(request["rules"]))
    settings = {key: request[key] for key in _SETTINGS if request.get(key) is not None}
    return rules_of({"rule": [{"name": "settings", **settings}]}, Path())
