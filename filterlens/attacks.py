"""Gradient attacks: one projected-gradient loop that moves inputs, latents and weights.

`ascend` is the loop. What moves is a `Player`: `Points` are inputs or latents, each in a ball around its own centre
and in a box; `Weights` are a model's parameters, each tensor in a ball relative to its own norm. `attack` keeps the
best point of each example, `climb` returns the last iterate and scores nothing twice (the inner loop of adversarial
training), `pgd` is `attack` on a model's images that leaves the model exactly as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from filterlens.errors import InputError

__all__ = [
    "Attacked",
    "Ball",
    "Box",
    "Norm",
    "Player",
    "Points",
    "Rule",
    "Weights",
    "ascend",
    "attack",
    "climb",
    "cross_entropy",
    "pgd",
    "preserved",
    "random_points",
]

Norm = Literal["Linf", "L2"]
Rule = Literal["sign", "normalised", "adam"]
Box = tuple[float | Tensor, float | Tensor]
Forward = Callable[[Tensor], Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]

_TINY = 1e-12  # a norm that is none
_ADAM = (0.9, 0.999, 1e-8)


class Player(Protocol):
    """What a gradient loop moves."""

    def move(self) -> None:
        """Take one step along the gradient that was left behind, and project."""


def ascend(score: Callable[[bool], bool], players: Sequence[Player], *, steps: int, score_last: bool = True) -> None:
    """Score the players' place, move all of them, and so on: the loop of every attack.

    Parameters
    ----------
    score
        Called with whether gradients are wanted; leaves them with the players and keeps what it wants of the place.
        Returns True to stop.
    players
        Moved together.
    steps
        How many times they move.
    score_last
        Whether the place after the last move is scored too (without gradients).
    """
    for _ in range(steps):
        if score(True):  # noqa: FBT003 - a callback's only argument
            return
        for player in players:
            player.move()
    if score_last:
        score(False)  # noqa: FBT003


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each example in float32, shape (n,)."""
    return functional.cross_entropy(logits.float(), labels, reduction="none")


@dataclass(frozen=True, slots=True)
class Ball:
    """All x with ‖x − centre‖ ≤ eps, one ball for each example.

    Parameters
    ----------
    norm
        `Linf` or `L2`.
    eps
        Its radius, in the units of the points.

    Raises
    ------
    InputError
        The norm is neither, or the radius is negative.
    """

    norm: Norm
    eps: float

    def __post_init__(self) -> None:
        if self.norm not in {"Linf", "L2"}:
            raise InputError(f"attacks know the norms Linf and L2, not {self.norm!r}")
        if not 0 <= self.eps < float("inf"):
            raise InputError(f"the radius of a ball is a number from 0 on, not {self.eps}")

    def project_(self, points: Tensor, centre: Tensor) -> Tensor:
        """Move points, shape (n, …), to the nearest ones in the balls, in place."""
        if self.norm == "Linf":
            return points.clamp_(centre - self.eps, centre + self.eps)
        delta = points - centre
        length = _per_example(delta.flatten(1).norm(dim=1), delta)
        return points.copy_(centre + delta * (self.eps / length.clamp(min=_TINY)).clamp(max=1))

    def from_normal(self, normal: Tensor, uniform: Tensor) -> Tensor:
        """Turn N(0, 1) numbers (n, …) and uniform ones (n,) into uniform points of the L2 ball around 0."""
        dimensions = normal[0].numel() if len(normal) else 1
        length = normal.flatten(1).norm(dim=1).clamp(min=_TINY)
        return normal * _per_example(self.eps * uniform ** (1 / dimensions) / length, normal)


