"""A compact table of chosen scores, as a paper has room for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd

from filterlens.errors import InputError
from filterlens.lens import get_score
from filterlens.report.data import RunData
from filterlens.report.formats import Table
from filterlens.report.latex import Width, chosen_columns
from filterlens.report.tables import TableMaker, report_tables, score_column

__all__ = ["paper_table"]

#: columns that say most, of tables that have more than a column of a paper holds, or its page
_COMPACT: Mapping[str, tuple[str, ...]] = {
    "robust_vs_normal": ("title", "robust_mean", "normal_mean", "p_adjusted"),
    "robust_vs_normal_by_dataset": ("dataset", "title", "robust_mean", "normal_mean", "p_adjusted"),
    "robust_vs_normal_by_architecture": ("architecture", "title", "robust_mean", "normal_mean"),
    "by_depth": ("title", "depth", "robust_mean", "normal_mean", "p_adjusted"),
    "correlation": ("dataset", "title", "rho", "ci_low", "n"),
}
_FAMILY = "adjusted over the table"
_SIDES = ("n_normal", "robust_mean", "normal_mean", "difference", "ci_low", "p_adjusted")
_PAGE: Mapping[str, tuple[str, ...]] = {
    "robust_vs_normal": ("title", *_SIDES),
    "robust_vs_normal_by_dataset": ("dataset", "title", *_SIDES),
    "robust_vs_normal_by_architecture": ("architecture", "title", *_SIDES),
    "by_depth": ("title", "depth", *_SIDES),
}


def paper_table(
    run: RunData,
    makers: Sequence[TableMaker],
    *,
    of: str = "",
    scores: Sequence[str] = (),
    columns: Sequence[str] = (),
    width: Width = "column",
) -> Table:
    """Return one table of a report with chosen rows and columns.

    Parameters
    ----------
    run
        The run.
    makers
        Lenses' own tables, beside those of every report.
    of
        Name of a table, such as `models` or `correlation`; empty: `robust_vs_normal` where the run has pairs, else
        `models`.
    scores
        Rows of a table with a row a score, or columns of `models`, in this order; empty: all.
    columns
        Keys of columns; empty: those that say most and fit.
    width
        Of one column of the paper, or of the page, which has room for more.

    Raises
    ------
    InputError
        There is no such table, score or column.
    """
    tables = {table.name: table for table in report_tables(run, makers)}
    name = of or ("robust_vs_normal" if "robust_vs_normal" in tables else "models")
    if name not in tables:
        raise InputError(f"the run in {run.folder} has no table {name!r}; there are {', '.join(tables)}")
    table = tables[name]
    if name == "models":
        return _models(run, table, scores, columns, width)
    if scores:
        table = replace(table, frame=_rows(table, scores))
    known = {column.key for column in table.columns}
    compact = tuple(key for key in (_COMPACT if width == "column" else _PAGE).get(name, ()) if key in known)
    chosen = chosen_columns(table, columns or compact)
    general = (
        tuple(said.replace(_FAMILY, "adjusted over all scores") for said in chosen.general)
        if scores
        else chosen.general
    )
    return replace(chosen, name=f"paper_{name}", general=general)


def _rows(table: Table, scores: Sequence[str]) -> pd.DataFrame:
    if "metric" not in table.frame:
        raise InputError(f"table {table.name!r} has no row a score: choose others with `--of`, or no scores")
    there = list(dict.fromkeys(table.frame["metric"]))
    missing = [score for score in scores if score not in there]
    if missing:
        raise InputError(f"table {table.name!r} has no score {missing[0]!r}; there are {', '.join(there)}")
    order = {score: place for place, score in enumerate(scores)}
    rows = table.frame[table.frame["metric"].isin(order)]
    return rows.sort_values("metric", key=lambda names: names.map(order), kind="stable", ignore_index=True)


def _models(run: RunData, table: Table, scores: Sequence[str], columns: Sequence[str], width: Width) -> Table:
    missing = [score for score in scores if score not in run.models]
    if missing:
        there = ", ".join(dict.fromkeys(run.scores["metric"]))
        raise InputError(f"the run in {run.folder} has no score {missing[0]!r}; there are {there}")
    known = {column.key: column for column in table.columns}
    own = tuple(known.get(score) or score_column(get_score(score)) for score in scores)
    names = ("model_id", "robust_acc") if width == "column" else ("model_id", "dataset", "robust", "robust_acc")
    facts = tuple(known[key] for key in names)
    chosen = chosen_columns(replace(table, columns=(*facts, *own)) if scores and not columns else table, columns)
    return replace(chosen, name="paper_models")
