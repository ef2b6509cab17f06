"""Tables of the perturbation lens."""

from __future__ import annotations

import pandas as pd

from filterlens.report.data import RunData
from filterlens.report.formats import Column, Table
from filterlens.report.tables import DATASET, HOW, SCORE, SIDES, UNIT, TableMaker, comparison_by_layer

__all__ = ["TABLES"]


def band_table(run: RunData, models: pd.DataFrame) -> Table:
    """Accuracy of robust and normal models under noise of each band."""
    frame = comparison_by_layer(run, models, "band_noise_accuracy", ("band",), "band")
    band = Column("band", "band", "name", about="Spatial frequencies of the noise, mean over three levels.")
    columns = (DATASET, band, SCORE, UNIT, *SIDES)
    return Table("band_noise", "Accuracy under noise of each band", HOW, frame, columns, lens="perturbation")


TABLES: tuple[TableMaker, ...] = (band_table,)
