"""The four claims of Stutz2019, each with the numbers that speak for or against it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from filterlens.errors import ReportError
from filterlens.process.files import write_atomically
from filterlens.report.data import RunData
from filterlens.report.statistics import mean_interval

__all__ = ["claims_markdown", "claims_table", "correlation", "study_models", "within_groups", "write_claims"]

Values = NDArray[np.float64]
Kind = Literal["pearson", "spearman"]
_MIN_NETWORKS: Final = 4  # for a correlation
_MIN_INTERVAL: Final = 8  # for its interval
COLUMNS = ["claim", "measure", "value", "low", "high", "n", "paper"]


def study_models(run: RunData) -> pd.DataFrame:
    """One row a network: `recipe`, `n_train`, `seed`, `test_error` and every score of the manifold lens.

    Raises
    ------
    ReportError
        The folder holds no study.
    """
    path = run.folder / "study.csv"
    if not path.is_file():
        raise ReportError(f"{run.folder} holds no study (no study.csv): run `filterlens study manifold --out` first")
    facts = pd.read_csv(path).set_index("model_id")
    scores = run.models.drop(columns=["test_error"], errors="ignore")
    return facts.join(scores).reset_index()


def correlation(
    x: Values, y: Values, kind: Kind = "spearman", *, seed: int = 0, n_resamples: int = 2000
) -> tuple[float, float, float]:
    """Correlation of two variables over networks; Spearman's with a 95 % percentile bootstrap interval.

    Parameters
    ----------
    x, y
        One value a network, shape (n,), finite.
    kind
        `pearson` or `spearman` (ties share their mean rank).
    seed, n_resamples
        Of the bootstrap.

    Returns
    -------
        Value, lower and upper end. NaN for fewer than four networks, or where one side is constant. No interval for
        fewer than eight networks, and none of Pearson's: neither covers (docs/statistics.md).
    """
    if len(x) < _MIN_NETWORKS:
        return math.nan, math.nan, math.nan
    if kind == "spearman":
        x, y = rankdata(x), rankdata(y)
    value = float(_pearson(x[None], y[None])[0])
    if kind == "pearson" or len(x) < _MIN_INTERVAL or not math.isfinite(value):
        return value, math.nan, math.nan
    rows = np.random.default_rng(seed).integers(len(x), size=(n_resamples, len(x)))
    resampled = _pearson(rankdata(x[rows], axis=1), rankdata(y[rows], axis=1))
    low, high = np.nanquantile(resampled, [0.025, 0.975])
    return value, float(low), float(high)


def _pearson(x: Values, y: Values) -> Values:
    """Correlation of each row of x with that of y, shape (m,); NaN where a row is constant."""
    x, y = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    scale = np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    defined = scale > 1e-12
    return np.where(defined, (x * y).sum(axis=1) / np.where(defined, scale, 1.0), np.nan)


def within_groups(values: Values, groups: NDArray[np.generic]) -> Values:
    """Subtract each group's mean: what is left cannot come from the groups' differences.

    Examples
    --------
    >>> within_groups(np.array([1.0, 3.0, 10.0]), np.array([0, 0, 1]))
    array([-1.,  1.,  0.])
    """
    _, place = np.unique(groups, return_inverse=True)
    means = np.bincount(place, weights=values) / np.bincount(place)
    return np.asarray(values - means[place])


def claims_table(models: pd.DataFrame) -> pd.DataFrame:
    """Hold the four claims to the study's numbers.

    Parameters
    ----------
    models
        From `study_models`.

    Returns
    -------
        Columns `claim`, `measure`, `value`, `low`, `high` (95 % intervals, networks the unit; NaN where none covers),
        `n`, `paper` (what it expects). Whether a claim holds is for the reader to say.
    """
    return pd.DataFrame([*_leave(models), *_exist(models), *_generalise(models), *_regular(models)], columns=COLUMNS)


def _leave(models: pd.DataFrame) -> list[dict[str, object]]:
    claim = "1. regular adversarial examples leave the manifold"
    measures = [
        ("distance_ratio_attacked", "distance / ‖δ‖₂ of regular examples", "near 1"),
        ("distance_ratio_noise", "distance / ‖δ‖₂ of noise of equal norm", "yardstick"),
        ("tangent_angle_attacked", "angle to the tangent space, degrees", "near 90"),
        ("auc_attacked_on_manifold", "AUC, regular from on-manifold examples by distance", "near 1"),
    ]
    return [_mean(claim, text, models[name], paper) for name, text, paper in measures if name in models]


def _exist(models: pd.DataFrame) -> list[dict[str, object]]:
    claim = "2. on-manifold adversarial examples exist"
    rows = [
        _mean(claim, f"on-manifold success rate, {recipe} training", part["on_manifold_success"], "above 0")
        for recipe, part in models.groupby("recipe", sort=False)
    ]
    return [*rows, _mean(claim, "distance of on-manifold examples", models["distance_on_manifold"], "0")]


def _generalise(models: pd.DataFrame) -> list[dict[str, object]]:
    claim = "3. on-manifold robustness is generalisation"
    name = "on_manifold_success"
    rows = _correlations(claim, "on-manifold success and test error", models, name, "positive, near 1")
    rows.append(_paired(claim, models, "on-manifold", "test error, on-manifold − normal training", "below 0"))
    return rows


def _regular(models: pd.DataFrame) -> list[dict[str, object]]:
    claim = "4. regular robustness and generalisation do not contradict each other"
    name = "regular_success"
    rows = _correlations(claim, "regular success and test error", models, name, "no relation of its own")
    for recipe, part in models.groupby("recipe", sort=False):
        text = f"Spearman, regular success and test error, {recipe} training"
        rows.append(_correlated(claim, text, part["test_error"], part[name], "no relation"))
    rows.append(_paired(claim, models, "half", "test error, half-adversarial − normal training", "near 0"))
    return rows


def _correlations(claim: str, text: str, models: pd.DataFrame, name: str, paper: str) -> list[dict[str, object]]:
    """Pearson and Spearman over all networks, and Spearman within equal numbers of training images."""
    known = models[np.isfinite(models["test_error"].astype(float)) & np.isfinite(models[name].astype(float))]
    groups = known["n_train"].to_numpy()
    x, y = known["test_error"].to_numpy(dtype=float), known[name].to_numpy(dtype=float)
    rows = [_row(claim, f"Pearson, {text}", correlation(x, y, "pearson"), len(x), paper)]
    rows.append(_correlated(claim, f"Spearman, {text}", x, y, paper))
    inner_x, inner_y = within_groups(x, groups), within_groups(y, groups)
    rows.append(_correlated(claim, f"Spearman within equal N, {text}", inner_x, inner_y, paper))
    return rows


def _correlated(claim: str, text: str, x: Values | pd.Series, y: Values | pd.Series, paper: str) -> dict[str, object]:
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    known = np.isfinite(a) & np.isfinite(b)
    a, b = a[known], b[known]
    return _row(claim, text, correlation(a, b), len(a), paper)


def _paired(claim: str, models: pd.DataFrame, recipe: str, text: str, paper: str) -> dict[str, object]:
    """Mean difference in test error to normal training, over pairs of the same size and seed."""
    table = models.pivot_table(index=["n_train", "seed"], columns="recipe", values="test_error")
    if recipe not in table or "normal" not in table:
        return _row(claim, text, (math.nan, math.nan, math.nan), 0, paper)
    return _mean(claim, text, table[recipe] - table["normal"], paper)


def _mean(claim: str, text: str, values: pd.Series, paper: str) -> dict[str, object]:
    known = values.dropna().to_numpy(dtype=float)
    low, high = mean_interval(known)
    return _row(claim, text, (float(known.mean()) if len(known) else math.nan, low, high), len(known), paper)


def _row(claim: str, text: str, value: tuple[float, float, float], n: int, paper: str) -> dict[str, object]:
    return dict(zip(COLUMNS, (claim, text, *value, n, paper), strict=True))


def write_claims(claims: pd.DataFrame, folder: Path) -> None:
    """Write `claims.csv` and, for reading, `claims.md`."""
    write_atomically(folder / "claims.csv", claims.to_csv(index=False))
    write_atomically(folder / "claims.md", claims_markdown(claims))


def claims_markdown(claims: pd.DataFrame) -> str:
    """Return the table of claims as it is read."""
    lines = ["| claim | measure | value | 95 % interval | n | the paper expects |", "|---|---|---:|---|---:|---|"]
    for row in claims.to_dict("records"):
        interval = f"{row['low']:.3f} … {row['high']:.3f}" if math.isfinite(row["low"]) else "–"
        value = f"{row['value']:.3f}" if math.isfinite(row["value"]) else "–"
        cells = (row["claim"], row["measure"], value, interval, row["n"], row["paper"])
        lines.append(f"| {' | '.join(str(cell) for cell in cells)} |")
    return "\n".join(lines) + "\n"
