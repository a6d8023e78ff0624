"""The figures by which a prior is judged, against cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from bioatt_training.priors.judge import area_under_roc, judge, log_loss, reliability_gap
from bioatt_training.priors.labelled import LabelledSlices

GENERATOR = np.random.default_rng(0)


def _data(presence: np.ndarray, patients: list[str], regions: list[str]) -> LabelledSlices:
    count = len(presence)
    return LabelledSlices(
        images=np.zeros((count, 1, 1), np.float16),
        presence=presence,
        sure=np.ones_like(presence),
        patients=np.array(patients),
        files=np.array(patients),
        regions=np.array(regions),
        z=np.arange(count),
    )


def test_auc_counts_pairs() -> None:
    score = GENERATOR.normal(size=60).round(1)
    present = GENERATOR.random(60) < 0.3
    pairs = [(a > b) + 0.5 * (a == b) for a in score[present] for b in score[~present]]
    assert area_under_roc(score, present) == pytest.approx(np.mean(pairs))
    assert np.isnan(area_under_roc(score, np.ones(60, bool)))


def test_log_loss_is_least_for_the_target() -> None:
    target = GENERATOR.dirichlet(np.ones(4), 50)
    assert log_loss(target, target) < log_loss(np.full((50, 4), 0.25), target) == pytest.approx(np.log(4))


def test_reliability_gap_of_an_honest_and_a_boasting_forecast() -> None:
    truth = GENERATOR.random(20_000)
    outcome = (GENERATOR.random(20_000) < truth).astype(float)
    assert reliability_gap(truth, outcome) < 0.02
    boasting = np.where(truth > 0.5, 0.99, 0.01)
    assert reliability_gap(boasting, outcome) == pytest.approx(0.24, abs=0.02)


def test_judging_a_perfect_and_an_ignorant_prior() -> None:
    presence = np.zeros((12, 3), bool)
    presence[:6, 0] = presence[3:, 1] = presence[9:, 2] = True
    patients = [f"p{n}" for n in range(12)]
    data = _data(presence, patients, ["chest"] * 6 + ["belly"] * 6)
    folds = np.arange(12) % 3
    perfect = judge(np.where(presence, 20.0, -20.0).astype(np.float32), data, folds, ("a", "b", "c"))
    assert perfect.macro_auc == 1
    assert perfect.patients.tolist() == [6, 9, 3]
    assert perfect.scored.tolist() == [True, True, False]
    assert perfect.log_loss == pytest.approx(perfect.entropy, abs=0.01)
    assert perfect.entropy < perfect.region < perfect.constant
    assert perfect.top1 == 1
    ignorant = judge(np.zeros((12, 3), np.float32), data, folds, ("a", "b", "c"))
    assert ignorant.macro_auc == pytest.approx(0.5)
    assert ignorant.log_loss == pytest.approx(np.log(3))


def test_baselines_do_not_see_the_fold_they_are_judged_on() -> None:
    presence = np.eye(2, dtype=bool)[[0, 0, 0, 1]]
    data = _data(presence, list("abcd"), ["r"] * 4)
    judged = judge(np.zeros((4, 2), np.float32), data, np.array([0, 0, 0, 1]), ("a", "b"))
    assert judged.constant > 10, "a fold of a never seen kind surprises the constant baseline completely"


def test_unsure_labels_do_not_count_in_the_auc() -> None:
    presence = np.array([[True, False]] * 3 + [[False, True]] * 3)
    data = _data(presence, list("abcdef"), ["r"] * 6)
    data.sure[2] = False
    logits = np.where(presence, 5.0, -5.0).astype(np.float32)
    logits[2] = -logits[2]
    assert judge(logits, data, np.arange(6), ("a", "b")).auc.tolist() == [1, 1]
