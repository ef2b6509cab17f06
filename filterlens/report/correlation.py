"""Rank correlations within groups of models that belong together, with their uncertainty.

Robust and normal models are two clusters: over both together nearly any two scores correlate. A correlation is
therefore computed among the robust models of one data set, and always shown with its n and its interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import permutations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from filterlens.report.comparison import robustness_column
from filterlens.report.statistics import benjamini_hochberg, spearman
from filterlens.score import Score

__all__ = ["Correlation", "correlate", "correlate_shifts", "partial_rho", "rank_correlation", "within_robust"]

SHIFTS = {"clean_acc": "clean", "real_acc": "ReaL", "v2_acc": "V2", "a_acc": "A", "r_acc": "R", "sketch_acc": "Sketch"}
"""Columns of published accuracies on several test sets of one task, and how these are called."""
MIN_MODELS = 4  # below which there is no correlation
_EXACT_UP_TO = 8  # models: their orders are counted one by one
_QUANTILE = 1.959964
Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Correlation:
    """Spearman's ρ over n models with its 95 % interval and two-sided p-value; NaN where there is none."""

    rho: float
    low: float
    high: float
    p: float
    n: int

    @property
    def text(self) -> str:
        """Say it as a figure's heading does: `ρ = 0.28 (−0.31 to 0.71, n = 12)`."""
        if not math.isfinite(self.rho):
            return f"no ρ (n = {self.n})"
        return f"ρ = {self.rho:.2f} ({self.low:.2f} to {self.high:.2f}, n = {self.n})".replace("-", "−")


def rank_correlation(x: ArrayLike, y: ArrayLike, *, fewest: int = MIN_MODELS) -> Correlation:
    """Spearman's ρ with interval and p-value, over the positions where both are known.

    Parameters
    ----------
    x, y
        One value a model, shape (n,); NaN where unknown.
    fewest
        Below this n there is no coefficient.

    Returns
    -------
        The interval is Fisher's z with the variance (1 + ρ²/2) / (n − 3) of Bonett & Wright (Psychometrika 65, 2000).
        ρ is kept half a step of its scale away from ±1 there, so that a perfect order of few models has an interval
        too. p is exact (all orders) up to eight models, and by Student's t beyond.

    Examples
    --------
    >>> rank_correlation([1, 2, 3, 4], [1, 2, 3, 4]).text
    'ρ = 1.00 (−0.70 to 1.00, n = 4)'
    """
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    rho, n = spearman(a, b, fewest=max(fewest, MIN_MODELS))
    if not math.isfinite(rho):
        return Correlation(math.nan, math.nan, math.nan, math.nan, n)
    known = np.isfinite(a) & np.isfinite(b)
    largest = 1 - 6 / (n * (n**2 - 1))
    kept = min(max(rho, -largest), largest)
    half = _QUANTILE * math.sqrt((1 + kept**2 / 2) / (n - 3))
    low, high = (math.tanh(math.atanh(kept) + sign * half) for sign in (-1, 1))
    low, high = (-1.0 if rho == -1 else low), (1.0 if rho == 1 else high)
    return Correlation(rho, low, high, _p_value(a[known], b[known], rho), n)


def _p_value(a: Values, b: Values, rho: float) -> float:
    n = len(a)
    if n <= _EXACT_UP_TO:
        x, y = stats.rankdata(a) - (n + 1) / 2, stats.rankdata(b) - (n + 1) / 2
        return float((np.abs(y[_orders(n)] @ x) >= abs(y @ x) - 1e-9).mean())
    if abs(rho) >= 1:
        return 0.0
    return float(2 * stats.t.sf(abs(rho) * math.sqrt((n - 2) / (1 - rho**2)), n - 2))


@cache
def _orders(n: int) -> NDArray[np.int64]:
    """Every order of n things, shape (n!, n)."""
    return np.array(list(permutations(range(n))))


def within_robust(models: pd.DataFrame, x: str, y: str) -> dict[str, Correlation]:
    """Correlate two columns among the robust models of each data set.

    Parameters
    ----------
    models
        One row a model, as `RunData.models` gives it.
    x, y
        Columns.

    Returns
    -------
        By data set, in the order of the catalog; empty without robust models.
    """
    robust = models[models["robust"].eq(True)]  # noqa: FBT003 - a value
    groups = robust.groupby(robust["dataset"].replace("", "unknown"), sort=False)
    return {str(dataset): rank_correlation(part[x].astype(float), part[y].astype(float)) for dataset, part in groups}


