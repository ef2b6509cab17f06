"""Inputs or latents under attack."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from filterlens.attacks.ball import TINY, Ball, per_example
from filterlens.errors import InputError

__all__ = ["Box", "Perturbed", "Rule"]

Rule = Literal["sign", "normalised", "adam"]
Box = tuple[float | Tensor, float | Tensor]

_ADAM = (0.9, 0.999, 1e-8)


class Perturbed:
    """Inputs or latents under attack, each in its ball and all of them in a box.

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
        self.losses = torch.zeros(len(self.value), device=self.value.device)  # (n,), left behind as the gradient is
        self.moving: Tensor | None = None  # (n,) bool; None moves all
        self._moments = [torch.zeros_like(self.value) for _ in range(2 if rule == "adam" else 0)]
        self._moves = 0
        self._project()

    def move(self) -> None:
        """Take one step and project; examples that are not `moving` stay."""
        update = self._update(self.gradient)
        if self.moving is not None:
            update = update * per_example(self.moving.to(update.dtype), update)
        self.value.add_(update)
        self._project()

    def _update(self, gradient: Tensor) -> Tensor:
        if self._rule == "sign":
            return gradient.sign().mul_(self._step)
        if self._rule == "normalised":
            length = gradient.flatten(1).norm(dim=1).clamp(min=TINY)
            return gradient * per_example(self._step / length, gradient)
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
