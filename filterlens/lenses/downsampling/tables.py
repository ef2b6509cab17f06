"""Tables of the downsampling lens."""

from __future__ import annotations

import pandas as pd

from filterlens.report.comparison import compare_scores, main_scores
from filterlens.report.data import RunData
from filterlens.report.formats import Column, Table
from filterlens.report.tables import DATASET, HOW, SCORE, SIDES, UNIT, TableMaker, one_family
from filterlens.score import model_scores

__all__ = ["TABLES"]


def aliasing_table(run: RunData, models: pd.DataFrame) -> Table:
    """Aliasing of robust and normal models by kind of operation and by its place in the network."""
    facts = models[["robust", "match", "match_rule", "dataset", "architecture"]]
    rows = run.lens_scores("downsampling")
    rows = rows[(rows["layer"] != "") & rows["value"].notna()].assign(weight=1.0)
    scores = [score for score in main_scores(run) if score.lens == "downsampling"]
    place = rows.groupby(["model_id", "metric", "kind"]).cumcount() + 1
    splits = [(str(kind), "all", part) for kind, part in rows.groupby("kind", sort=False)]
    splits += [(str(k), str(p), part) for (k, p), part in rows.groupby(["kind", place], sort=False)]
    frames = []
    for kind, number, part in splits:
        compared = compare_scores(facts.join(model_scores(part)), scores, by="dataset")
        frames.append(compared.assign(kind=kind, place=number))
    frame = one_family(frames, ["dataset", "kind", "place", "metric"])
    operation = Column("kind", "operation", "name", about="main: kernel larger than 1x1; shortcut: 1x1; pool.")
    columns = (
        DATASET,
        operation,
        Column("place", "place", "name", about="1: first of its kind."),
        SCORE,
        UNIT,
        *SIDES,
    )
    return Table("aliasing_by_operation", "Aliasing by operation", "", frame, columns, "downsampling", general=(HOW,))


TABLES: tuple[TableMaker, ...] = (aliasing_table,)
