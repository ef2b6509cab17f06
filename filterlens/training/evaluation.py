"""What a training log holds: accuracy and loss, clean and attacked, and the scores of the weights and feature maps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from filterlens.attacks import cross_entropy, pgd, preserved
from filterlens.lens import all_lenses
from filterlens.training.monitor import Monitor

__all__ = ["Accuracy", "evaluate", "score_model"]


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Accuracies in [0, 1] and mean cross-entropies, clean and on PGD examples."""

    clean_accuracy: float
    clean_loss: float
    robust_accuracy: float
    robust_loss: float


def evaluate(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    eps: float,
    steps: int = 20,
    restarts: int = 1,
    seed: int = 0,
    batch_size: int = 250,
) -> Accuracy:
    """Measure a model under an L∞ PGD attack of step 2.5 ε / steps, in eval mode and float32.

    Parameters
    ----------
    model
        Takes images in [0, 1]; left in the mode it came in.
    images, labels
        Shapes (n, channels, height, width) and (n,).
    eps, steps, restarts
        Settings of the attack; per example the highest loss of all iterates and restarts counts.
    seed
        Random seed of the starts.

    References
    ----------
    [Madry2018]_; [Stutz2021]_, section 3, for the robust loss.
    """
    rows: list[Tensor] = []
    with preserved(model), torch.no_grad():
        for start in range(0, len(labels), batch_size):
            x, y = images[start : start + batch_size], labels[start : start + batch_size]
            clean = model(x)
            found = pgd(
                model, x, y, eps=eps, step=2.5 * eps / steps, steps=steps, restarts=restarts, seed=seed, first=start
            )
            right = clean.argmax(dim=1) == y
            rows.append(torch.stack([right, cross_entropy(clean, y), ~found.success & right, found.losses]))
    return Accuracy(*torch.cat(rows, dim=1).double().mean(dim=1).tolist())


def score_model(model: nn.Module, images: Tensor) -> dict[str, float]:
    """Score a model with every lens that needs no attack: model-level means by metric.

    Parameters
    ----------
    model
        Left as it was.
    images
        A fixed batch for lenses that look at feature maps, shape (n, channels, height, width).
    """
    found: dict[str, float] = {}
    for lens in all_lenses().values():
        if lens.attack_free and lens.measure:
            found |= Monitor(model, images, lens=lens.name)().model
    return found
