"""Projected-gradient attacks on functions and models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from filterlens.attacks.adaptive import AdaptivePerturbed
from filterlens.attacks.ball import Ball, Norm, per_example, random_points
from filterlens.attacks.loop import ascend
from filterlens.attacks.points import Box, Perturbed, Rule
from filterlens.attacks.preserve import preserved
from filterlens.errors import InputError

__all__ = ["Attacked", "Forward", "Loss", "apgd", "attack", "cross_entropy", "last_iterate", "pgd"]

Forward = Callable[[Tensor], Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each example in float32, shape (n,)."""
    return functional.cross_entropy(logits.float(), labels, reduction="none")


@dataclass(frozen=True, slots=True, eq=False)
class Attacked:
    """The best point found for each example.

    Parameters
    ----------
    points
        Shape (n, …), as the centres.
    losses
        The loss there, float32, shape (n,).
    logits
        float32, shape (n, classes).
    success
        Whether the prediction there is not the label, shape (n,).
    """

    points: Tensor
    losses: Tensor
    logits: Tensor
    success: Tensor


def attack(
    forward: Forward,
    centre: Tensor,
    labels: Tensor,
    *,
    ball: Ball,
    step: float | None,
    steps: int,
    rule: Rule = "sign",
    box: Box | None = (0.0, 1.0),
    restarts: int = 1,
    seed: int = 0,
    first: int = 0,
    random_start: bool = True,
    loss: Loss = cross_entropy,
    stop_at_success: bool = False,
) -> Attacked:
    """Find for each example the point of its ball with the highest loss, over all iterates of all restarts.

    Parameters
    ----------
    forward
        Points, shape (n, …), to logits, shape (n, classes). Models in it are best held in `preserved`.
    centre
        Images, or latents: `forward` may decode first.
    labels
        Shape (n,).
    ball, step, steps, rule, box
        As in `Perturbed`. A step of None adapts, see `AdaptivePerturbed`.
    restarts
        How often to begin anew; each with random starts of its own.
    seed, first
        As in `random_points`.
    random_start
        False begins at the centre.
    loss
        Logits and labels to a loss for each example, shape (n,).
    stop_at_success
        Leave an example alone, in later restarts too, once its prediction is not its label; its point is then the
        first such one. Ends early when none is left.

    Returns
    -------
        Result for n examples: `steps` + 1 forward and `steps` backward passes a restart.
    """
    keeper = _Keeper(centre, labels, stop_at_success=stop_at_success)
    for restart in range(restarts):
        start = None
        if random_start:
            noise = random_points(ball, centre.shape, seed=seed, restart=restart, first=first)
            start = centre + noise.to(centre)
        points = (
            AdaptivePerturbed(centre, start, ball=ball, steps=steps, rule=rule, box=box)
            if step is None
            else Perturbed(centre, start, ball=ball, step=step, rule=rule, box=box)
        )

        def score(with_gradient: bool, points: Perturbed = points) -> bool:  # noqa: FBT001 - as `ascend` calls it
            losses, logits = _evaluate(forward, points, labels, loss, with_gradient=with_gradient)
            return keeper.keep(points, losses, logits)

        points.moving = keeper.left
        ascend(score, [points], steps=steps)
        if keeper.done:
            break
    return keeper.found()


def last_iterate(
    forward: Forward,
    centre: Tensor,
    labels: Tensor,
    *,
    ball: Ball,
    step: float,
    steps: int,
    rule: Rule = "sign",
    box: Box | None = (0.0, 1.0),
    generator: torch.Generator | None = None,
    loss: Loss = cross_entropy,
) -> Tensor:
    """Return the last iterate of a projected-gradient ascent: one forward and one backward pass a step, no more.

    Parameters
    ----------
    forward, centre, labels, ball, step, steps, rule, box, loss
        As in `attack`.
    generator
        Random generator of the start; None begins at the centre.

    Returns
    -------
        Points of the balls, detached, shape as `centre`.
    """
    start = None if generator is None else centre + random_points(ball, centre.shape, generator=generator).to(centre)
    points = Perturbed(centre, start, ball=ball, step=step, rule=rule, box=box)

    def score(with_gradient: bool) -> bool:  # noqa: FBT001 - as `ascend` calls it
        _evaluate(forward, points, labels, loss, with_gradient=with_gradient)
        return False

    ascend(score, [points], steps=steps, score_last=False)
    return points.value


