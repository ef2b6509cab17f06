"""A third party's score of the built-in filters lens."""

from __future__ import annotations

from filterlens.lenses.filters.layer import Layer
from filterlens.score import score


@score(
    lens="filters",
    title="Mean norm",
    formula="Σ_i ‖f_i‖₂ / n",
    reference="",
    bounds=(0, None),
    by_depth=True,
    weight="n_filters",
)
def mean_norm(layer: Layer) -> float:
    """Mean Euclidean norm of a layer's filters."""
    return float(layer.filters.norm(dim=1).mean())
