"""Where a model's scores stand among a reference zoo's."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from filterlens.catalogs import load_catalog, shipped_folder
from filterlens.commands.plan import BUNDLED
from filterlens.errors import InputError
from filterlens.lens import all_scores
from filterlens.runs.folder import check_folder
from filterlens.score import model_scores, read_scores

__all__ = ["Place", "place", "reference_scores"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where one score stands among a reference zoo's models.

    `robust` and `normal` are percentiles in [0, 100]: the share of those models that score lower, ties half.
    `looks` is `robust` or `normal`, whichever group's median is nearer in units of the groups' pooled spread.
    """

    metric: str
    value: float
    robust: float
    normal: float
    robust_median: float
    normal_median: float
    looks: str


def reference_scores(folder: str | Path | None = None) -> pd.DataFrame:
    """Return the reference zoo: one row a model, `robust` and the mean of every metric.

    Parameters
    ----------
    folder
        Of a finished audit; the bundled zoo's own scores where None.

    Raises
    ------
    InputError
        The folder is no audit, or says of no model whether it is robust.
    """
    if folder is None:
        return pd.read_csv(shipped_folder() / BUNDLED / "scores.csv", index_col="model_id")
    folder = Path(folder)
    if not (folder / "catalog.csv").is_file():
        raise InputError(f"--reference {folder} is not an audit's folder: it has no catalog.csv")
    check_folder(folder)
    catalog = load_catalog(folder / "catalog.csv")
    robust = pd.Series({entry.model_id: entry.robust for entry in catalog}, name="robust", dtype=object)
    table = model_scores(read_scores(folder / "scores.parquet")).join(robust)
    known = table[table["robust"].notna()]
    if known.empty:
        raise InputError(f"--reference {folder}: its catalog says of no model whether it is robust")
    return known.astype({"robust": bool})


def place(scores: pd.DataFrame, reference: pd.DataFrame) -> list[Place]:
    """Place a model's scores among the reference's robust and normal models."""
    mine = model_scores(scores).iloc[0]
    places = []
    is_robust = reference["robust"].to_numpy(bool)
    for metric, value in zip(map(str, mine.index), mine.to_numpy(float), strict=True):
        known = all_scores().get(metric)
        if metric not in reference or known is None or known.auxiliary or math.isnan(value):
            continue
        column = reference[metric].to_numpy(float)
        robust, normal = (column[group & ~np.isnan(column)] for group in (is_robust, ~is_robust))
        if len(robust) and len(normal):
            places.append(_place(metric, float(value), robust, normal))
    return places


def _place(metric: str, value: float, robust: NDArray[np.float64], normal: NDArray[np.float64]) -> Place:
    middle = {"robust": float(np.median(robust)), "normal": float(np.median(normal))}
    looks = min(middle, key=lambda group: abs(value - middle[group]))
    return Place(
        metric,
        value,
        _percentile(value, robust),
        _percentile(value, normal),
        middle["robust"],
        middle["normal"],
        looks if middle["robust"] != middle["normal"] else "",
    )


def _percentile(value: float, among: NDArray[np.float64]) -> float:
    return float(100 * ((among < value).mean() + 0.5 * (among == value).mean()))
