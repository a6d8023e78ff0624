"""How sure a mean is, and whether two models differ: bootstrap intervals and paired tests over patients.

Values that are not finite (a slice without soft tissue has no bias) are left out, in pairs where there are pairs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 4000
LEVEL = 95.0
"""Per cent of the resamples that lie inside an interval."""


def interval(values: ArrayLike, *, seed: int = 0) -> list[float]:
    """Mean and its percentile bootstrap 95 % interval (Efron 1979): [mean, low, high] of values (n,).

    One value gives itself three times; none gives NaN.
    """
    kept = np.asarray(values, np.float64).ravel()
    kept = kept[np.isfinite(kept)]
    if not kept.size:
        return [float("nan")] * 3
    drawn = np.random.default_rng(seed).integers(kept.size, size=(RESAMPLES, kept.size))
    return _summary(float(kept.mean()), kept[drawn].mean(axis=1))


def crossed_interval(values: ArrayLike, *, seed: int = 0) -> list[float]:
    """[mean, low, high] of a table (seeds, patients), rows and columns drawn anew together (Owen 2007, 0712.1111).

    NaN cells are left out of each resample's mean. With one row it is `interval` of that row. Rows as few as three
    make the interval too narrow: the spread of a resampled mean of n is √((n − 1)/n) of the true one.
    """
    table = np.atleast_2d(np.asarray(values, np.float64))
    if not np.isfinite(table).any():
        return [float("nan")] * 3
    rng = np.random.default_rng(seed)
    rows, columns = (rng.multinomial(n, [1 / n] * n, size=RESAMPLES).astype(np.float64) for n in table.shape)
    known = np.isfinite(table)
    sums = np.einsum("br,rc,bc->b", rows, np.where(known, table, 0), columns, optimize=True)
    counts = np.einsum("br,rc,bc->b", rows, known.astype(np.float64), columns, optimize=True)
    means = sums[counts > 0] / counts[counts > 0]
    return _summary(float(table[known].mean()), means)


def paired(first: ArrayLike, second: ArrayLike) -> dict[str, Any]:
    """Two models on the same patients, values (n,) each: {"pairs", "difference": [mean, low, high], "wilcoxon_p"}.

    difference: first − second with its bootstrap interval. wilcoxon_p: two-sided signed-rank test (Wilcoxon 1945),
    exact for up to 50 patients without ties; None for fewer than two pairs, 1 where none differs. Fewer than six pairs
    cannot reach p < 0.05. Raises ValueError for different lengths.
    """
    from scipy.stats import wilcoxon

    a, b = (np.asarray(values, np.float64).ravel() for values in (first, second))
    if a.shape != b.shape:
        raise ValueError(f"{a.size} and {b.size} values are no pairs")
    difference = (a - b)[np.isfinite(a) & np.isfinite(b)]
    p: float | None = None
    if difference.size > 1:
        p = float(wilcoxon(difference).pvalue) if difference.any() else 1.0
    return {"pairs": int(difference.size), "difference": interval(difference), "wilcoxon_p": p}


def excludes_zero(bounds: list[float]) -> bool:
    """Whether an interval [mean, low, high] lies wholly on one side of zero."""
    _, low, high = bounds
    return low > 0 or high < 0


def _summary(mean: float, resampled: NDArray[np.float64]) -> list[float]:
    tail = (100 - LEVEL) / 2
    return [mean, *(float(bound) for bound in np.percentile(resampled, [tail, 100 - tail]))]
