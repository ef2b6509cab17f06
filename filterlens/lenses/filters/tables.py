"""Tables of the filters lens."""

from __future__ import annotations

import numpy as np
import pandas as pd

from filterlens.lenses.filters.pooled import read_filter_pool
from filterlens.report.data import RunData
from filterlens.report.formats import Column, Table
from filterlens.report.tables import DATASET, TableMaker

__all__ = ["TABLES"]


def shift_table(run: RunData, models: pd.DataFrame) -> Table:
    """How far the filters of robust and normal models lie apart, by data set."""
    pool = read_filter_pool(run)
    columns = (
        DATASET,
        Column(
            "shift", "shift D", "value", "nats", about="Symmetric KL of coefficients, weighted by explained variance."
        ),
        Column(
            "by_chance",
            "by chance",
            "value",
            "nats",
            about="Median and highest shift after random swaps of robust and normal within pairs.",
            beside="by_chance_highest",
            joint=" to ",
        ),
        Column("n_robust", "robust filters", "count"),
        Column("n_normal", "normal filters", "count"),
        Column("paired", "paired models only", "flag"),
    )
    rows = []
    if pool is not None:
        counts = pool.arrays["shift_counts"]
        rows = [
            {
                "dataset": name,
                "shift": float(pool.arrays["shift"][d]),
                "by_chance": float(np.median(pool.null[d])),
                "by_chance_highest": float(np.max(pool.null[d])),
                "n_robust": n[0],
                "n_normal": n[1],
                "paired": paired,
            }
            for d, (name, n, paired) in enumerate(zip(pool.datasets, counts.tolist(), pool.paired, strict=True))
        ]
    frame = pd.DataFrame(rows, columns=[key for column in columns for key in column.keys])
    note = (
        "Between the filters of robust and normal models; 0 where they are alike. By chance: median and highest shift "
        "after random swaps of robust and normal within pairs, from four distinct normal models on."
    )
    return Table(
        "distribution_shift", "Distribution shift", note, frame[frame["shift"].notna()], columns, lens="filters"
    )


TABLES: tuple[TableMaker, ...] = (shift_table,)
