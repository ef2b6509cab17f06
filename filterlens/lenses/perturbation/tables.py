"""Tables of the perturbation lens."""

from __future__ import annotations

import pandas as pd

from filterlens.report.comparison import compare_scores, main_scores
from filterlens.report.data import RunData
from filterlens.report.formats import Column, Table
from filterlens.report.tables import DATASET, HOW, SCORE, SIDES, UNIT, TableMaker, one_family
from filterlens.score import model_scores

__all__ = ["TABLES"]


def band_table(run: RunData, models: pd.DataFrame) -> Table:
    """Accuracy of robust and normal models under noise of each band."""
    facts = models[["robust", "match", "match_rule", "dataset", "architecture"]]
    rows = run.lens_scores("perturbation")
    rows = rows[(rows["kind"] == "band") & rows["value"].notna()].assign(weight=1.0)
    scores = [score for score in main_scores(run) if score.name == "band_noise_accuracy"]
    frames = [
        compare_scores(facts.join(model_scores(part)), scores, by="dataset").assign(band=str(band))
        for band, part in rows.groupby("layer", sort=False)
    ]
    frame = one_family(frames, ["dataset", "band"])
    band = Column("band", "band", "name", about="Spatial frequencies of the noise, mean over three levels.")
    columns = (DATASET, band, SCORE, UNIT, *SIDES)
    return Table("band_noise", "Accuracy under noise of each band", HOW, frame, columns, lens="perturbation")


TABLES: tuple[TableMaker, ...] = (band_table,)