def random_points(
    ball: Ball,
    shape: Sequence[int],
    *,
    seed: int = 0,
    restart: int = 0,
    first: int = 0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Uniform points of a ball around 0, on the CPU.

    Parameters
    ----------
    ball
        Which ball.
    shape
        (n, …).
    seed, restart, first
        Example i of the batch is example `first` + i of the set, and gets the numbers that belong to it, to the seed
        and to the restart, whatever the batch is.
    generator
        Draw the whole batch from it instead: faster, for training.

    Returns
    -------
        float32, of the given shape.
    """
    if generator is not None:
        return _draw(ball, shape, generator)
    points = torch.empty(tuple(shape))
    for i in range(shape[0]):
        state = np.random.SeedSequence([seed, restart, first + i]).generate_state(1, np.uint64)[0]
        points[i] = _draw(ball, (1, *shape[1:]), torch.Generator().manual_seed(int(state >> np.uint64(1))))[0]
    return points


def _draw(ball: Ball, shape: Sequence[int], generator: torch.Generator) -> Tensor:
    device = generator.device
    if ball.norm == "Linf":
        return (torch.rand(tuple(shape), generator=generator, device=device) * 2 - 1) * ball.eps
    normal = torch.randn(tuple(shape), generator=generator, device=device)
    return ball.from_normal(normal, torch.rand(shape[0], generator=generator, device=device))


class Points:
    """Inputs or latents that climb, each in its ball and all of them in a box.

    Parameters
    ----------
    centre
        Shape (n, …).
    start
        Where they begin, of the same shape, or None for the centre; projected.
    ball
        Around each centre.
    step
        Length of a step in the ball's norm (`sign`: of every coordinate; `adam`: its learning rate).
    rule
        `sign` of the gradient, gradient `normalised` to L2 norm 1, or `adam`.
    box
        Lowest and highest value of a coordinate, numbers or tensors that broadcast; None for no bounds.
    """

    def __init__(
        self, centre: Tensor, start: Tensor | None, *, ball: Ball, step: float, rule: Rule = "sign", box: Box | None
    ) -> None:
        if rule not in {"sign", "normalised", "adam"}:
            raise InputError(f"attacks know the steps sign, normalised and adam, not {rule!r}")
        self._centre, self._ball, self._step, self._rule, self._box = centre.detach(), ball, step, rule, box
        self.value = self._centre.clone() if start is None else start.detach().clone()
        self.gradient = torch.zeros_like(self.value)
        self.moving: Tensor | None = None  # (n,) bool; None moves all
        self._moments = [torch.zeros_like(self.value) for _ in range(2 if rule == "adam" else 0)]
        self._moves = 0
        self._project()

    def move(self) -> None:
        """Take one step and project; examples that are not `moving` stay."""
        update = self._update(self.gradient)
        if self.moving is not None:
            update = update * _per_example(self.moving.to(update.dtype), update)
        self.value.add_(update)
        self._project()

    def _update(self, gradient: Tensor) -> Tensor:
        if self._rule == "sign":
            return gradient.sign().mul_(self._step)
        if self._rule == "normalised":
            length = gradient.flatten(1).norm(dim=1).clamp(min=_TINY)
            return gradient * _per_example(self._step / length, gradient)
        beta1, beta2, small = _ADAM
        self._moves += 1
        mean, square = self._moments
        mean.lerp_(gradient, 1 - beta1)
        square.lerp_(gradient.square(), 1 - beta2)
        unbiased = mean / (1 - beta1**self._moves)
        return unbiased.div_((square / (1 - beta2**self._moves)).sqrt_().add_(small)).mul_(self._step)

    def _project(self) -> None:
        self._ball.project_(self.value, self._centre)
        if self._box is not None:
            low, high = self._box  # the centre lies in the box, so that this leads further into the ball
            self.value.clamp_(min=low).clamp_(max=high)


class Weights:
    """Parameters that climb, each tensor w in ‖ν‖₂ ≤ radius · ‖w‖₂; use as a context manager, which puts w back.

    Parameters
    ----------
    parameters
        The tensors, changed in place; their `grad` is used and put back too.
    radius
        ξ, relative to each tensor's own norm.
    step
        Length of a step, relative as well.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], *, radius: float, step: float = 0.0) -> None:
        self.parameters = tuple(parameters)
        self._radius, self._step = radius, step
        self._origins: list[Tensor] = []
        self._norms: list[Tensor] = []
        self._before: list[tuple[Tensor | None, bool]] = []

    def __enter__(self) -> Self:
        self._before = [(p.grad, p.requires_grad) for p in self.parameters]
        self._origins = [p.detach().clone() for p in self.parameters]
        self._norms = [w.norm() for w in self._origins]
        self._clear()
        return self

    def __exit__(self, *_: object) -> None:
        for p, w, (gradient, flag) in zip(self.parameters, self._origins, self._before, strict=True):
            p.data.copy_(w)  # through .data, so that a graph that was built before stays valid
            p.grad = gradient
            p.requires_grad_(flag)
        self._origins, self._norms = [], []

    def track(self) -> None:
        """Let backward passes gather gradients; without it no pass computes any."""
        for p in self.parameters:
            p.requires_grad_()

    def freeze(self) -> None:
        """End what `track` began."""
        self._clear()
        for p in self.parameters:
            p.requires_grad_(False)  # noqa: FBT003 - torch's own signature

    def scatter(self, generator: torch.Generator, *, on_sphere: bool) -> None:
        """Put each tensor at w + ν, ν uniform in direction, with norm radius · ‖w‖₂ or uniform below it."""
        self._clear()
        for p, w, norm in zip(self.parameters, self._origins, self._norms, strict=True):
            direction = torch.randn(w.shape, generator=generator).to(w)
            share = 1.0 if on_sphere else torch.rand((), generator=generator).item()
            length = direction.norm().clamp(min=_TINY)
            torch.add(w, direction.mul_(share * self._radius * norm / length), out=p.data)

    def reset(self) -> None:
        """Put each tensor back to w and forget its gradient."""
        self._clear()
        for p, w in zip(self.parameters, self._origins, strict=True):
            p.data.copy_(w)

    def shift(self, directions: Sequence[Tensor], scale: float) -> None:
        """Put each tensor at w + scale · ν̂."""
        for p, w, direction in zip(self.parameters, self._origins, directions, strict=True):
            torch.add(w, direction, alpha=scale, out=p.data)

    def directions(self, length: float) -> list[Tensor]:
        """Where the tensors now lie as seen from w, each scaled to ‖ν̂‖₂ = length · ‖w‖₂ (0 where it lies on w)."""
        found = []
        for p, w, norm in zip(self.parameters, self._origins, self._norms, strict=True):
            nu = p.detach() - w
            found.append(nu.mul_(length * norm / nu.norm().clamp(min=_TINY)))
        return found

    def move(self) -> None:
        """Take one step along each tensor's own gradient, scaled to its norm; project; forget the gradient."""
        for p, w, norm in zip(self.parameters, self._origins, self._norms, strict=True):
            if p.grad is None:
                continue
            nu = p.data.sub_(w)
            nu.addcmul_(p.grad, self._step * norm / p.grad.norm().clamp(min=_TINY))
            torch.addcmul(w, nu, (self._radius * norm / nu.norm().clamp(min=_TINY)).clamp(max=1), out=p.data)
            p.grad = None

    def _clear(self) -> None:
        for p in self.parameters:
            p.grad = None


