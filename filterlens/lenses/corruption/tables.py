"""Tables of the corruption lens."""

from __future__ import annotations

import pandas as pd

from filterlens.report.data import RunData
from filterlens.report.formats import Column, Table
from filterlens.report.tables import DATASET, HOW, SCORE, SIDES, UNIT, TableMaker, comparison_by_layer

__all__ = ["TABLES"]


def corruption_table(run: RunData, models: pd.DataFrame) -> Table:
    """Accuracy of robust and normal models under each corruption and at each severity."""
    frame = comparison_by_layer(run, models, "corruption_accuracy", ("corruption", "severity"), "under")
    under = Column("under", "under", "name", about="A corruption, mean over severities; or a severity, mean over all.")
    columns = (DATASET, under, SCORE, UNIT, *SIDES)
    return Table("corruption_by_type", "Accuracy by corruption", HOW, frame, columns, lens="corruption")


TABLES: tuple[TableMaker, ...] = (corruption_table,)
