"""Flatness of the clean loss, beside that of the robust loss [Stutz2021]_."""

from __future__ import annotations

import math

from filterlens.lenses.flatness.losses import PerturbedLosses
from filterlens.lenses.flatness.scores import average_flatness, worst_flatness
from filterlens.score import score

__all__: list[str] = []

_CLEAN_LOSS = "Loss(w) = mean over images of loss(f_w(x), y)"
_PITFALLS = "Flatness of the clean loss says little of robustness: the paper's claim is of the robust loss."


@score(
    lens="flatness",
    name="average_clean_flatness",
    title="Average-case flatness of the clean loss",
    formula=f"mean_t Loss(w + ν_t) − Loss(w), ν_t as in average-case flatness; {_CLEAN_LOSS}",
    reference="Stutz2021 §4",
    unit="nats",
    higher_is_better=False,
    chance="0 for constant logits",
    pitfalls=_PITFALLS,
    applies=lambda losses: losses.clean is not None and losses.average_clean is not None,
)
def _average_clean(losses: PerturbedLosses) -> float:
    """How much the clean loss rises under the random weight perturbations of average-case flatness."""
    if losses.clean is None or losses.average_clean is None:
        return math.nan
    return average_flatness(losses.clean, losses.average_clean)[0]


@score(
    lens="flatness",
    name="worst_clean_flatness",
    title="Worst-case flatness of the clean loss",
    formula=f"max_ν Loss(w + ν) − Loss(w), ‖ν^(l)‖₂ ≤ 0.00075 ‖w^(l)‖₂ in every layer; {_CLEAN_LOSS}",
    reference="Stutz2021 §4",
    bounds=(0.0, None),
    unit="nats",
    higher_is_better=False,
    chance="0 for constant logits",
    pitfalls=_PITFALLS,
    applies=lambda losses: losses.clean is not None and losses.worst_clean is not None,
)
def _worst_clean(losses: PerturbedLosses) -> float:
    """How much the clean loss rises when an attack moves the weights alone."""
    if losses.clean is None or losses.worst_clean is None:
        return math.nan
    return worst_flatness(losses.clean, losses.worst_clean)[0]
