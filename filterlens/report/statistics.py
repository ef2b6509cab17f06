"""Statistics on plain arrays: interval, exact test, effect size, false discovery rate, rank correlation.

What each one assumes, and why it was chosen, is written down in `docs/statistics.md`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

__all__ = [
    "MIN_UNITS",
    "SKEWED",
    "benjamini_hochberg",
    "mean_interval",
    "rank_biserial",
    "skewness",
    "spearman",
    "wilcoxon_p",
]

MIN_UNITS = 4  # below which a mean has no interval
SKEWED = 1.5  # |skewness| above which an interval is called too narrow: few zoos where it covers are so (coverage.csv)
_EXACT_UP_TO = 200


def mean_interval(values: ArrayLike, *, level: float = 0.95) -> tuple[float, float]:
    """Student's t interval of a mean; each value is one independent unit.

    Parameters
    ----------
    values
        One number a unit, shape (n,), finite. Dependent measurements are averaged within their unit first.
    level
        Coverage in (0, 1).

    Returns
    -------
        Lower and upper end; NaN for fewer than four values.

    Notes
    -----
    Chosen by simulation (docs/statistics.md): bootstrap intervals of few units are too narrow.

    Examples
    --------
    >>> low, high = mean_interval([1, 2, 3, 4])
    >>> round(low, 3), round(high, 3)
    (0.446, 4.554)
    """
    x = np.asarray(values, dtype=np.float64)
    if x.size < MIN_UNITS:
        return float("nan"), float("nan")
    half = float(special.stdtrit(x.size - 1, (1 + level) / 2) * x.std(ddof=1) / np.sqrt(x.size))
    return float(x.mean()) - half, float(x.mean()) + half


def skewness(values: ArrayLike) -> float:
    """Compute the adjusted sample skewness √(n(n − 1)) / (n − 2) · m₃ / m₂^1.5; NaN under three, or of equal, values.

    Examples
    --------
    >>> round(skewness([0, 0, 0, 1]), 3)
    2.0
    """
    x = np.asarray(values, dtype=np.float64)
    if x.size < 3 or not np.ptp(x) > 0:
        return float("nan")
    return float(stats.skew(x, bias=False))


def wilcoxon_p(differences: ArrayLike) -> float:
    """Two-sided p-value of Wilcoxon's signed-rank test, exact with ties.

    Zero differences are dropped, tied ones share their mean rank; the null distribution is that of all 2ⁿ sign
    flips of these ranks, so that ties stay exact (SciPy's exact test knows none). Above 200 differences the normal
    approximation takes over.

    Parameters
    ----------
    differences
        One difference a unit, shape (n,), finite.

    Returns
    -------
        p in (0, 1]; 1 where no difference is left.

    Examples
    --------
    >>> wilcoxon_p([1, 2, 3, 4, 5, 6, 7, 8])
    0.0078125
    """
    d = _nonzero(differences)
    if d.size == 0:
        return 1.0
    if d.size > _EXACT_UP_TO:
        return float(stats.wilcoxon(d, method="approx", correction=True).pvalue)
    doubled = np.rint(2 * _ranks(d)).astype(np.int64)  # mean ranks are halves, so that doubled ones are whole
    total = int(doubled.sum())
    probability = np.zeros(total + 1)
    probability[0] = 1.0
    for rank in doubled:
        shifted = np.zeros_like(probability)
        shifted[rank:] = probability[: total + 1 - rank]
        probability = 0.5 * (probability + shifted)
    positive = int(doubled[d > 0].sum())
    tail = min(probability[: positive + 1].sum(), probability[positive:].sum())
    return float(min(1.0, 2 * tail))


def rank_biserial(differences: ArrayLike) -> float:
    """Matched-pairs rank-biserial correlation, (W₊ − W₋) / (W₊ + W₋): the effect size of `wilcoxon_p`.

    Parameters
    ----------
    differences
        One difference a unit, shape (n,), finite; zeros are dropped.

    Returns
    -------
        In [-1, 1]: 1 where every difference is positive, 0 where none is left.

    Examples
    --------
    >>> rank_biserial([3.0, 2.0, -1.0])
    0.6666666666666666
    """
    d = _nonzero(differences)
    if d.size == 0:
        return 0.0
    ranks = _ranks(d)
    return float((ranks[d > 0].sum() - ranks[d < 0].sum()) / ranks.sum())


def benjamini_hochberg(p_values: ArrayLike) -> NDArray[np.float64]:
    """Adjust p-values for the false discovery rate; NaN stays NaN and does not count.

    Parameters
    ----------
    p_values
        Shape (m,), in [0, 1] or NaN.

    Returns
    -------
        Adjusted values, same shape, each at least as large as before and at most 1.

    Examples
    --------
    >>> benjamini_hochberg([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.04, 0.04]
    """
    p = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full(p.shape, np.nan)
    known = ~np.isnan(p)
    adjusted[known] = stats.false_discovery_control(p[known])
    return adjusted


def spearman(x: ArrayLike, y: ArrayLike, *, fewest: int = 4) -> tuple[float, int]:
    """Spearman's rank correlation over the positions where both are known.

    Parameters
    ----------
    x, y
        Shape (n,); NaN where unknown.
    fewest
        Below this n there is no coefficient.

    Returns
    -------
        The coefficient in [-1, 1], NaN where there is none (too few, or one side constant), and n.
    """
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    known = np.isfinite(a) & np.isfinite(b)
    a, b = a[known], b[known]
    n = int(known.sum())
    if n < fewest or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan"), n
    return float(stats.spearmanr(a, b).statistic), n


def _nonzero(differences: ArrayLike) -> NDArray[np.float64]:
    d = np.asarray(differences, dtype=np.float64)
    return np.asarray(d[d != 0])


def _ranks(d: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(stats.rankdata(np.abs(d)), dtype=np.float64)
