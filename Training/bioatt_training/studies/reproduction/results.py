"""The finished runs of a reproduction as tables over seeds and patients."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bioatt_training.evaluation.statistics import crossed_interval, pooled
from bioatt_training.fit.history import read_history

Key = tuple[str, int]
"""Arm and seed."""
RECORD, EVALUATION = "run.json", "evaluation.json"
"""Files of a finished run in its folder."""


@dataclass(frozen=True)
class Run:
    """One finished run. evaluation: of `judge.evaluate`; history: metrics.csv; record: of `training_run`."""

    evaluation: Mapping[str, Any]
    history: Sequence[Mapping[str, float]]
    record: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Run | None:
        """The run in a folder, or None if it is not finished."""
        if not (folder / RECORD).is_file():
            return None
        (evaluation,) = json.loads((folder / EVALUATION).read_text(encoding="utf-8"))["results"]
        return cls(evaluation, read_history(folder), json.loads((folder / RECORD).read_text(encoding="utf-8")))


@dataclass(frozen=True)
class Results:
    """Finished runs, and the errors of failed ones, by arm and seed."""

    runs: Mapping[Key, Run]
    failures: Mapping[Key, str] = field(default_factory=dict)

    @property
    def arms(self) -> list[str]:
        """Arms with a finished run."""
        return list(dict.fromkeys(arm for arm, _ in self.runs))

    def seeds(self, arm: str) -> list[int]:
        """Seeds of an arm's finished runs."""
        return sorted(seed for name, seed in self.runs if name == arm)

    @cached_property
    def patients(self) -> list[str]:
        """All patients of the evaluation."""
        return sorted({row["patient"] for run in self.runs.values() for row in run.evaluation["patients"]})

    def table(self, arm: str, figure: str, seeds: Sequence[int] | None = None) -> NDArray[np.float64]:
        """A metric (names as in `evaluation.judge`) over (seeds, patients); NaN if missing."""
        found = np.full((len(seeds or self.seeds(arm)), len(self.patients)), np.nan)
        column = {patient: k for k, patient in enumerate(self.patients)}
        for row, seed in enumerate(seeds or self.seeds(arm)):
            for one in self.runs[arm, seed].evaluation["patients"]:
                value = one["values"].get(figure)
                found[row, column[one["patient"]]] = np.nan if value is None else value
        return found

    def interval(self, arm: str, figure: str) -> list[float]:
        """[mean, low, high] over an arm's seeds and patients."""
        return crossed_interval(self.table(arm, figure))

    def learned(self, arm: str) -> bool:
        """Whether the outputs are closer to the scan than the inputs, which is false for runs that are too short."""
        after, before = (np.nanmean(self.table(arm, f"protocol/rmse{suffix}")) for suffix in ("", "_low"))
        return bool(after < before)

    def difference(self, first: str, second: str, figure: str) -> dict[str, Any] | None:
        """first − second on common seeds, paired by seed and patient; None without a common seed.

        {"difference": [mean, low, high] over seeds and patients, "by_seed": means, "seeds", "pairs": patients}. No test
        over patients, since they share the training runs.
        """
        common = sorted(set(self.seeds(first)) & set(self.seeds(second)))
        if not common:
            return None
        a, b = (self.table(arm, figure, common) for arm in (first, second))
        known = np.isfinite(a - b).any(axis=0)
        return {
            "difference": crossed_interval(a - b),
            "by_seed": [float(np.nanmean(row)) for row in a - b],
            "seeds": len(common),
            "pairs": int(known.sum()),
        }

    def patches(self, arm: str, metric: str) -> dict[str, float]:
        """Mean and SD over the patches of all of an arm's runs, as printed in the paper."""
        return pooled([self.runs[arm, seed].evaluation["protocol"][metric] for seed in self.seeds(arm)])

    def curve(self, arm: str, column: str, seeds: Sequence[int] | None = None) -> NDArray[np.float64]:
        """A column of metrics.csv (seeds, epochs), up to the shortest run."""
        curves = [[line[column] for line in self.runs[arm, seed].history] for seed in seeds or self.seeds(arm)]
        epochs = min(len(curve) for curve in curves)
        return np.array([curve[:epochs] for curve in curves], np.float64)

    def attention(self, arm: str, stage: str, figure: str, *, last: bool = True) -> list[float]:
        """A value of `attention_maps.keep_maps` per seed, at the last kept epoch or at epoch 1.

        Epoch 1 never counts as the last: its maps do not come from a trained model.
        """
        values = []
        for seed in self.seeds(arm):
            rows = [row for row in self.runs[arm, seed].record["attention"] if row["stage"] == stage]
            rows = [row for row in rows if (row["epoch"] > 1) == last]
            if rows:
                values.append(float(max(rows, key=lambda row: row["epoch"])[figure]))
        return values

    def plain(self) -> dict[str, Any]:
        """Convert to plain data for JSON."""
        return {
            "runs": [
                {
                    "arm": arm,
                    "seed": seed,
                    "protocol": run.evaluation["protocol"],
                    "patients": run.evaluation["patients"],
                    "epochs": list(run.history),
                    **run.record,
                }
                for (arm, seed), run in self.runs.items()
            ],
            "failures": [{"arm": arm, "seed": seed, "error": said} for (arm, seed), said in self.failures.items()],
        }
