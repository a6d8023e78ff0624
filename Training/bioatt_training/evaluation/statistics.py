"""Bootstrap intervals of means, and paired tests between models, over patients.

Non-finite values (a slice without soft tissue has no bias) are left out, pairwise for paired data.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 4000
LEVEL = 95.0
"""Confidence level of intervals in per cent."""


def interval(values: ArrayLike, *, seed: int = 0) -> list[float | None]:
    """Mean and its bootstrap 95 % interval (Efron 1979): [mean, low, high] of values (n,).

    Equals `crossed_interval` of one row: for few values as wide as Student's t interval (for two values, 0.7 of it).
    One value has no bounds (None); no values have no mean either (NaN).
    """
    kept = np.asarray(values, np.float64).ravel()
    kept = kept[np.isfinite(kept)]
    if kept.size == 1:
        return [float(kept[0]), None, None]
    return [*crossed_interval(kept, seed=seed)]


def crossed_interval(values: ArrayLike, *, seed: int = 0) -> list[float]:
    """[mean, low, high] of a table (seeds, patients), rows and columns resampled together (Owen 2007, 0712.1111).

    Few rows underestimate their spread: a plain bootstrap of three seeds has a false positive rate of one in four. The
    resampled means are therefore widened according to Student's t, with the combined degrees of freedom of rows and
    columns (Satterthwaite 1946). NaN cells are left out. With one row, the interval is over columns only. One cell has
    no bounds (NaN).
    """
    table = np.atleast_2d(np.asarray(values, np.float64))
    known = np.isfinite(table)
    table = table[known.any(axis=1)][:, known.any(axis=0)]
    known = np.isfinite(table)
    if not table.size:
        return [float("nan")] * 3
    if table.size == 1:
        return [table.item(), float("nan"), float("nan")]
    rng = np.random.default_rng(seed)
    rows, columns = (rng.multinomial(n, [1 / n] * n, size=RESAMPLES).astype(np.float64) for n in table.shape)
    sums = np.einsum("br,rc,bc->b", rows, np.where(known, table, 0), columns, optimize=True)
    counts = np.einsum("br,rc,bc->b", rows, known.astype(np.float64), columns, optimize=True)
    mean = float(table[known].mean())
    means = sums[counts > 0] / counts[counts > 0]
    return _summary(mean, mean + (means - mean) * _widening(table, float(means.std())))


def _widening(table: NDArray[np.float64], resampled_sd: float) -> float:
    """Factor that widens the resampled means to the spread of a t distribution."""
    from scipy.stats import norm, t

    parts = [(np.nanmean(table, axis=axis), table.shape[1 - axis]) for axis in (0, 1)]
    variances = [(means.var(ddof=1) / n, n - 1) for means, n in parts if n > 1]
    total = sum(variance for variance, _ in variances)
    if not (total > 0 and resampled_sd > 0):
        return 1.0
    freedom = total**2 / sum(variance**2 / free for variance, free in variances)
    tail = 0.5 + LEVEL / 200
    return float(np.sqrt(total) * t.ppf(tail, freedom) / (resampled_sd * norm.ppf(tail)))


def paired(first: ArrayLike, second: ArrayLike) -> dict[str, Any]:
    """Compare two models on the same patients, values (n,) each: {"pairs", "difference": [mean, low, high],
    "wilcoxon_p"}.

    difference: first − second with its bootstrap interval. wilcoxon_p: two-sided signed-rank test (Wilcoxon 1945),
    exact for up to 50 patients without ties; None for fewer than two pairs, 1 if none differs. Fewer than six pairs
    cannot reach p < 0.05. Raises ValueError for different lengths.
    """
    from scipy.stats import wilcoxon

    a, b = (np.asarray(values, np.float64).ravel() for values in (first, second))
    if a.shape != b.shape:
        raise ValueError(f"{a.size} and {b.size} values do not form pairs")
    difference = (a - b)[np.isfinite(a) & np.isfinite(b)]
    p: float | None = None
    if difference.size > 1:
        p = float(wilcoxon(difference).pvalue) if difference.any() else 1.0
    return {"pairs": int(difference.size), "difference": interval(difference), "wilcoxon_p": p}


def jackknifed(whole: float, without: ArrayLike) -> list[float]:
    """[value, low, high] of a statistic by jackknife: its value for all data, and `without` each group (groups,).

    Variance (g − 1)/g · Σ (θ₋ᵢ − mean)² (Tukey 1958), bounds by Student's t with g − 1 degrees of freedom. NaN if a
    value is not finite or there are fewer than two groups.
    """
    from scipy.stats import t

    parts = np.asarray(without, np.float64).ravel()
    if parts.size < 2 or not np.isfinite([whole, *parts]).all():
        return [float(whole), float("nan"), float("nan")]
    error = np.sqrt((parts.size - 1) * parts.var())
    reach = float(error * t.ppf(0.5 + LEVEL / 200, parts.size - 1))
    return [float(whole), float(whole) - reach, float(whole) + reach]


def proportion(count: int, of: int) -> list[float]:
    """[fraction, low, high] of `count` out of `of` independent cases, by Wilson's score (1927)."""
    from scipy.stats import binomtest

    if not of:
        return [float("nan")] * 3
    bounds = binomtest(count, of).proportion_ci(LEVEL / 100, method="wilson")
    return [count / of, float(bounds.low), float(bounds.high)]