def pgd(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    eps: float,
    step: float,
    steps: int = 20,
    norm: Norm = "Linf",
    restarts: int = 1,
    seed: int = 0,
    first: int = 0,
    loss: Loss = cross_entropy,
) -> Attacked:
    """Projected gradient descent [Madry2018]_ on images in [0, 1]: per example, the highest loss met.

    Parameters
    ----------
    model
        Takes images in [0, 1]; attacked in evaluation mode and left exactly as it was.
    images
        Shape (n, channels, height, width), in [0, 1].
    labels
        Shape (n,).
    eps, norm
        The ball. In `L2` steps go along the normalised gradient.
    step, steps, restarts, seed, first, loss
        As in `attack`.

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    >>> images, labels = torch.full((3, 1, 2, 2), 0.5), torch.zeros(3, dtype=torch.long)
    >>> found = pgd(model, images, labels, eps=0.1, step=0.025)
    >>> round((found.points - images).abs().max().item(), 4)
    0.1
    """
    return _on_images(
        model, images, labels, ball=Ball(norm, eps), step=step, steps=steps, restarts=restarts, seed=seed, first=first,
        loss=loss,
    )  # fmt: skip


def apgd(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    eps: float,
    steps: int = 20,
    norm: Norm = "Linf",
    restarts: int = 1,
    seed: int = 0,
    first: int = 0,
    loss: Loss = cross_entropy,
) -> Attacked:
    """Attack as `pgd` does, with APGD's momentum and adaptive step instead of a constant one [Croce2020]_.

    Parameters
    ----------
    model, images, labels, eps, norm, steps, restarts, seed, first, loss
        As in `pgd`.

    Notes
    -----
    Random starts are uniform in the ball, as `pgd`'s; the paper's lie on its surface. Of all iterates the one of the
    highest loss is kept; AutoAttack keeps any that is misclassified.

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    >>> images, labels = torch.full((3, 1, 2, 2), 0.5), torch.zeros(3, dtype=torch.long)
    >>> round((apgd(model, images, labels, eps=0.1).points - images).abs().max().item(), 4)
    0.1
    """
    return _on_images(
        model, images, labels, ball=Ball(norm, eps), step=None, steps=steps, restarts=restarts, seed=seed, first=first,
        loss=loss,
    )  # fmt: skip


def _on_images(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    ball: Ball,
    step: float | None,
    steps: int,
    restarts: int,
    seed: int,
    first: int,
    loss: Loss,
) -> Attacked:
    rule: Rule = "sign" if ball.norm == "Linf" else "normalised"
    with preserved(model):
        return attack(
            model, images, labels, ball=ball, step=step, steps=steps, rule=rule, restarts=restarts, seed=seed,
            first=first, loss=loss,
        )  # fmt: skip


def _evaluate(
    forward: Forward, points: Perturbed, labels: Tensor, loss: Loss, *, with_gradient: bool
) -> tuple[Tensor, Tensor]:
    """Losses (n,) and logits (n, classes) at the points; losses and gradient are left with them."""
    with torch.set_grad_enabled(with_gradient):
        value = points.value.detach().requires_grad_(with_gradient)
        logits = forward(value)
        losses = loss(logits, labels)
    if with_gradient:
        (points.gradient,) = torch.autograd.grad(losses.sum(), value)
    points.losses = losses.detach()
    return points.losses, logits.detach()


class _Keeper:
    """Keeps each example's best point: the highest loss, or the first success."""

    def __init__(self, centre: Tensor, labels: Tensor, *, stop_at_success: bool) -> None:
        self._labels, self._stop = labels, stop_at_success
        self._points = centre.detach().clone()
        self._losses = torch.full((len(labels),), torch.nan, device=centre.device)
        self._logits: Tensor | None = None
        self.left = torch.ones(len(labels), dtype=torch.bool, device=centre.device) if stop_at_success else None

    @property
    def done(self) -> bool:
        return self.left is not None and not bool(self.left.any())

    def keep(self, points: Perturbed, losses: Tensor, logits: Tensor) -> bool:
        losses, logits = losses.float(), logits.float()
        if self._logits is None:
            self._logits = torch.full_like(logits, torch.nan)
        better = (losses > self._losses) | self._losses.isnan()  # NaN is kept only where nothing else was met
        if self.left is not None:
            success = self.left & (logits.argmax(dim=1) != self._labels)
            better = (better & self.left) | success
            self.left &= ~success
        self._losses = torch.where(better, losses, self._losses)
        self._logits = torch.where(better.unsqueeze(1), logits, self._logits)
        self._points = torch.where(per_example(better, self._points), points.value, self._points)
        points.moving = self.left
        return self.done

    def found(self) -> Attacked:
        if self._logits is None:
            raise InputError("an attack needs at least one restart")
        return Attacked(self._points, self._losses, self._logits, self._logits.argmax(dim=1) != self._labels)
