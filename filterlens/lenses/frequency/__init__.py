"""The frequency lens: at which frequencies convolution filters have their energy (Lukasik et al. 2023)."""

from __future__ import annotations

from filterlens.lens import Lens
from filterlens.lenses.frequency.options import FrequencyOptions

__all__ = ["LENS"]

LENS = Lens(
    name="frequency",
    title="Frequency",
    summary="At which spatial frequencies convolution filters have their energy.",
    options=FrequencyOptions,
    extract="filterlens.lenses.frequency.extractor:extract",
    analyze="filterlens.lenses.frequency.analyzer:analyze",
    scores=("filterlens.lenses.frequency.scores",),
    measure="filterlens.lenses.frequency.measure:measure",
    attack_free=True,
    per_kernel=True,
    preload=("filterlens.lenses.frequency.analyzer",),
    rank=12,
)