def roc_area(positive: ArrayLike, negative: ArrayLike) -> list[float]:
    """[area, low, high] under the ROC curve of scores: U / (n m), with the interval of DeLong (1988)."""
    from scipy.stats import norm

    a, b = (np.asarray(scores, np.float64).ravel() for scores in (positive, negative))
    wins = (a[:, None] > b[None, :]) + 0.5 * (a[:, None] == b[None, :])
    area = float(wins.mean())
    error = np.sqrt(sum(wins.mean(axis).var(ddof=1) / wins.shape[1 - axis] for axis in (0, 1)))
    reach = float(norm.ppf(0.5 + LEVEL / 200) * error)
    return [area, max(area - reach, 0.0), min(area + reach, 1.0)]


def area_under_roc(score: NDArray[Any], present: NDArray[np.bool_]) -> float:
    """Probability that a present case scores above an absent one, ties counting half (Mann–Whitney U); NaN without
    both.
    """
    from scipy.stats import rankdata

    positive, negative = int(present.sum()), int((~present).sum())
    if positive == 0 or negative == 0:
        return float("nan")
    ranks = rankdata(score)
    return float((ranks[present].sum() - positive * (positive + 1) / 2) / (positive * negative))


def pooled(groups: list[dict[str, float]]) -> dict[str, float]:
    """Mean and SD over all patches, from each group's {"patches", "mean", "sd"}, as in the paper's mean ± SD."""
    counts = np.array([group["patches"] for group in groups], np.float64)
    means, sds = (np.array([group[key] for group in groups]) for key in ("mean", "sd"))
    mean = float(np.average(means, weights=counts))
    return {
        "patches": int(counts.sum()),
        "mean": mean,
        "sd": float(np.sqrt(max(np.average(sds**2 + means**2, weights=counts) - mean**2, 0))),
    }


def verdict(value: Sequence[float | None], least: float) -> Literal["yes", "no", "open"]:
    """Whether [mean, low, high] reaches a minimum: "yes" with the whole interval, "no" with none of it, else "open"."""
    _, low, high = value
    if low is None or high is None:
        return "open"
    return "yes" if low >= least else "no" if high < least else "open"


def excludes_zero(bounds: list[float]) -> bool:
    """Whether an interval [mean, low, high] excludes zero."""
    _, low, high = bounds
    return low > 0 or high < 0


def _summary(mean: float, resampled: NDArray[np.float64]) -> list[float]:
    tail = (100 - LEVEL) / 2
    return [mean, *(float(bound) for bound in np.percentile(resampled, [tail, 100 - tail]))]
