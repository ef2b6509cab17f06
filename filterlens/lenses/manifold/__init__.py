"""The manifold lens: how far attacks leave the data manifold, and attacks that stay on it (Stutz et al. 2019)."""

from __future__ import annotations

from filterlens.lens import Lens
from filterlens.lenses.manifold.options import ManifoldOptions

__all__ = ["LENS"]

LENS = Lens(
    name="manifold",
    title="Manifold",
    summary="How far attacks leave the data manifold, and attacks that stay on it.",
    options=ManifoldOptions,
    extract="filterlens.lenses.manifold.extractor:extract",
    analyze="filterlens.lenses.manifold.analyzer:analyze",
    scores=("filterlens.lenses.manifold.scores",),
    figures="filterlens.lenses.manifold.figures:FIGURES",
    preload=("filterlens.lenses.manifold.analyzer",),
    rank=50,
)
