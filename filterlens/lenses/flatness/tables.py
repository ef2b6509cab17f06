"""Tables of the flatness lens."""

from __future__ import annotations

import pandas as pd

from filterlens.report.comparison import main_scores
from filterlens.report.data import RunData
from filterlens.report.formats import Table
from filterlens.report.tables import ARCHITECTURE, DATASET, NAME, ROBUST, TableMaker, counts_of, score_column

__all__ = ["TABLES"]


def flatness_table(run: RunData, models: pd.DataFrame) -> Table:
    """Flatness beside accuracy."""
    flat = [score.name for score in main_scores(run) if score.lens == "flatness" and score.name in models]
    beside = ("clean_accuracy", "robust_accuracy", "robust_loss")
    scores = [score for score in main_scores(run) if score.name in {*flat, *beside} and score.name in models]
    frame = models[models[flat].notna().any(axis=1)] if flat else models.iloc[:0]
    columns = (NAME, DATASET, ARCHITECTURE, ROBUST, *map(score_column, scores))
    note = f"{counts_of(frame)}. Flatness: rise of the robust loss under weight perturbation, lower is flatter."
    return Table("flatness", "Flatness of the robust loss", note, frame.reset_index(), columns, lens="flatness")


TABLES: tuple[TableMaker, ...] = (flatness_table,)
