"""Cases with a known ground truth, limits of the score against a noisy reference, and tables of scores."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bioatt.core.errors import InputError
from bioatt.core.metrics import psnr
from bioatt_training.data.bank import Bank
from bioatt_training.studies.benchmark.measures.quality import WINDOW, limits, quality
from bioatt_training.studies.benchmark.tables import difference, over_patients, summary
from bioatt_training.studies.benchmark.truth import Case, bank_case, phantom_cases, region, sharpness


@pytest.fixture
def bank(made_up_bank):
    """A bank of two training, one validation and three test patients with two slices each."""
    return Bank(made_up_bank())


def test_a_case_at_full_dose_is_the_scan_and_at_less_has_more_noise(bank):
    case = bank_case(bank, bank.indices("test")[0])
    assert np.array_equal(case.at(1.0), case.truth)
    noise = [(case.at(dose) - case.truth.astype(float)).std() for dose in (0.5, 0.25)]
    assert noise[1] == pytest.approx(math.sqrt(3) * noise[0], rel=0.05)
    assert not case.seen


def test_the_oracle_is_above_the_input_by_the_dose_in_decibels():
    rng = np.random.default_rng(0)
    truth = np.full((200, 200), 40.0)
    own, inserted = rng.normal(0, 5, truth.shape), rng.normal(0, 5 * math.sqrt(3), truth.shape)
    scan = truth + own
    case = Case(
        "a", "a", "chest", "soft", 1.0, 5.0, scan, lambda dose: scan + inserted, lambda: rng.normal(0, 5, (200, 200))
    )
    found = limits(case, 0.25)
    low = psnr(scan, scan + inserted, WINDOW)
    assert found["oracle_db"] - low == pytest.approx(10 * math.log10(4), abs=0.15)
    assert found["noise_free_db"] == pytest.approx(psnr(scan, truth, WINDOW), abs=0.1)
    assert psnr(scan, truth + 0.25 * (own + inserted), WINDOW) == pytest.approx(found["oracle_db"], abs=0.1)


def test_bias_and_noise_of_an_output_are_found():
    truth = np.full((64, 64), 60.0)
    found = quality(truth, truth + 3)
    assert found["bias_hu soft tissue"] == pytest.approx(3)
    assert math.isnan(found["bias_hu bone"])


def test_kernels_and_regions_are_told():
    assert [sharpness(frequency) for frequency in (0.1, 0.25, 0.4)] == ["soft", "medium", "sharp"]
    words = ["lungs", "pelvis", "liver", "spine"]
    assert region(words, np.array([0.1, 0.2, 0.3, 0.4], np.float32)) == "abdomen"
    assert region(words, np.array([0.1, 0.3, 0.2, 0.4], np.float32)) == "pelvis"


def test_phantoms_of_training_are_refused(tmp_path):
    with pytest.raises(InputError, match="below 1000"):
        phantom_cases([1000], (0.25,), tmp_path)


def test_phantoms_are_kept_and_their_truth_has_no_noise(tmp_path):
    cases = phantom_cases([11], (0.25,), tmp_path, size=64, slices=1)
    assert [case.sharpness for case in cases] == ["soft", "medium", "sharp"]
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    again = phantom_cases([11], (0.25,), tmp_path, size=64, slices=1)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == kept
    assert np.array_equal(cases[0].at(0.25), again[0].at(0.25))
    assert (cases[0].at(0.25) - cases[0].truth.astype(float)).std() > 5


def test_patients_weigh_alike_and_one_has_no_interval():
    rows = [{"patient": "a", "case": n, "x": 1.0} for n in range(9)] + [{"patient": "b", "case": 9, "x": 3.0}]
    assert summary(rows, "x")["mean"] == 2
    assert over_patients({"a": 1.0}) == {"mean": 1.0, "low": None, "high": None, "patients": 1}
    assert summary([{"patient": "a", "x": math.nan}], "x")["patients"] == 0


def test_a_difference_is_of_the_slices_that_both_have():
    mine = [{"patient": "a", "case": 1, "x": -2.0}, {"patient": "a", "case": 2, "x": 9.0}]
    other = [{"patient": "a", "case": 1, "x": 1.0}]
    assert difference(mine, other, "x")["mean"] == -3
    assert difference(mine, other, "x", abs)["mean"] == 1