def correlate(models: pd.DataFrame, scores: Sequence[Score], *, target: str | None = None) -> pd.DataFrame:
    """Rank correlation of each score with robust accuracy among the robust models, by dataset and architecture.

    Parameters
    ----------
    models
        One row a model, as `RunData.models` gives it.
    scores
        What to correlate; the target itself is passed over.
    target
        Column of robust accuracy; None takes `robustness_column(models)`.

    Returns
    -------
        Columns `dataset`, `architecture` (empty for all), `metric`, `lens`, `title`, `rho` (Spearman, in [-1, 1]),
        `ci_low`, `ci_high` (95 %, see `rank_correlation`), `n`, `p`, `p_adjusted` (Benjamini-Hochberg over the data
        set's scores), `accuracy` (the target). Groups of fewer than four models have no row.
    """
    columns = ["dataset", "architecture", "metric", "lens", "title", "rho", "ci_low", "ci_high", "n", "p", "p_adjusted"]
    columns.append("accuracy")
    target = robustness_column(models) if target is None else target
    rows: list[dict[str, object]] = []
    if not target:
        return pd.DataFrame(rows, columns=columns)
    robust = models[models["robust"].eq(True)]  # noqa: FBT003 - a value
    groups = [((str(dataset), ""), part) for dataset, part in robust.groupby("dataset", sort=False)]
    for (dataset, architecture), part in robust.groupby(["dataset", "architecture"], sort=False):
        groups.append(((str(dataset), str(architecture)), part))
    for (dataset, architecture), part in groups:
        for score in scores:
            if score.name not in part or score.name == target:
                continue
            found = rank_correlation(part[score.name].astype(float), part[target].astype(float))
            if found.n >= MIN_MODELS:
                facts = {"dataset": dataset, "architecture": architecture, "metric": score.name, "lens": score.lens}
                facts |= {"title": score.title, "accuracy": target}
                numbers = {"rho": found.rho, "ci_low": found.low, "ci_high": found.high, "n": found.n, "p": found.p}
                rows.append({**facts, **numbers})
    table = pd.DataFrame(rows, columns=columns)
    for _, family in table.groupby(["dataset", "architecture"]):
        table.loc[family.index, "p_adjusted"] = benjamini_hochberg(family["p"].astype(float))
    return table


def partial_rho(x: ArrayLike, y: ArrayLike, given: ArrayLike) -> float:
    """Spearman's ρ of two columns with what both have in common with a third taken out.

    Parameters
    ----------
    x, y, given
        One value a model, shape (n,); NaN where unknown.

    Returns
    -------
        (ρ_xy − ρ_xz ρ_yz) / √((1 − ρ_xz²)(1 − ρ_yz²)) over the models of which all three are known; NaN under five of
        them, or where the third decides one of the others alone.

    Examples
    --------
    >>> round(partial_rho([1, 2, 3, 4, 5], [1, 2, 3, 5, 4], [2, 1, 4, 3, 5]), 2)
    0.87
    """
    columns = [np.asarray(column, dtype=np.float64) for column in (x, y, given)]
    known = np.isfinite(columns).all(axis=0)
    if known.sum() <= MIN_MODELS:
        return math.nan
    a, b, c = (column[known] for column in columns)
    (xy, _), (xz, _), (yz, _) = spearman(a, b), spearman(a, c), spearman(b, c)
    rest = (1 - xz**2) * (1 - yz**2)
    return (xy - xz * yz) / math.sqrt(rest) if rest > 1e-12 else math.nan


def correlate_shifts(models: pd.DataFrame, scores: Sequence[Score]) -> pd.DataFrame:
    """Rank correlation of each score with published accuracies on several test sets, among models that are not robust.

    Parameters
    ----------
    models
        One row a model, as `RunData.models` gives it.
    scores
        What to correlate.

    Returns
    -------
        Columns `dataset`, `test_set`, `metric`, `lens`, `title`, `rho`, `ci_low`, `ci_high`, `n`, `p`, `p_adjusted`
        (Benjamini-Hochberg over the test set's scores) and `rho_given_clean` (see `partial_rho`; NaN for clean
        accuracy itself). Test sets with fewer than four models have no row, and a data set without accuracies under a
        shift has none at all.
    """
    columns = ["dataset", "test_set", "metric", "lens", "title", "rho", "ci_low", "ci_high", "n", "p", "p_adjusted"]
    columns.append("rho_given_clean")
    rows: list[dict[str, object]] = []
    for dataset, part in models[~models["robust"].eq(True)].groupby("dataset", sort=False):  # noqa: FBT003 - a value
        published = {name: part[name].astype(float) for name in SHIFTS if name in part}
        if not any(known.notna().sum() >= MIN_MODELS for name, known in published.items() if name != "clean_acc"):
            continue
        clean = published.get("clean_acc", pd.Series(math.nan, index=part.index))
        for name, accuracy in published.items():
            for score in scores:
                value = part[score.name].astype(float) if score.name in part else pd.Series(math.nan, index=part.index)
                found = rank_correlation(value, accuracy)
                if math.isfinite(found.rho):
                    facts = {"dataset": str(dataset), "test_set": SHIFTS[name], "metric": score.name}
                    facts |= {"lens": score.lens, "title": score.title}
                    numbers = {"rho": found.rho, "ci_low": found.low, "ci_high": found.high, "n": found.n, "p": found.p}
                    given = math.nan if name == "clean_acc" else partial_rho(value, accuracy, clean)
                    rows.append({**facts, **numbers, "rho_given_clean": given})
    table = pd.DataFrame(rows, columns=columns)
    for _, family in table.groupby(["dataset", "test_set"]):
        table.loc[family.index, "p_adjusted"] = benjamini_hochberg(family["p"].astype(float))
    return table
