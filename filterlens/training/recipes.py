"""Ways of training, each a loss of one batch to be minimised; whatever it maximises is found inside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from filterlens.attacks import Ball, Box, preserved, random_points
from filterlens.errors import InputError
from filterlens.inputs.fonts import decode, warp
from filterlens.manifolds import Points
from filterlens.training.inner_attacks import (
    AttackBudget,
    TrainingBatch,
    attack_images,
    attack_latents,
    fonts_box,
)

__all__ = ["RECIPES", "AttackBudget", "Recipe", "TrainingBatch", "recipe"]

_IDENTITY: Final = (0.0, 0.0, 0.0, 0.0, 1.0, 0.0)


Recipe = Callable[[nn.Module, TrainingBatch, AttackBudget, Generator], Tensor]
RECIPES: Final[dict[str, Recipe]] = {}


def _register(name: str) -> Callable[[Recipe], Recipe]:
    def add(function: Recipe) -> Recipe:
        RECIPES[name] = function
        return function

    return add


def recipe(name: str) -> Recipe:
    """Look a recipe up.

    Raises
    ------
    InputError
        There is none of that name.
    """
    if name not in RECIPES:
        raise InputError(f"there is no recipe {name!r}: choose one of {', '.join(RECIPES)}")
    return RECIPES[name]


@_register("normal")
def normal(model: nn.Module, batch: TrainingBatch, budget: AttackBudget, generator: Generator) -> Tensor:
    """Mean cross-entropy on the images as they are."""
    return _fit(model(batch.images), batch.labels, budget)


@_register("pgd")
def pgd(model: nn.Module, batch: TrainingBatch, budget: AttackBudget, generator: Generator) -> Tensor:
    """Mean cross-entropy on PGD examples only [Madry2018]_."""
    return _fit(model(attack_images(model, batch, budget, generator)), batch.labels, budget)


@_register("half")
def half(model: nn.Module, batch: TrainingBatch, budget: AttackBudget, generator: Generator) -> Tensor:
    """Half clean, half PGD examples [Stutz2019]_."""
    n = len(batch.labels) // 2
    attacked = attack_images(model, TrainingBatch(batch.images[n:], batch.labels[n:]), budget, generator)
    return _fit(model(torch.cat([batch.images[:n], attacked])), batch.labels, budget)


@_register("fgsm")
def fgsm(model: nn.Module, batch: TrainingBatch, budget: AttackBudget, generator: Generator) -> Tensor:
    """One long step, from a random start unless told otherwise: cheap, and prone to catastrophic overfitting."""
    start = generator if budget.fgsm_random_start else None
    attacked = attack_images(model, batch, replace(budget, steps=1, reach=budget.fgsm_step), start)
    return _fit(model(attacked), batch.labels, budget)


@_register("free")
def free(model: nn.Module, batch: TrainingBatch, budget: AttackBudget, generator: Generator) -> Tensor:
    """Free adversarial training [Shafahi2019]_: one backward pass moves the weights and the perturbation.

    Notes
    -----
    A batch that is replayed moves its perturbation by ε along the sign of the last replay's gradient. Each batch starts
    from a random perturbation; the paper goes on with the last batch's.
    """
    delta = torch.zeros_like(batch.images) if batch.perturbation is None else batch.perturbation
    with torch.no_grad():
        if delta.grad is None:
            delta.copy_(random_points(Ball("Linf", budget.eps), delta.shape, generator=generator))
        else:
            delta.add_(budget.eps * delta.grad.sign()).clamp_(-budget.eps, budget.eps)
            delta.grad = None
    return _fit(model((batch.images + delta).clamp(0, 1)), batch.labels, budget)


@_register("trades")
def trades(model: nn.Module, batch: TrainingBatch, budget: AttackBudget, generator: Generator) -> Tensor:
    """Cross-entropy on clean images + β · KL(clean ‖ attacked), the attack maximising the second term [Zhang2019]_."""
    with preserved(model, evaluate=False), torch.no_grad():
        target = model(batch.images).log_softmax(dim=1)

    def divergence(logits: Tensor, labels: Tensor) -> Tensor:
        return functional.kl_div(logits.float().log_softmax(dim=1), target, log_target=True, reduction="none").sum(1)

    attacked = attack_images(model, batch, budget, generator, loss=divergence)
    clean, moved = model(torch.cat([batch.images, attacked])).chunk(2)
    gap = functional.kl_div(moved.log_softmax(dim=1), clean.log_softmax(dim=1), log_target=True, reduction="batchmean")
    return _fit(clean, batch.labels, budget) + budget.beta * gap


@_register("mart")
def mart(model: nn.Module, batch: TrainingBatch, budget: AttackBudget, generator: Generator) -> Tensor:
    """Boosted cross-entropy on PGD examples + β · KL(clean ‖ attacked), weighted by 1 − p_y(clean) [Wang2020]_.

    Notes
    -----
    The boosted cross-entropy adds −log(1 − max_{k ≠ y} p_k(x̃)) to the usual one, without label smoothing.
    """
    attacked = attack_images(model, batch, budget, generator)
    clean, moved = model(torch.cat([batch.images, attacked])).log_softmax(dim=1).chunk(2)
    own = functional.one_hot(batch.labels, clean.shape[1]).bool()
    other = moved.masked_fill(own, -torch.inf).amax(dim=1).exp()
    boosted = functional.nll_loss(moved, batch.labels) - torch.log1p(-other.clamp(max=1 - 1e-6)).mean()
    gaps = functional.kl_div(moved, clean, log_target=True, reduction="none").sum(dim=1)
    loss: Tensor = boosted + budget.beta * (gaps * (1 - clean[own].exp())).mean()
    return loss


@_register("awp")
def awp(model: nn.Module, batch: TrainingBatch, budget: AttackBudget, generator: Generator) -> Tensor:
    """Cross-entropy on PGD examples where the weights are moved uphill by γ ‖w‖ of each tensor [Wu2020]_.

    Notes
    -----
    Matrices and filters are moved, one step along their own gradient; the gradient that is descended is that at the
    moved weights. BatchNorm's statistics are gathered there too.
    """
    attacked = attack_images(model, batch, budget, generator)
    moved = {name: p for name, p in model.named_parameters() if p.dim() > 1}
    with preserved(model, evaluate=False):
        for p in moved.values():
            p.requires_grad_()
        gradients = torch.autograd.grad(_fit(model(attacked), batch.labels, budget), list(moved.values()))
    shifted = {
        name: p + gradient * (budget.gamma * p.detach().norm() / gradient.norm().clamp(min=1e-12))
        for (name, p), gradient in zip(moved.items(), gradients, strict=True)
    }
    return _fit(torch.func.functional_call(model, shifted, (attacked,)), batch.labels, budget)


@_register("on-manifold")
def on_manifold(model: nn.Module, batch: TrainingBatch, budget: AttackBudget, generator: Generator) -> Tensor:
    """Half clean, half images decoded from attacked latents z + ζ, ‖ζ‖_∞ ≤ η [Stutz2019]_.

    Raises
    ------
    InputError
        The data have no known manifold, and no learned one was given.
    """
    n = len(batch.labels) // 2
    if batch.manifold is not None:
        manifold, points = batch.manifold, Points(batch.images[n:], batch.labels[n:])
        z = manifold.encode(points).detach()
        box: Box | None = manifold.latent_bounds

        def draw(moved: Tensor) -> Tensor:
            return manifold.decode(moved, points)

    elif batch.latents is None or batch.conditions is None:
        raise InputError(
            "the recipe on-manifold needs data whose manifold is known: train on FONTS, or learn the manifold with "
            "`filterlens train manifold` and give its file with --manifold"
        )
    else:
        z, which = batch.latents[n:], batch.conditions[n:]
        box = fonts_box(z)

        def draw(moved: Tensor) -> Tensor:
            return decode(moved, which[:, 0], which[:, 1], prototypes=batch.prototypes)

    attacked = attack_latents(model, draw, z, batch.labels[n:], box=box, budget=budget, generator=generator)
    return _fit(model(torch.cat([batch.images[:n], attacked])), batch.labels, budget)


@_register("transformations")
def transformations(model: nn.Module, batch: TrainingBatch, budget: AttackBudget, generator: Generator) -> Tensor:
    """Half clean, half images under the worst of the affine transformations within η of none [Stutz2019]_."""
    n = len(batch.labels) // 2
    images = batch.images[n:]
    none = images.new_tensor(_IDENTITY).expand(len(images), -1)
    attacked = attack_latents(
        model,
        lambda t: warp(images, t),
        none,
        batch.labels[n:],
        box=fonts_box(none),
        budget=budget,
        generator=generator,
    )
    return _fit(model(torch.cat([batch.images[:n], attacked])), batch.labels, budget)


def _fit(logits: Tensor, labels: Tensor, budget: AttackBudget) -> Tensor:
    """Mean cross-entropy as it is minimised."""
    return functional.cross_entropy(logits, labels, label_smoothing=budget.label_smoothing)
