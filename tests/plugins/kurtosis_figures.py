"""The figure of the kurtosis lens: a point a model."""

from __future__ import annotations

from filterlens.report.data import RunData
from filterlens.report.figure import Drawing, Figure
from filterlens.report.marks import mark_of, points
from filterlens.report.style import new_figure


def draw(run: RunData) -> Drawing | None:
    """Draw every model's kurtosis; None where the run has none."""
    if "kurtosis" not in run.models:
        return None
    data = run.models[["robust", "kurtosis"]].reset_index()
    figure = new_figure(2, column=True)
    axis = figure.subplots()
    for robust, own in data.groupby("robust", dropna=False):
        points(axis, own["kurtosis"], own.index, mark_of(robust))
    axis.set_yticks(data.index, data["model_id"])
    axis.set_xlabel("kurtosis")
    return Drawing(figure, data, f"Kurtosis of the weights. n = {len(data)} models.")


FIGURES = (Figure("kurtosis_models", "kurtosis", "Kurtosis of every model", draw),)
