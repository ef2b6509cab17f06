"""Filter sizes kept apart: a score of 7x7 filters is another column than that of 3x3.

Of every model the rows of one filter size have a weight: that of its main filters. In a report's tables a score of
filters keeps its name for 3x3, and is called by its size too for any other (`sparsity_7x7`). Pairs, means, depth
groups, correlations and predictions are made column by column, and so never compare or average two sizes.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

import pandas as pd

from filterlens.lens import all_lenses, all_scores
from filterlens.score import Score

__all__ = ["by_kernel_size", "is_size", "kernel_of", "main_sizes", "per_kernel_lenses", "sized_score", "unsized"]

_USUAL: Final = "3x3"  # whose scores have no size in their name
_SIZE: Final = re.compile(r"\d{1,4}x\d{1,4}")
_SIZED: Final = re.compile(rf"(.+)_({_SIZE.pattern})")


def per_kernel_lenses() -> set[str]:
    """Names of the lenses whose rows are of filters, and have their size as `kind`."""
    return {name for name, lens in all_lenses().items() if lens.per_kernel}


def is_size(kind: str) -> bool:
    """Whether a row's `kind` is a filter size."""
    return _SIZE.fullmatch(kind) is not None


def by_kernel_size(scores: pd.DataFrame) -> pd.DataFrame:
    """Name scores of filters that are not 3x3 by the size of the model's filters.

    Parameters
    ----------
    scores
        The tidy score table.

    Returns
    -------
        The same table where all filters are 3x3; else a copy in which every row of a lens of filters is of its model's
        main size: a model's other filters, which have no weight, keep their `kind` alone.

    Examples
    --------
    >>> from filterlens.score import as_table
    >>> rows = [{"model_id": "a", "lens": "filters", "metric": "sparsity", "layer": "c", "kind": "7x7", "value": 0.5}]
    >>> by_kernel_size(as_table(rows))["metric"].tolist()
    ['sparsity_7x7']
    """
    rows = _of_filters(scores)
    if (rows["kind"] == _USUAL).all():
        return scores
    sizes = pd.MultiIndex.from_frame(rows[["model_id", "lens"]]).map(main_sizes(scores))
    suffix = pd.Series(sizes, index=rows.index, dtype=object)
    other = suffix[suffix.notna() & (suffix != _USUAL)]
    metric = scores["metric"].copy()
    metric[other.index] = metric[other.index] + "_" + other
    return scores.assign(metric=metric)


def main_sizes(scores: pd.DataFrame) -> dict[tuple[str, str], str]:
    """Filter size that the means of a model are of, by model and lens; only where it is known."""
    rows = _of_filters(scores)
    weighted = rows[(rows["weight"] > 0) & rows["kind"].map(is_size).astype(bool)]
    first = weighted.drop_duplicates(["model_id", "lens"])
    return dict(zip(zip(first["model_id"], first["lens"], strict=True), first["kind"], strict=True))


def _of_filters(scores: pd.DataFrame) -> pd.DataFrame:
    return scores[scores["lens"].isin(per_kernel_lenses()) & (scores["layer"] != "")]


def sized_score(name: str) -> Score | None:
    """Describe a score by its name in a report's tables; None where nothing of that name is registered."""
    known = all_scores()
    if name in known:
        return known[name]
    found = _SIZED.fullmatch(name)
    if found is None or found[1] not in known or known[found[1]].lens not in per_kernel_lenses():
        return None
    score = known[found[1]]
    return replace(score, name=name, title=f"{score.title} ({found[2]})")


def kernel_of(name: str) -> str:
    """Filter size of a score by its name in a report's tables: `3x3` where the name has none."""
    found = _SIZED.fullmatch(name)
    return found[2] if found else _USUAL


def unsized(name: str) -> str:
    """Name of a score without its filter size: as it is registered."""
    found = _SIZED.fullmatch(name)
    return found[1] if found and name not in all_scores() else name
