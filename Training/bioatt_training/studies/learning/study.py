"""Train every learner, evaluate them on the same slices, and write the report; resumes after an interruption."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bioatt.inference.models import TrainedModel, load_model
from bioatt_training.adversarial.features import Backbone, load_features
from bioatt_training.data.bank import DOSE, Bank
from bioatt_training.evaluation.compare import Result, evaluate_all
from bioatt_training.evaluation.judge import Judgement, columns
from bioatt_training.evaluation.statistics import paired
from bioatt_training.fit.run import fit
from bioatt_training.studies.learning.detectability import Detectability
from bioatt_training.studies.learning.figures import FurtherFigures, draw_slice
from bioatt_training.studies.learning.learners import LEARNERS, Size, configuration
from bioatt_training.studies.learning.report import DETECTABILITY, FIGURES, write_report

JUDGES: Backbone = "organ_maps"
"""Features for the distance, different from those used to train ALDEN."""
PICTURE = "slices.png"


def compare_learners(
    bank_folder: Path, folder: Path, size: Size, *, names: Sequence[str], per_patient: int, say: Callable[[str], None]
) -> None:
    """Write README.md, results.json and a figure to `folder`; update them after every learner from the second on.

    Trainings are stored in its subfolder `runs`.
    """
    bank, judgement, further = Bank(bank_folder), Judgement("test", DOSE, per_patient), FurtherFigures(JUDGES)
    detectability = Detectability(folder / "detectability.jsonl")
    models: dict[str, TrainedModel] = {}
    ratios: dict[str, list[float]] = {}
    for name in names:
        weights = fit(configuration(name, str(bank_folder), size), folder / "runs" / name)
        models[name], ratios[name] = load_model(weights), detectability(weights)
        judged = evaluate_all(list(models.values()), bank, judgement, folder / "judged.json", further=further)
        say(f"{name}: trained and evaluated")
        if len(models) > 1:
            picture = _picture(bank, models, folder)
            figures = _figures(models, judged, ratios)
            write_report({**_described(bank, size, names), **figures, "picture": picture}, folder)


def _described(bank: Bank, size: Size, names: Sequence[str]) -> dict[str, Any]:
    return {
        "size": asdict(size),
        "data": {part: _counted(bank, part) for part in ("train", "validation", "test")},
        "features": {"trained": load_features("efficientnet_lite0").said, "judged": load_features(JUDGES).said},
        "learners": {name: {"name": LEARNERS[name].name, "said": LEARNERS[name].said} for name in names},
    }


def _figures(names: Iterable[str], judged: Sequence[Result], ratios: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Means of each learner and of the low dose, and each learner minus the first, with intervals."""
    by_name = dict(zip(names, judged, strict=True))
    held = {name: columns(result["patients"]) for name, result in by_name.items()}
    first, *others = held
    return {
        "slices": sum(row["slices"] for row in judged[0]["patients"]),
        "low": {key: judged[0]["mean"].get(f"{key}_low") for key in FIGURES},
        "means": {
            name: {**{key: result["mean"].get(key) for key in FIGURES}, DETECTABILITY: ratios[name]}
            for name, result in by_name.items()
        },
        "differences": {
            name: {
                key: paired(held[name][key], held[first][key])["difference"]
                for key in FIGURES
                if key in held[name] and key in held[first]
            }
            for name in others
        },
    }


def _picture(bank: Bank, models: Mapping[str, TrainedModel], folder: Path) -> str:
    """Draw the largest test slice; returns its source."""
    largest = max(bank.indices("test"), key=lambda index: np.prod(bank.slices[index].shape))
    draw_slice(bank, largest, {LEARNERS[name].name: model for name, model in models.items()}, folder / PICTURE)
    return bank.slices[largest].source


def _counted(bank: Bank, part: str) -> dict[str, int]:
    slices = [bank.slices[index] for index in bank.indices(part)]
    return {"patients": len({one.patient for one in slices}), "slices": len(slices)}
