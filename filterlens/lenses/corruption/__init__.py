"""The corruption lens: accuracy under noise, blur, weather and digital artefacts (Hendrycks & Dietterich 2019)."""

from __future__ import annotations

from filterlens.lens import Lens
from filterlens.lenses.corruption.options import CorruptionOptions

__all__ = ["LENS"]

LENS = Lens(
    name="corruption",
    title="Common corruptions",
    summary="Accuracy under noise, blur, weather and digital artefacts of five severities.",
    options=CorruptionOptions,
    extract="filterlens.lenses.corruption.extractor:extract",
    analyze="filterlens.lenses.corruption.analyzer:analyze",
    scores=("filterlens.lenses.corruption.scores",),
    figures="filterlens.lenses.corruption.figures:FIGURES",
    tables="filterlens.lenses.corruption.tables:TABLES",
    preload=("filterlens.lenses.corruption.analyzer",),
    rank=34,
)
