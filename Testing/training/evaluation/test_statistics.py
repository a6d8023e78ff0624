"""Intervals have the right coverage, and paired tests match SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest, bootstrap, mannwhitneyu, t, wilcoxon

from bioatt_training.evaluation.statistics import (
    area_under_roc,
    crossed_interval,
    excludes_zero,
    interval,
    jackknifed,
    paired,
    proportion,
    roc_area,
    verdict,
)

RNG = np.random.default_rng(5)


def test_of_many_values_the_interval_is_scipys_percentile_bootstrap():
    values = RNG.normal(3, 2, size=100)
    mean, low, high = interval(values)
    expected = bootstrap((values,), np.mean, method="percentile", n_resamples=20_000, rng=1).confidence_interval
    assert mean == pytest.approx(values.mean())
    assert (low, high) == pytest.approx(tuple(expected), abs=0.08)


@pytest.mark.parametrize("size", [3, 5, 30])
def test_intervals_cover_the_truth_as_often_as_they_say(size):
    draws = np.random.default_rng(0).normal(size=(120, size))
    covered = np.mean([low <= 0 <= high for _, low, high in (interval(values) for values in draws)])
    assert 0.89 < covered <= 0.99


def test_values_that_are_missing_are_left_out():
    assert interval([1.0, np.nan, 3.0, np.inf])[0] == 2
    assert interval([4.0]) == [4, None, None]
    assert np.isnan(crossed_interval([[4.0]])[1:]).all()
    assert np.isnan(interval([])).all()
    assert np.isnan(crossed_interval([[np.nan, np.nan]])).all()


def test_one_row_is_the_interval_of_that_row():
    values = RNG.normal(size=40)
    np.testing.assert_array_equal(crossed_interval(values), interval(values))


def test_seeds_and_patients_both_widen_the_interval():
    """For many seeds and patients, the variance of the mean is that of rows plus columns, each over its count."""
    rows, columns = RNG.normal(size=(60, 1)), RNG.normal(size=(1, 80))
    widths = []
    for table in (rows + 0 * columns, 0 * rows + columns, rows + columns):
        mean, low, high = crossed_interval(table)
        assert mean == pytest.approx(table.mean())
        widths.append(high - low)
    assert widths[0] == pytest.approx(2 * 1.96 * rows.std() / np.sqrt(60), rel=0.1)
    assert widths[1] == pytest.approx(2 * 1.96 * columns.std() / np.sqrt(80), rel=0.1)
    assert widths[2] == pytest.approx(np.hypot(*widths[:2]), rel=0.1)


@pytest.mark.parametrize(("seed_sd", "patient_sd"), [(1.0, 0.1), (0.1, 1.0), (0.5, 1.0)])
def test_three_seeds_cover_the_truth_too(seed_sd, patient_sd):
    """Without a true effect, few intervals exclude zero, whether seeds, patients or both vary."""
    rng = np.random.default_rng(3)
    covered = []
    for _ in range(200):
        table = rng.normal(0, seed_sd, (3, 1)) + rng.normal(0, patient_sd, (1, 15)) + rng.normal(0, 0.3, (3, 15))
        covered.append(not excludes_zero(crossed_interval(table)))
    assert np.mean(covered) > 0.9


def test_a_missing_cell_leaves_its_row_and_column_in():
    table = np.array([[1.0, 2.0, np.nan], [1.0, 2.0, 3.0]])
    assert crossed_interval(table)[0] == pytest.approx(9 / 5)


def test_paired_tests_are_scipys():
    a = RNG.normal(size=14)
    b = a - 0.3 + RNG.normal(scale=0.2, size=14)
    result = paired(a, b)
    assert result["wilcoxon_p"] == pytest.approx(wilcoxon(a, b).pvalue)
    assert result["difference"][0] == pytest.approx((a - b).mean())
    assert excludes_zero(result["difference"])
    assert paired(b, a)["difference"][0] == pytest.approx(-result["difference"][0])


def test_pairs_with_a_missing_half_do_not_count():
    result = paired([1.0, 2.0, np.nan, 4.0], [0.0, 1.0, 7.0, np.nan])
    assert result["pairs"] == 2
    assert result["difference"] == [1.0, 1.0, 1.0]


def test_equal_models_do_not_differ():
    result = paired([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    assert result["wilcoxon_p"] == 1
    assert not excludes_zero(result["difference"])
    assert paired([1.0], [2.0])["wilcoxon_p"] is None
    with pytest.raises(ValueError, match="pairs"):
        paired([1.0], [1.0, 2.0])


def test_the_jackknife_of_a_mean_is_students_interval():
    values = RNG.normal(3, 2, size=20)
    found = jackknifed(values.mean(), [np.delete(values, k).mean() for k in range(20)])
    expected = t.interval(0.95, 19, values.mean(), values.std(ddof=1) / np.sqrt(20))
    assert found == pytest.approx([values.mean(), *expected])
    assert np.isnan(jackknifed(1.0, [np.nan, 1.0])[1])


def test_proportions_have_scipys_bounds_and_none_is_not_certainty():
    bounds = binomtest(3, 40).proportion_ci(method="wilson")
    assert proportion(3, 40) == pytest.approx([3 / 40, bounds.low, bounds.high])
    assert proportion(0, 40)[2] > 0.05
    assert np.isnan(proportion(0, 0)).all()


def test_the_area_under_a_roc_curve_is_mann_whitneys_and_its_interval_covers():
    rng = np.random.default_rng(8)
    draws = [(rng.normal(1, 1, 40), rng.normal(0, 1, 50)) for _ in range(200)]
    area, low, high = roc_area(*draws[0])
    assert area == pytest.approx(mannwhitneyu(*draws[0]).statistic / (40 * 50))
    assert low < area < high
    truth = 0.7602  # Φ(1/√2)
    assert 0.90 <= np.mean([low <= truth <= high for _, low, high in (roc_area(*draw) for draw in draws)]) <= 0.99


def test_the_area_under_a_roc_curve_counts_pairs():
    rng = np.random.default_rng(0)
    score, present = rng.normal(size=60).round(1), rng.random(60) < 0.3
    pairs = [(a > b) + 0.5 * (a == b) for a in score[present] for b in score[~present]]
    assert area_under_roc(score, present) == pytest.approx(np.mean(pairs))
    assert np.isnan(area_under_roc(score, np.ones(60, bool)))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([1.2, 1.0, 1.4], "yes"),
        ([1.2, 0.9, 1.5], "open"),
        ([0.8, 0.7, 0.9], "no"),
        ([1.2, None, None], "open"),
        ([1.0, float("nan"), float("nan")], "open"),
    ],
)
def test_an_aim_is_met_by_the_whole_interval(value, said):
    assert verdict(value, 1.0) == said
