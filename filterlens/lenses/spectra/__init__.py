"""The spectra lens: singular values of every weight matrix, whatever the architecture."""

from __future__ import annotations

from filterlens.lens import Lens
from filterlens.lenses.spectra.options import SpectraOptions

__all__ = ["LENS"]

LENS = Lens(
    name="spectra",
    title="Spectra",
    summary="Singular values of every weight matrix: norms, ranks, power law and random bulk.",
    options=SpectraOptions,
    extract="filterlens.lenses.spectra.extractor:extract",
    analyze="filterlens.lenses.spectra.analyzer:analyze",
    scores=("filterlens.lenses.spectra.scores",),
    measure="filterlens.lenses.spectra.measure:measure",
    attack_free=True,
    preload=("filterlens.lenses.spectra.analyzer",),
    rank=15,
)
