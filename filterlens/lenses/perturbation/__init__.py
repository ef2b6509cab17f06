"""The perturbation lens: at which frequencies attacks have their energy, and noise harms most (Yin et al. 2019)."""

from __future__ import annotations

from filterlens.lens import Lens
from filterlens.lenses.perturbation.options import PerturbationOptions

__all__ = ["LENS"]

LENS = Lens(
    name="perturbation",
    title="Frequency of attacks and noise",
    summary="At which spatial frequencies attacks have their energy, and at which noise costs most accuracy.",
    options=PerturbationOptions,
    extract="filterlens.lenses.perturbation.extractor:extract",
    analyze="filterlens.lenses.perturbation.analyzer:analyze",
    scores=("filterlens.lenses.perturbation.scores",),
    figures="filterlens.lenses.perturbation.figures:FIGURES",
    tables="filterlens.lenses.perturbation.tables:TABLES",
    preload=("filterlens.lenses.perturbation.analyzer",),
    rank=32,
)
