"""What one step of a training sees, and the attacks inside its loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from filterlens.attacks import Ball, Box, Loss, cross_entropy, last_iterate, preserved
from filterlens.inputs.fonts import LOWER, UPPER
from filterlens.manifolds import Manifold

__all__ = ["AttackBudget", "TrainingBatch", "attack_images", "attack_latents", "fonts_box"]


@dataclass(frozen=True, slots=True)
class TrainingBatch:
    """What one step sees.

    Parameters
    ----------
    images, labels
        Shapes (n, channels, height, width) in [0, 1], and (n,).
    latents, conditions
        Position on the known manifold, shapes (n, 6) and (n, 2), or None for other data than FONTS.
    prototypes
        The manifold's letters, shape (fonts, 10, 28, 28), or None.
    perturbation
        Of the images, a leaf that asks for its gradient: free adversarial training carries it from one replay of the
        batch to the next.
    manifold
        A learned one, with encoder and decoder, or None.
    """

    images: Tensor
    labels: Tensor
    latents: Tensor | None = None
    conditions: Tensor | None = None
    prototypes: Tensor | None = None
    perturbation: Tensor | None = None
    manifold: Manifold | None = None


@dataclass(frozen=True, slots=True)
class AttackBudget:
    """How strong the inner attacks are.

    Parameters
    ----------
    eps
        L∞ radius in pixels.
    eta
        L∞ radius in latents or transformation parameters.
    steps
        Gradient steps from a random start.
    reach
        Length of all steps together, in radii.
    fgsm_step
        Length of FGSM's only step, in ε.
    fgsm_random_start
        Begin FGSM at a random point of the ball [Wong2020]_, not at the image itself [Goodfellow2015]_.
    beta
        Weight of the second term of TRADES and MART.
    gamma
        Length of AWP's step, relative to each tensor's own norm.
    label_smoothing
        Share of the target that is spread evenly over all classes, of every recipe's cross-entropy that is minimised.
    half_precision
        Run the attacks' forward passes in bfloat16. They use the gradient's sign only.
    """

    eps: float = 0.2
    eta: float = 0.3
    steps: int = 4
    reach: float = 2.5
    fgsm_step: float = 1.25
    fgsm_random_start: bool = True
    beta: float = 6.0
    gamma: float = 0.005
    label_smoothing: float = 0.0
    half_precision: bool = False


def attack_images(
    model: nn.Module,
    batch: TrainingBatch,
    budget: AttackBudget,
    generator: Generator | None,
    *,
    loss: Loss = cross_entropy,
) -> Tensor:
    """Attack images within ε of themselves and [0, 1]; without a generator from the images themselves."""
    with preserved(model, evaluate=False):
        return last_iterate(
            _quick(model, budget),
            batch.images,
            batch.labels,
            ball=Ball("Linf", budget.eps),
            step=budget.reach * budget.eps / budget.steps,
            steps=budget.steps,
            generator=generator,
            loss=loss,
        )


def fonts_box(centre: Tensor) -> Box:
    """Ranges of FONTS' affine parameters."""
    return centre.new_tensor(LOWER), centre.new_tensor(UPPER)


def attack_latents(
    model: nn.Module,
    draw: Callable[[Tensor], Tensor],
    centre: Tensor,
    labels: Tensor,
    *,
    box: Box | None,
    budget: AttackBudget,
    generator: Generator,
) -> Tensor:
    """Attack latents, or affine parameters, within η of a centre and their ranges; return the images."""
    forward = _quick(model, budget)
    with preserved(model, evaluate=False):
        found = last_iterate(
            lambda z: forward(draw(z)),
            centre,
            labels,
            ball=Ball("Linf", budget.eta),
            step=budget.reach * budget.eta / budget.steps,
            steps=budget.steps,
            box=box,
            generator=generator,
        )
    with torch.no_grad():
        return draw(found)


def _quick(model: nn.Module, budget: AttackBudget) -> Callable[[Tensor], Tensor]:
    """Let attacks run the network in bfloat16, where that is wished for."""

    def forward(images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=budget.half_precision):
            logits: Tensor = model(images)
        return logits

    return forward
