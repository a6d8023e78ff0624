"""Several models on the same slices: judged one after the other, kept as they come, and tested in pairs."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bioatt.files import appearing_whole
from bioatt.metrics import WINDOWS
from bioatt.models import TrainedModel
from bioatt_training.bank import Bank
from bioatt_training.evaluation.judge import Judgement, Row, columns, evaluate
from bioatt_training.evaluation.protocol import METRICS
from bioatt_training.statistics import paired

Result = dict[str, Any]
HEADLINE = (
    *(f"protocol/{metric}" for metric in METRICS),
    *(f"{window}/{figure}" for window in WINDOWS for figure in ("psnr_db", "ssim")),
    "noise/output_over_low",
)
"""Figures that models are compared by."""


def evaluate_all(
    models: Sequence[TrainedModel],
    bank: Bank,
    judgement: Judgement,
    path: Path | None = None,
    *,
    progress: Callable[[], None] = lambda: None,
) -> list[Result]:
    """Results of all models (see `judge.evaluate`), in their order; progress is called after each patient.

    With a path all is written there as JSON {"results", "differences"} after every patient, and rows that are there
    from an interrupted call on the same weights, bank and judgement are taken over.
    """
    said = {"judgement": asdict(judgement), "bank": bank.identity}
    rows_of = {one["sha256"]: one["patients"] for one in _earlier(path) if said.items() <= one.items()}
    results: list[Result] = []
    for model in models:

        def written(rows: list[Row], model: TrainedModel = model) -> None:
            progress()
            so_far = {"model": model.name, "sha256": model.sha256, **said, "patients": rows}
            _write(path, {"results": [*results, so_far]})

        result = evaluate(model, bank, judgement, known=rows_of.get(model.sha256, ()), progress=written)
        results.append({**result, **said})
    _write(path, {"results": results, "differences": differences(results)})
    return results


def differences(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Each further result against the first, on the patients of both: {"model", "against", "figures": {name: paired}}.

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


def _earlier(path: Path | None) -> list[Result]:
    if path is None or not path.is_file():
        return []
    try:
        results: list[Result] = json.loads(path.read_text(encoding="utf-8"))["results"]
    except (json.JSONDecodeError, KeyError, TypeError):
        return []  # another program's file: replaced, as the user named it
    return results


def _write(path: Path | None, content: dict[str, Any]) -> None:
    if path is not None:
        with appearing_whole(path) as partial:
            partial.write_text(json.dumps(content, indent=1), encoding="utf-8")
