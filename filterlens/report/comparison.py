"""Robust against normal: pairs and paired statistics, on plain DataFrames.

`models` is always one row a model, index `model_id`, with the catalog's columns (`robust`, `match`, `dataset`,
`architecture`, …) and one column a score, as `RunData.models` gives it.

Many robust models share one normal model. The unit of every statistic is therefore the normal model: its robust
partners are averaged before anything else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from filterlens.lens import all_scores
from filterlens.report.data import RunData
from filterlens.report.kernels import kernel_of, per_kernel_lenses, sized_score, unsized
from filterlens.report.statistics import SKEWED, benjamini_hochberg, mean_interval, rank_biserial, skewness, wilcoxon_p
from filterlens.score import Score

__all__ = [
    "comparable_pairs",
    "compare_scores",
    "incomplete_pairs",
    "main_scores",
    "pair_models",
    "robust_vs_normal",
    "robustness_column",
    "scores_of",
    "sides_of_pairs",
]

MIN_PAIRS = 4  # units below which there is no p-value


def scores_of(scores: pd.DataFrame) -> dict[str, Score]:
    """Descriptors of every metric in a score table, registered ones first and in their order.

    Those of filters of another size than 3x3 follow that of 3x3. A metric that nobody registered (its lens is not
    installed here) gets a bare descriptor with its own name.
    """
    present = scores[["metric", "lens"]].drop_duplicates("metric").set_index("metric")["lens"]
    order = {name: place for place, name in enumerate(all_scores())}
    described = [score for name in present.index if (score := sized_score(str(name))) is not None]
    described.sort(key=lambda score: (order[unsized(score.name)], score.name != unsized(score.name), score.name))
    found = {score.name: score for score in described}
    for name, lens in present.items():
        metric = str(name)
        if metric not in found:
            found[metric] = Score(
                metric, str(lens), metric, "No lens installed here describes this score.", "unknown", "unknown"
            )
    return found


def main_scores(run: RunData) -> list[Score]:
    """Scores of a run that tables of comparison show: all but the auxiliary ones."""
    return [score for score in scores_of(run.sized_scores).values() if not score.auxiliary]


def pair_models(models: pd.DataFrame) -> pd.DataFrame:
    """List every robust model with its matched normal model.

    Returns
    -------
        Columns `robust`, `normal`, `dataset`, `architecture`, `match_rule`; one row a robust model whose partner
        is there, in the order of `models`.
    """
    robust = models[models["robust"].eq(True) & models["match"].isin(models.index)]  # noqa: FBT003 - a value
    return pd.DataFrame(
        {
            "robust": robust.index.astype(object),
            "normal": robust["match"].astype(object).to_numpy(),
            **{name: robust[name].to_numpy() for name in ("dataset", "architecture", "match_rule")},
        }
    )


def sides_of_pairs(models: pd.DataFrame) -> pd.Series:
    """Side of each model wherever models are pooled into one: that of its pair, if both of the pair are there.

    Returns
    -------
        By `model_id`: `robust`, `normal`, or `unpaired` of a model without a partner or of unknown robustness.
    """
    pairs = pair_models(models)
    sides = pd.Series("unpaired", index=models.index, dtype=object)
    sides[sides.index.isin(pairs["normal"])] = "normal"
    sides[sides.index.isin(pairs["robust"])] = "robust"
    return sides


def comparable_pairs(models: pd.DataFrame, scores: Iterable[Score]) -> pd.DataFrame:
    """Keep the pairs of which both sides have a value of some score; columns as of `pair_models`."""
    pairs = pair_models(models)
    names = [score.name for score in scores if score.name in models]
    known = models[names].notna()
    both = known.loc[pairs["robust"]].to_numpy(bool) & known.loc[pairs["normal"]].to_numpy(bool)  # (pairs, scores)
    kept: pd.DataFrame = pairs[both.any(axis=1)]
    return kept


def incomplete_pairs(models: pd.DataFrame, scores: Iterable[Score]) -> pd.DataFrame:
    """List robust models without a partner, pairs of which one side has no value, and pairs of unlike filter sizes.

    Returns
    -------
        Columns `robust`, `normal` (empty where the catalog names none), `lens` (empty for all), `missing`.
    """
    rows: list[dict[str, str]] = []
    for model_id, model in models[models["robust"].eq(True)].iterrows():  # noqa: FBT003 - a value
        if model["match"] not in models.index:
            rows.append(
                {"robust": str(model_id), "normal": str(model["match"]), "lens": "", "missing": "no normal partner"}
            )
    lenses: dict[str, list[str]] = {}
    for score in scores:
        if score.name in models:
            lenses.setdefault(score.lens, []).append(score.name)
    pairs = pair_models(models)
    for lens, names in lenses.items():
        known = models[names].notna().any(axis=1)
        if not known.any():
            continue
        for robust, normal in zip(pairs["robust"], pairs["normal"], strict=True):
            sides = [side for side, model_id in (("robust", robust), ("normal", normal)) if not known[model_id]]
            missing = f"no scores of the {' and the '.join(sides)} model" if sides else ""
            if not sides and lens in per_kernel_lenses():
                missing = _unlike_filters(models.loc[[robust, normal], names])
            if missing:
                rows.append({"robust": robust, "normal": normal, "lens": lens, "missing": missing})
    return pd.DataFrame(rows, columns=["robust", "normal", "lens", "missing"])


def _unlike_filters(both: pd.DataFrame) -> str:
    """Say that the filters of a robust and a normal model (two rows) differ in size; empty where they do not."""
    robust, normal = ({kernel_of(str(name)) for name in row.index[row.notna()]} for _, row in both.iterrows())
    if robust & normal:
        return ""
    sizes = " and ".join(" or ".join(sorted(side)) for side in (robust, normal))
    return f"not compared: their filters are of different sizes, {sizes}"


def compare_scores(models: pd.DataFrame, scores: Sequence[Score], *, by: str | None = None) -> pd.DataFrame:
    """Compare robust with normal models, score by score.

    Parameters
    ----------
    models
        See the module; scores that it lacks are passed over.
    scores
        What to compare.
    by
        A column of the pairs (`dataset`, `architecture`) to compare within; None takes all pairs together.

    Returns
    -------
        One row a score (and group) with at least one pair: `metric`, `lens`, `title`, `unit`, `robust_is`,
        `n_pairs`, `n_normal` (units), `robust_mean`, `robust_std`, `normal_mean`, `normal_std`, `difference`
        (robust - normal), `ci_low`, `ci_high` (95 %, Student's t; NaN under 4 units), `effect` (matched-pairs
        rank-biserial), `p` (exact Wilcoxon; NaN under 4 units), `p_adjusted` (Benjamini-Hochberg over the whole
        table), `n_expected` (pairs with the claimed sign, NaN without a claim), `n_higher` and `n_lower` (pairs in
        which the robust model is higher, lower), `note`; with `by`, that column first.
        Means and standard deviations are over units.
    """
    pairs = pair_models(models)
    groups: list[tuple[str, pd.DataFrame]]
    groups = [("", pairs)] if by is None else [(str(name), part) for name, part in pairs.groupby(by, sort=False)]
    rows = []
    for label, part in groups:
        for score in scores:
            row = _compare_one(models, part, score) if score.name in models else None
            if row is not None:
                rows.append(row if by is None else {by: label, **row})
    table = pd.DataFrame(rows, columns=([] if by is None else [by]) + _COMPARED)
    table["p_adjusted"] = benjamini_hochberg(table["p"].astype(float))
    return table


_COMPARED = [
    *("metric", "lens", "title", "unit", "robust_is", "n_pairs", "n_normal", "robust_mean", "robust_std"),
    *("normal_mean", "normal_std", "difference", "ci_low", "ci_high", "effect", "p", "p_adjusted"),
    *("n_expected", "n_higher", "n_lower", "note"),
]


def _compare_one(models: pd.DataFrame, pairs: pd.DataFrame, score: Score) -> dict[str, object] | None:
    value = models[score.name].astype(float)
    both = pd.DataFrame(
        {
            "normal_id": pairs["normal"].to_numpy(),
            "robust": value.loc[pairs["robust"]].to_numpy(),
            "normal": value.loc[pairs["normal"]].to_numpy(),
        }
    ).dropna()
    if both.empty:
        return None
    sign = np.sign(both["robust"] - both["normal"])
    units = both.groupby("normal_id", sort=False)[["robust", "normal"]].mean()
    difference = (units["robust"] - units["normal"]).to_numpy()
    low, high = mean_interval(difference)
    enough = len(units) >= MIN_PAIRS
    expected = {"higher": int((sign > 0).sum()), "lower": int((sign < 0).sum())}.get(score.robust_is)
    return {
        "metric": score.name,
        "lens": score.lens,
        "title": score.title,
        "unit": score.unit,
        "robust_is": score.robust_is,
        "n_pairs": len(both),
        "n_normal": len(units),
        "robust_mean": units["robust"].mean(),
        "robust_std": units["robust"].std(),
        "normal_mean": units["normal"].mean(),
        "normal_std": units["normal"].std(),
        "difference": difference.mean(),
        "ci_low": low,
        "ci_high": high,
        "effect": rank_biserial(difference),
        "p": wilcoxon_p(difference) if enough else np.nan,
        "p_adjusted": np.nan,
        "n_expected": np.nan if expected is None else expected,
        "n_higher": int((sign > 0).sum()),
        "n_lower": int((sign < 0).sum()),
        "note": _note(difference)
        if enough
        else f"no p-value and no interval: fewer than {MIN_PAIRS} distinct normal models",
    }


def _note(difference: NDArray[np.float64]) -> str:
    """Where the interval stands on skewed differences, that it is too narrow."""
    skew = skewness(difference)
    if not abs(skew) > SKEWED:
        return ""
    return "differences are strongly skewed: the interval is likely too narrow, read p before it"


def robustness_column(models: pd.DataFrame) -> str:
    """Name the column that says how robust a model is: published `robust_acc`, or else measured `robust_accuracy`.

    Published accuracies are taken where at least four robust models have one; the two are never mixed. Empty where
    neither is known for any robust model.
    """
    robust = models[models["robust"].eq(True)]  # noqa: FBT003 - a value
    known = {name: int(robust[name].notna().sum()) for name in ("robust_acc", "robust_accuracy") if name in models}
    if known.get("robust_acc", 0) >= MIN_PAIRS:
        return "robust_acc"
    best = max(known, key=lambda name: known[name], default="")
    return best if known.get(best) else ""


def robust_vs_normal(run: RunData) -> pd.DataFrame:
    """Compare the robust with the normal models of a run; see `compare_scores`."""
    return compare_scores(run.models, main_scores(run))
