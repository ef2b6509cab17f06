"""Tables of the corruption lens."""

from __future__ import annotations

import pandas as pd

from filterlens.report.comparison import compare_scores, main_scores
from filterlens.report.data import RunData
from filterlens.report.formats import Column, Table
from filterlens.report.tables import DATASET, HOW, SCORE, SIDES, UNIT, TableMaker, one_family
from filterlens.score import model_scores

__all__ = ["TABLES"]


def corruption_table(run: RunData, models: pd.DataFrame) -> Table:
    """Accuracy of robust and normal models under each corruption and at each severity."""
    facts = models[["robust", "match", "match_rule", "dataset", "architecture"]]
    rows = run.lens_scores("corruption")
    rows = rows[rows["kind"].isin(["corruption", "severity"]) & rows["value"].notna()].assign(weight=1.0)
    scores = [score for score in main_scores(run) if score.name == "corruption_accuracy"]
    frames = [
        compare_scores(facts.join(model_scores(part)), scores, by="dataset").assign(under=str(name))
        for name, part in rows.groupby("layer", sort=False)
    ]
    frame = one_family(frames, ["dataset", "under"])
    under = Column("under", "under", "name", about="A corruption, mean over severities; or a severity, mean over all.")
    columns = (DATASET, under, SCORE, UNIT, *SIDES)
    return Table("corruption_by_type", "Accuracy by corruption", HOW, frame, columns, lens="corruption")


TABLES: tuple[TableMaker, ...] = (corruption_table,)
