"""The spectra lens: scores of every weight matrix from its singular values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterlens.dumps import DumpGroup, number
from filterlens.errors import DumpError
from filterlens.lens import score_rows
from filterlens.lenses.spectra.scores import Spectrum

__all__ = ["analyze", "matrix_rows"]


def analyze(group: DumpGroup) -> list[dict[str, object]]:
    """Score every weight matrix of a dump.

    Parameters
    ----------
    group
        The dump's `/spectra`: the singular values of one matrix an array.

    Returns
    -------
        Rows of the score table: one a matrix and score that is defined for its kind.

    Raises
    ------
    DumpError
        An array or attribute is not what the extractor writes.
    """
    return [row for name in group.names() for row in matrix_rows(name, group.read(name), group.attributes_of(name))]


def matrix_rows(name: str, values: NDArray[Any], attributes: Mapping[str, Any]) -> list[dict[str, object]]:
    """Rows of one matrix; NaN with the reason in `note` where it has no score.

    Parameters
    ----------
    name
        The layer's.
    values
        Its singular values, falling.
    attributes
        As the extractor writes them.
    """
    rows, columns = (number(attributes, side) for side in ("rows", "columns"))
    if values.ndim != 1 or not (rows >= 1 and columns >= 1 and len(values) in {0, min(rows, columns)}):
        raise DumpError(f"its {values.shape} singular values are not those of a {rows:g} x {columns:g} matrix")
    kind = str(attributes.get("kind", ""))
    bound = number(attributes, "operator_norm") if "operator_norm" in attributes else math.nan
    spectrum = Spectrum(np.asarray(values, dtype=np.float64), int(rows), int(columns), kind, bound)
    notes = ["depth is the order of the state dict's keys"]
    if not len(values):
        notes.insert(0, "skipped: too large to decompose")
    elif not np.isfinite(values).all():
        notes.insert(0, "skipped: holds NaN or Inf")
    elif attributes.get("by_gram_iteration") is False:
        notes.insert(0, "operator norm bounded by unrolling")
    common: dict[str, object] = {
        "layer": name,
        "kind": kind,
        "conv_depth": number(attributes, "conv_depth"),
        "conv_depth_norm": number(attributes, "conv_depth_norm"),
        "note": "; ".join(notes),
    }
    found = [{**common, **row} for row in score_rows("spectra", spectrum)]
    return [{**row, "weight": 0.0} if math.isnan(float(str(row["value"]))) else row for row in found]
