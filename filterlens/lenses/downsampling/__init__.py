"""The downsampling lens: aliasing of feature maps where a network downsamples (Grabinski et al. 2022)."""

from __future__ import annotations

from filterlens.lens import Lens
from filterlens.lenses.downsampling.options import DownsamplingOptions

__all__ = ["LENS"]

LENS = Lens(
    name="downsampling",
    title="Downsampling and aliasing",
    summary="Aliasing of feature maps where a network downsamples.",
    options=DownsamplingOptions,
    extract="filterlens.lenses.downsampling.extractor:extract",
    analyze="filterlens.lenses.downsampling.analyzer:analyze",
    scores=("filterlens.lenses.downsampling.scores",),
    figures="filterlens.lenses.downsampling.figures:FIGURES",
    tables="filterlens.lenses.downsampling.tables:TABLES",
    measure="filterlens.lenses.downsampling.measure:measure",
    attack_free=True,
    preload=("filterlens.lenses.downsampling.analyzer",),
    rank=20,
)
