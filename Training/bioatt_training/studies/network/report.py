"""results.json and README.md of the examination. README.md is written from results.json alone:

python -m bioatt_training.studies.network.report OUT
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bioatt_training.reporting import (
    format_interval,
    format_number,
    markdown_table,
    write_json,
    write_markdown,
)
from bioatt_training.studies.network import tables
from bioatt_training.studies.network.aims import aims
from bioatt_training.studies.network.runner import Row, Runner

DIGITS = 4


def measured(runner: Runner) -> Iterator[dict[str, Any]]:
    """The results as they grow, section by section; measures what is not stored yet.

    {"part", "size", "models": {name: SHA-256}, "aims": table, "tables": [table]}.
    """
    rows: dict[str, list[Row]] = {}
    results: dict[str, Any] = {
        "part": runner.part,
        "size": runner.size.name,
        "models": {model.name: model.model.sha256 for model in runner.models},
        "tables": [],
    }
    for kind, measure, sections in (
        ("single", runner.singles, (tables.single_slices, tables.doses, tables.texture)),
        ("slab", runner.slabs, (tables.slabs,)),
        ("torso", runner.torsos, (tables.torsos,)),
        ("priors", runner.priors, (tables.priors, tables.guidance, tables.attention)),
    ):
        rows[kind] = measure()
        if rows[kind]:
            results["tables"] += [one for section in sections for one in section(rows[kind])]
        results["aims"] = aims(rows)
        yield results


def write_report(results: Mapping[str, Any], folder: Path) -> None:
    """Write results.json and README.md, each whole or not at all."""
    write_json(folder / "results.json", results, DIGITS)
    write_readme(folder)


def write_readme(folder: Path) -> None:
    """Write README.md from the folder's results.json."""
    write_markdown(folder / "README.md", readme(json.loads((folder / "results.json").read_text(encoding="utf-8"))))


def readme(results: Mapping[str, Any]) -> list[str]:
    """The lines of README.md."""
    models = ", ".join(f"{name} (SHA-256 `{sha[:16]}`)" for name, sha in results["models"].items())
    return [
        "# The network, examined",
        "",
        f"Made by `bioatt-train examine`, {results['size']} mode, on the {results['part']} patients (all values in",
        f"[results.json](results.json)). Research use only, not for diagnosis. {models}.",
        "Noise of a quarter dose inserted in the projection domain; outputs on the CPU, under the models' own prior",
        "unless another is named. Brackets are 95 % intervals over patients (paired where a difference is shown); n:",
        "slices (patients).",
        *(line for one in (results["aims"], *results["tables"]) for line in _section(one)),
    ]


def _section(one: Mapping[str, Any]) -> list[str]:
    rows = [[cell_text(cell, digits) for cell, digits in zip(row, one["digits"], strict=True)] for row in one["rows"]]
    note = [one["note"], ""] if one["note"] else []
    return ["", f"## {one['title']}", "", *note, *markdown_table(one["columns"], rows)]


def cell_text(cell: Any, digits: int) -> str:
    """A cell of a table for people."""
    if isinstance(cell, str):
        return cell
    return format_interval(cell, digits, count=2) if isinstance(cell, list) else format_number(cell, digits)


if __name__ == "__main__":
    write_readme(Path(sys.argv[1]))