@contextmanager
def preserved(*modules: nn.Module, evaluate: bool = True) -> Iterator[None]:
    """Leave models exactly as they were when the block ends, in whatever way it ends.

    Within the block gradients are enabled, no parameter asks for one (backward passes reach inputs only), and the
    models are in evaluation mode. Afterwards train/eval mode of every module, buffers, `requires_grad` and `grad` of
    every parameter are as before. Parameters' values are not looked after: `Weights` puts back what it changes.

    Parameters
    ----------
    modules
        The models.
    evaluate
        False keeps the mode they are in.
    """
    parts = list(dict.fromkeys(part for module in modules for part in module.modules()))
    modes = [part.training for part in parts]
    parameters = list(dict.fromkeys(p for part in parts for p in part.parameters(recurse=False)))
    before = [(p.requires_grad, p.grad) for p in parameters]
    buffers = [(part, name, b) for part in parts for name, b in part.named_buffers(recurse=False)]
    values = [b.detach().clone() for _, _, b in buffers]
    try:
        for part in parts:
            part.training = part.training and not evaluate
        for p in parameters:
            p.requires_grad_(False)  # noqa: FBT003 - torch's own signature
        with torch.inference_mode(mode=False), torch.enable_grad():
            yield
    finally:
        for part, mode in zip(parts, modes, strict=True):
            part.training = mode
        for p, (flag, gradient) in zip(parameters, before, strict=True):
            p.requires_grad_(flag)
            p.grad = gradient
        for (part, name, buffer), value in zip(buffers, values, strict=True):
            buffer.data.copy_(value)  # through .data, so that a graph that was built before stays valid
            setattr(part, name, buffer)


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
    fooled
        Whether the prediction there is not the label, shape (n,).
    """

    points: Tensor
    losses: Tensor
    logits: Tensor
    fooled: Tensor


def attack(
    forward: Forward,
    centre: Tensor,
    labels: Tensor,
    *,
    ball: Ball,
    step: float,
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
        As in `Points`.
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
        Of n examples: `steps` + 1 forward and `steps` backward passes a restart found it.
    """
    keeper = _Keeper(centre, labels, stop_at_success=stop_at_success)
    for restart in range(restarts):
        start = None
        if random_start:
            noise = random_points(ball, centre.shape, seed=seed, restart=restart, first=first)
            start = centre + noise.to(centre)
        points = Points(centre, start, ball=ball, step=step, rule=rule, box=box)

        def score(with_gradient: bool, points: Points = points) -> bool:  # noqa: FBT001 - as `ascend` calls it
            losses, logits = _evaluate(forward, points, labels, loss, with_gradient=with_gradient)
            return keeper.keep(points, losses, logits)

        points.moving = keeper.left
        ascend(score, [points], steps=steps)
        if keeper.done:
            break
    return keeper.found()


