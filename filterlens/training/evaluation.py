"""What a training log holds: accuracy and loss, clean and attacked, and the scores of the weights and feature maps."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from filterlens.analyzers.filters import LayerScores, score_layer
from filterlens.attacks import cross_entropy, pgd, preserved
from filterlens.training.aliasing_monitor import AliasingMonitor

__all__ = ["Accuracy", "evaluate", "score_model"]

_METRICS = ("sparsity", "variance_entropy", "orthogonality")


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
        Of the attack; per example the highest loss of all iterates and restarts counts.
    seed
        Of the random starts.

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
            rows.append(torch.stack([right, cross_entropy(clean, y), ~found.fooled & right, found.losses]))
    return Accuracy(*torch.cat(rows, dim=1).double().mean(dim=1).tolist())


def score_model(model: nn.Module, images: Tensor) -> dict[str, float]:
    """Score a model as the filters and downsampling lenses would: model-level means.

    Parameters
    ----------
    model
        With 3x3 convolutions, and downsampling that is not all 1x1.
    images
        A fixed batch for the aliasing scores, shape (n, channels, height, width).

    Returns
    -------
        `sparsity`, `variance_entropy`, `orthogonality` over the 3x3 convolutions; `aliasing`, `aliasing_relative`,
        `alias_energy` over the downsampling operations.
    """
    layers = [
        score_layer(module.weight.detach().cpu())
        for module in model.modules()
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3)
    ]
    return {metric: _mean(layers, metric) for metric in _METRICS} | AliasingMonitor(model, images)().model


def _mean(layers: list[LayerScores], metric: str) -> float:
    pairs = [(layer.weight(metric), getattr(layer, metric)) for layer in layers]
    defined = [(weight, value) for weight, value in pairs if weight > 0 and math.isfinite(value)]
    total = sum(weight for weight, _ in defined)
    return sum(weight * value for weight, value in defined) / total if total else math.nan
