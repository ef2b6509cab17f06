"""The flatness lens: how the robust loss rises when weights are perturbed (Stutz et al. 2021)."""

from __future__ import annotations

from filterlens.lens import Lens
from filterlens.lenses.flatness.options import FlatnessOptions

__all__ = ["LENS"]

_SCORES = ("scores", "gap_scores", "clean_scores", "hessian_scores")

LENS = Lens(
    name="flatness",
    title="Flatness of the robust loss",
    summary="How the robust loss rises when weights are perturbed.",
    options=FlatnessOptions,
    extract="filterlens.lenses.flatness.extractor:extract",
    analyze="filterlens.lenses.flatness.analyzer:analyze",
    scores=tuple(f"filterlens.lenses.flatness.{part}" for part in _SCORES),
    figures="filterlens.lenses.flatness.figures:FIGURES",
    tables="filterlens.lenses.flatness.tables:TABLES",
    preload=("filterlens.lenses.flatness.analyzer",),
    rank=40,
)
