"""Parameters under attack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from filterlens.attacks.ball import TINY

__all__ = ["Weights"]


class Weights:
    """Parameters under attack, each tensor w in ‖ν‖₂ ≤ radius · ‖w‖₂; use as a context manager, which puts w back.

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

    def random_start(self, generator: torch.Generator, *, on_sphere: bool) -> None:
        """Put each tensor at w + ν, ν uniform in direction, with norm radius · ‖w‖₂ or uniform below it."""
        self._clear()
        for p, w, norm in zip(self.parameters, self._origins, self._norms, strict=True):
            direction = torch.randn(w.shape, generator=generator).to(w)
            share = 1.0 if on_sphere else torch.rand((), generator=generator).item()
            length = direction.norm().clamp(min=TINY)
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
            found.append(nu.mul_(length * norm / nu.norm().clamp(min=TINY)))
        return found

    def move(self) -> None:
        """Take one step along each tensor's own gradient, scaled to its norm; project; forget the gradient."""
        for p, w, norm in zip(self.parameters, self._origins, self._norms, strict=True):
            if p.grad is None:
                continue
            nu = p.data.sub_(w)
            nu.addcmul_(p.grad, self._step * norm / p.grad.norm().clamp(min=TINY))
            torch.addcmul(w, nu, (self._radius * norm / nu.norm().clamp(min=TINY)).clamp(max=1), out=p.data)
            p.grad = None

    def _clear(self) -> None:
        for p in self.parameters:
            p.grad = None
