"""Train every learner, judge them on the same slices, and write the report; goes on where it was interrupted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bioatt.inference.models import load_model
from bioatt_training.adversarial.features import Backbone, load_features
from bioatt_training.data.bank import DOSE, Bank
from bioatt_training.evaluation.compare import evaluate_all
from bioatt_training.evaluation.judge import Judgement, columns
from bioatt_training.evaluation.statistics import paired
from bioatt_training.fit.history import read_history
from bioatt_training.fit.run import fit
from bioatt_training.studies.learning.figures import FurtherFigures, draw_slice
from bioatt_training.studies.learning.learners import LEARNERS, Size, configuration
from bioatt_training.studies.learning.report import FIGURES, write_report

JUDGES: Backbone = "organ_maps"
"""The features of the distance: others than those that ALDEN is trained with."""
PICTURE = "slices.png"


def compare_learners(
    bank_folder: Path, folder: Path, size: Size, *, names: Sequence[str], per_patient: int, say: Callable[[str], None]
) -> None:
    """Write README.md, results.json and a picture into `folder`; trainings are kept in its sub-folder `runs`."""
    models, drift = {}, {}
    for name in names:
        config = configuration(name, str(bank_folder), size)
        models[name] = load_model(fit(config, folder / "runs" / name))
        drift[name] = [line.get("val_drift_hu") for line in read_history(folder / "runs" / name)]
        say(f"{name}: trained")
    bank = Bank(bank_folder)
    judgement = Judgement("test", DOSE, per_patient)
    judged = evaluate_all(
        list(models.values()), bank, judgement, folder / "judged.json", further=FurtherFigures(JUDGES)
    )
    held = {name: columns(result["patients"]) for name, result in zip(names, judged, strict=True)}
    first = held[names[0]]
    results: dict[str, Any] = {
        "size": {**asdict(size), "slices": sum(row["slices"] for row in judged[0]["patients"])},
        "data": {part: _counted(bank, part) for part in ("train", "validation", "test")},
        "features": {"trained": load_features("efficientnet_lite0").said, "judged": load_features(JUDGES).said},
        "learners": {name: asdict(LEARNERS[name]) for name in names},
        "drift": drift,
        "means": {
            name: {key: one["mean"].get(key) for key in FIGURES} for name, one in zip(names, judged, strict=True)
        },
        "low": {key: judged[0]["mean"].get(f"{key}_low") for key in FIGURES},
        "differences": {
            name: {key: paired(held[name][key], first[key])["difference"] for key in FIGURES} for name in names[1:]
        },
    }
    test = bank.indices("test")
    largest = test[int(np.argmax([np.prod(bank.slices[index].shape) for index in test]))]
    draw_slice(bank, largest, {LEARNERS[name].name: model for name, model in models.items()}, folder / PICTURE)
    results["picture"] = bank.slices[largest].source
    write_report(results, folder)


def _counted(bank: Bank, part: str) -> dict[str, int]:
    slices = [bank.slices[index] for index in bank.indices(part)]
    return {"patients": len({one.patient for one in slices}), "slices": len(slices)}
