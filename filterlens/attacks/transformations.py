"""Accuracy under the worst transformation of an image: affine by gradients, rotation with translation by a grid."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import numpy as np
import torch
from torch import Tensor

from filterlens.attacks import Ball, attack, cross_entropy
from filterlens.attacks.evaluation import EvaluatedBatch, Running
from filterlens.inputs.fonts import LOWER, UPPER, warp

__all__ = ["AFFINE_RADIUS", "ROTATION", "affine_logits", "grid_of", "rotation_logits", "translation_of"]

AFFINE_RADIUS: Final = 0.3  # η of Stutz2019
ROTATION: Final = 30.0  # degrees
_IDENTITY: Final = (0.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def translation_of(side: int) -> float:
    """Largest translation in pixels, as published: 3 on MNIST and CIFAR-10, 24 on ImageNet's 224 [Engstrom2019]_.

    Examples
    --------
    >>> translation_of(32), translation_of(224)
    (3.0, 24.0)
    """
    return 3.0 if side <= 32 else 24 / 224 * side


def grid_of(height: int, width: int, *, rotations: int, translations: int) -> Tensor:
    """Affine parameters of every rotation within ±30° with every translation, none of either among them.

    Parameters
    ----------
    height, width
        Of the images.
    rotations, translations
        Places of each, the latter along each axis; odd numbers hold none.

    Returns
    -------
        Shape (rotations · translations², 6), in the order of FONTS' latents.
    """
    angles = np.deg2rad(np.linspace(-ROTATION, ROTATION, rotations))
    down, right = (np.linspace(-1, 1, translations) * translation_of(side) / (side / 2) for side in (height, width))
    rows = [(x, y, 0.0, 0.0, 1.0, angle) for angle in angles for y in down for x in right]
    return torch.tensor(np.array(rows), dtype=torch.float32)


def rotation_logits(runner: Running, batch: EvaluatedBatch, clean: Tensor, grid: Tensor) -> Tensor:
    """Logits of each image under the rotation and translation of a grid that is worst for it [Engstrom2019]_.

    The worst is one that is classified wrongly, the one of the highest loss among several. `clean` are the logits
    without any.

    Returns
    -------
        Shape (b, classes).
    """
    return _worst(_under(runner, batch, grid), batch.labels, clean)


def _under(runner: Running, batch: EvaluatedBatch, grid: Tensor) -> Iterator[Tensor]:
    for parameters in grid.to(batch.pixels.device):
        with torch.no_grad():
            yield runner(warp(batch.pixels, parameters.expand(len(batch.labels), -1)))


def affine_logits(
    runner: Running, batch: EvaluatedBatch, clean: Tensor, *, steps: int, restarts: int, seed: int
) -> Tensor:
    """Logits of each image under the worst affine transformation within η of none, t ∈ R⁶ [Stutz2019]_.

    Gradient signs in the six parameters of FONTS, held in their ranges; `clean` are the logits without any.
    """
    none = batch.pixels.new_tensor(_IDENTITY).expand(len(batch.labels), -1)
    found = attack(
        lambda t: runner(warp(batch.pixels, t)), none, batch.labels, ball=Ball("Linf", AFFINE_RADIUS),
        step=AFFINE_RADIUS / 4, steps=steps, box=(none.new_tensor(LOWER), none.new_tensor(UPPER)), restarts=restarts,
        seed=seed, first=batch.rows.start,
    )  # fmt: skip
    return _worst(iter([found.logits]), batch.labels, clean)


def _worst(candidates: Iterator[Tensor], labels: Tensor, clean: Tensor) -> Tensor:
    worst = clean.float().clone()
    height = _badness(worst, labels)
    for candidate in candidates:
        logits = candidate.float()
        own = _badness(logits, labels)
        better = own > height
        worst[better], height = logits[better], torch.maximum(own, height)
    return worst


def _badness(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy, from 1000 on where the prediction is wrong."""
    losses = cross_entropy(logits, labels).nan_to_num(nan=math.inf).clamp(max=999)
    return losses + 1000 * (logits.argmax(dim=1) != labels)
