"""Tuning of the baselines: the best mean PSNR at quarter dose for each kernel class, on slices outside the test set."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from bioatt.core.metrics import psnr
from bioatt_training.data.bank import Bank
from bioatt_training.evaluation.judge import spread
from bioatt_training.studies.benchmark.baselines import BLENDED, FILTERS, STRENGTHS, Baseline, blended, settings
from bioatt_training.studies.benchmark.images import Image
from bioatt_training.studies.benchmark.measures.quality import WINDOW
from bioatt_training.studies.benchmark.store import Store
from bioatt_training.studies.benchmark.truth import SHARPNESS, Case, bank_case, patients

DOSE = 0.25
SIDE = 256
"""Side in pixels of a slice's central part used for tuning; the noise is measured in the whole slice."""
SLICES = 5
log = logging.getLogger(__name__)


def tuning_cases(bank: Bank, count: int = SLICES) -> list[Case]:
    """Up to `count` slices of each kernel class, from validation patients first, then from training patients.

    Two parameters cannot overfit to a patient; no slice belongs to a test patient.
    """
    found: dict[str, list[Case]] = {name: [] for name in SHARPNESS}
    for part in ("validation", "train"):
        for indices in patients(bank, part).values():
            for index in spread(indices, 2):
                case = bank_case(bank, index)
                if len(found[case.sharpness]) < count:
                    found[case.sharpness].append(case)
    return [case for cases in found.values() for case in cases]


def tuned(cases: Sequence[Case], store: Store, names: Iterable[str] = tuple(FILTERS)) -> dict[str, dict[str, Baseline]]:
    """{kernel class: {name: the baseline at its best setting}}; classes without cases are left out.

    Names are those of the filters, and those with the suffix `BLENDED`, whose strength is also tuned.
    """
    chosen: dict[str, dict[str, Baseline]] = {}
    for kind in SHARPNESS:
        crops = [_crop(case) for case in cases if case.sharpness == kind]
        if not crops:
            continue
        chosen[kind] = {}
        for name in names:
            scores = _scores(name, crops, store)
            chosen[kind][name] = max(
                (baseline for baseline in scores if baseline.strength == 1), key=lambda baseline: scores[baseline]
            )
            chosen[kind][name + BLENDED] = max(scores, key=lambda baseline: scores[baseline])
    return chosen


@dataclass(frozen=True)
class _Crop:
    """The central part of a case at quarter dose."""

    key: str
    image: Image
    truth: NDArray[np.int16]


def _crop(case: Case) -> _Crop:
    image, part = case.image(DOSE).middle(SIDE)
    return _Crop(f"{SIDE} {case.key}", image, case.truth[part])


def _scores(name: str, crops: Sequence[_Crop], store: Store) -> dict[Baseline, float]:
    """Mean PSNR (dB) of every setting at every strength."""
    scores: dict[Baseline, float] = {}
    for setting in settings(name):
        baseline = Baseline(name, setting)
        rows = [store.get(f"tune {baseline.identity} {one.key}", partial(_tried, baseline, one)) for one in crops]
        for strength in STRENGTHS:
            scores[replace(baseline, strength=strength)] = float(np.mean([row[f"{strength:g}"] for row in rows]))
        log.info("%s %s: %.2f dB", name, dict(setting), scores[baseline])
    return scores


def _tried(baseline: Baseline, crop: _Crop) -> dict[str, float]:
    """PSNR (dB) of a setting by strength."""
    output = baseline(crop.image)
    return {
        f"{strength:g}": psnr(crop.truth, blended(crop.image.hu, output, strength), WINDOW) for strength in STRENGTHS
    }
