"""Which epoch's weights a training gives back, and whether it ends: rules that read the log alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from torch import nn

from filterlens.training.early_stopping import EarlyStopping

__all__ = ["STOPPINGS", "VALIDATION", "judge"]

STOPPINGS: Final = ("", "pgd", "aliasing")
VALIDATION: Final = "validation_robust_accuracy"


def judge(stopping: str, log: Sequence[dict[str, float]]) -> tuple[int, bool]:
    """Say which epoch's weights are to be given back so far, and whether training is to end.

    Parameters
    ----------
    stopping
        `pgd`: the first epoch with the highest accuracy under PGD on validation images, and never end [Rice2020]_.
        `aliasing`: end when relative aliasing jumps, and give back the last epoch before [Grabinski2022]_, by the rule
        of `EarlyStopping`. Empty: the last epoch.
    log
        A row an epoch.

    Examples
    --------
    >>> judge("pgd", [{"validation_robust_accuracy": a} for a in (0.1, 0.4, 0.3, 0.4)])
    (1, False)
    """
    if stopping == "pgd":
        accuracies = [row[VALIDATION] for row in log]
        return accuracies.index(max(accuracies)), False
    if stopping == "aliasing":
        rule, nothing = EarlyStopping(), nn.Module()
        ends = next((True for row in log if rule.step(row["aliasing_relative"], nothing)), False)
        return rule.best_epoch or 0, ends
    return len(log) - 1, False