def climb(
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
        Of the random start; None begins at the centre.

    Returns
    -------
        Points of the balls, detached, shape as `centre`.
    """
    start = None if generator is None else centre + random_points(ball, centre.shape, generator=generator).to(centre)
    points = Points(centre, start, ball=ball, step=step, rule=rule, box=box)

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
    rule: Rule = "sign" if norm == "Linf" else "normalised"
    with preserved(model):
        return attack(
            model, images, labels, ball=Ball(norm, eps), step=step, steps=steps, rule=rule, restarts=restarts,
            seed=seed, first=first, loss=loss,
        )  # fmt: skip


def _evaluate(
    forward: Forward, points: Points, labels: Tensor, loss: Loss, *, with_gradient: bool
) -> tuple[Tensor, Tensor]:
    """Losses (n,) and logits (n, classes) at the points; the gradient is left with them."""
    with torch.set_grad_enabled(with_gradient):
        value = points.value.detach().requires_grad_(with_gradient)
        logits = forward(value)
        losses = loss(logits, labels)
    if with_gradient:
        (points.gradient,) = torch.autograd.grad(losses.sum(), value)
    return losses.detach(), logits.detach()


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

    def keep(self, points: Points, losses: Tensor, logits: Tensor) -> bool:
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
        self._points = torch.where(_per_example(better, self._points), points.value, self._points)
        points.moving = self.left
        return self.done

    def found(self) -> Attacked:
        if self._logits is None:
            raise InputError("an attack needs at least one restart")
        return Attacked(self._points, self._losses, self._logits, self._logits.argmax(dim=1) != self._labels)


def _per_example(values: Tensor, like: Tensor) -> Tensor:
    """Reshape (n,) so that it broadcasts over (n, …)."""
    return values.view(-1, *[1] * (like.dim() - 1))
