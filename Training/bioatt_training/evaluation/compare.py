"""Evaluate several models on the same slices, store results as they arrive, and test them in pairs."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bioatt.core.errors import InputError
from bioatt.core.metrics import WINDOWS
from bioatt.inference.models import TrainedModel
from bioatt.io.files import atomic_write
from bioatt_training.data.bank import Bank
from bioatt_training.evaluation.judge import Further, Judgement, Row, columns, evaluate
from bioatt_training.evaluation.protocol import METRICS
from bioatt_training.evaluation.statistics import paired

Result = dict[str, Any]
HEADLINE = (
    *(f"protocol/{metric}" for metric in METRICS),
    *(f"{window}/{figure}" for window in WINDOWS for figure in ("psnr_db", "ssim")),
    "noise/output_over_low",
)
"""Metrics used to compare models."""
WRITTEN = ("model", "sha256", "judgement", "patients")
"""Keys of every result, even in the file of an interrupted call."""


def evaluate_all(
    models: Sequence[TrainedModel],
    bank: Bank,
    judgement: Judgement,
    path: Path | None = None,
    *,
    progress: Callable[[], None] = lambda: None,
    further: Further | None = None,
) -> list[Result]:
    """Results of all models in order (see `judge.evaluate`); progress is called after each patient. further: see
    `judge.evaluate`.

    With a path, everything is written there as JSON {"results", "differences"} after every patient, and existing rows
    of an interrupted call with the same weights, bank and judgement are reused. Raises InputError if the path is not a
    result file.
    """
    said = {"judgement": asdict(judgement), "bank": bank.identity}
    rows_of = {one["sha256"]: one["patients"] for one in earlier_results(path) if said.items() <= one.items()}
    results: list[Result] = []
    for model in models:

        def written(rows: list[Row], model: TrainedModel = model) -> None:
            progress()
            so_far = {"model": model.name, "sha256": model.sha256, **said, "patients": rows}
            _write(path, {"results": [*results, so_far]})

        result = evaluate(
            model, bank, judgement, known=rows_of.get(model.sha256, ()), progress=written, further=further
        )
        results.append({**result, **said})
    _write(path, {"results": results, "differences": differences(results)})
    return results


def differences(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Each further result compared with the first, on their common patients: {"model", "against", "figures": {name:
    paired}}.

    Differences are the further model's − the first's; see `statistics.paired`.
    """
    first, *others = results
    found = []
    for other in others:
        common = {row["patient"] for row in first["patients"]} & {row["patient"] for row in other["patients"]}
        here, there = (columns([r for r in one["patients"] if r["patient"] in common]) for one in (other, first))
        figures = {name: paired(here[name], there[name]) for name in HEADLINE if name in here and name in there}
        found.append({"model": other["model"], "against": first["model"], "figures": figures})
    return found


def earlier_results(path: Path | None) -> list[Result]:
    """Results written by an earlier call, empty if there is none. Raises InputError for any other file."""
    if path is None or not path.exists():
        return []
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        content = None
    results = content.get("results") if isinstance(content, dict) else None
    if not (isinstance(results, list) and results and all(map(_is_result, results))):
        raise InputError(f"{path.name} is not a result of bioatt-train evaluate: give another file")
    return results


def _is_result(one: Any) -> bool:
    return isinstance(one, dict) and all(key in one for key in WRITTEN)


def _write(path: Path | None, content: dict[str, Any]) -> None:
    if path is not None:
        with atomic_write(path) as partial:  # later calls reuse the rows: do not round them
            partial.write_text(json.dumps(content, indent=1), encoding="utf-8")
