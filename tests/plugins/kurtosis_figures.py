"""The figure of the kurtosis lens: a point a model."""

from __future__ import annotations

from filterlens.report.data import RunData
from filterlens.report.figure import Drawing, Figure


def draw(run: RunData) -> Drawing | None:
    """Draw every model's kurtosis; None where the run has none."""
    if "kurtosis" not in run.models:
        return None
    from matplotlib.figure import Figure as MatplotlibFigure

    data = run.models[["robust", "kurtosis"]].reset_index()
    figure = MatplotlibFigure(figsize=(3.4, 2))
    axis = figure.subplots()
    axis.plot(data["kurtosis"], data["model_id"], "o")
    axis.set_xlabel("kurtosis")
    return Drawing(figure, data, f"Kurtosis of the weights. n = {len(data)} models.")


FIGURES = (Figure("kurtosis_models", "kurtosis", "Kurtosis of every model", draw),)
