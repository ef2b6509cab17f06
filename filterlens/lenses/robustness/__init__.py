"""The robustness lens: accuracy, loss and confidence on clean and on attacked images (Grabinski et al. 2022)."""

from __future__ import annotations

from filterlens.lens import Lens
from filterlens.lenses.robustness.options import RobustnessOptions

__all__ = ["LENS"]

LENS = Lens(
    name="robustness",
    title="Robustness and confidence",
    summary="Accuracy, loss, confidence and calibration on clean and on attacked images.",
    options=RobustnessOptions,
    extract="filterlens.lenses.robustness.extractor:extract",
    analyze="filterlens.lenses.robustness.analyzer:analyze",
    scores=("filterlens.lenses.robustness.scores",),
    figures="filterlens.lenses.robustness.figures:FIGURES",
    preload=("filterlens.lenses.robustness.analyzer",),
    rank=30,
)
