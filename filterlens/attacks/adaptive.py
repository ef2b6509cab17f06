"""Points under attack by APGD: momentum, and a step that halves where progress stalls."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from filterlens.attacks.ball import Ball, per_example
from filterlens.attacks.points import Box, Perturbed, Rule
from filterlens.errors import InputError

__all__ = ["AdaptivePerturbed", "checkpoints"]

_MOMENTUM: Final = 0.75  # α of the paper: share of the new step
_RISING: Final = 0.75  # ρ: share of an interval's steps that must raise the loss


class AdaptivePerturbed(Perturbed):
    """`Perturbed` with the step of APGD [Croce2020]_: 2 ε at first, halved example by example.

    z = Π(x_k + η · direction) and x_{k+1} = Π(x_k + 0.75 (z − x_k) + 0.25 (x_k − x_{k−1})), x₁ = z. At the checkpoints
    η of an example is halved, and it goes on from its best point, if no more than 75 % of the steps since the last
    checkpoint raised its loss, or if neither η nor the highest loss has changed since then.

    Parameters
    ----------
    centre, start, ball, rule, box
        As in `Perturbed`; the rule is `sign` or `normalised`.
    steps
        How many moves there will be: it places the checkpoints.

    References
    ----------
    [Croce2020]_, algorithm 1.
    """

    def __init__(
        self, centre: Tensor, start: Tensor | None, *, ball: Ball, steps: int, rule: Rule = "sign", box: Box | None
    ) -> None:
        if rule == "adam":
            raise InputError("the adaptive step goes along sign or normalised gradients, not adam's")
        super().__init__(centre, start, ball=ball, step=2 * ball.eps, rule=rule, box=box)
        self._checkpoints = checkpoints(steps)
        self._moves = self._last_check = 0
        self._before = self.value.clone()
        self._best, self._best_gradient = self.value.clone(), self.gradient
        self._best_losses = self._losses_before = self._best_at_check = self.losses
        self._rises = torch.zeros_like(self.losses)
        self._scale = torch.ones_like(self.losses)  # η / 2 ε
        self._halved = torch.zeros_like(self.losses, dtype=torch.bool)

    def move(self) -> None:
        """Judge the place by its loss and gradient, take one step and project; examples not `moving` stay."""
        self._record()
        if self._moves in self._checkpoints:
            self._check()
        here = self.value.clone()
        self.value.add_(self._update(self.gradient) * per_example(self._scale, here))
        self._project()
        if self._moves > 0:
            self.value.sub_(here).mul_(_MOMENTUM).add_(here).add_(here - self._before, alpha=1 - _MOMENTUM)
            self._project()
        if self.moving is not None:
            self.value = torch.where(per_example(self.moving, here), self.value, here)
        self._before = here
        self._moves += 1

    def _record(self) -> None:
        if self._moves == 0:
            better = torch.ones_like(self._halved)
            self._best_at_check = self.losses
        else:
            better = self.losses > self._best_losses
            self._rises += self.losses > self._losses_before
        self._losses_before = self.losses
        self._best_losses = torch.where(better, self.losses, self._best_losses)
        self._best = torch.where(per_example(better, self.value), self.value, self._best)
        self._best_gradient = torch.where(per_example(better, self.value), self.gradient, self._best_gradient)

    def _check(self) -> None:
        stalled = self._rises <= _RISING * (self._moves - self._last_check)
        stalled |= ~self._halved & (self._best_losses <= self._best_at_check)
        back = per_example(stalled, self.value)
        self._scale = torch.where(stalled, self._scale / 2, self._scale)
        self.value = torch.where(back, self._best, self.value)
        self.gradient = torch.where(back, self._best_gradient, self.gradient)
        self._halved, self._best_at_check, self._last_check = stalled, self._best_losses, self._moves
        self._rises = torch.zeros_like(self._rises)


def checkpoints(steps: int) -> frozenset[int]:
    """List the moves after which APGD judges its progress: 22 % of the steps, then intervals that shrink to 6 %.

    Lengths are rounded down as in the authors' code; the paper's equation rounds the places up, which leaves short
    attacks too long at one step.

    Examples
    --------
    >>> sorted(checkpoints(20))
    [4, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19]
    >>> sorted(checkpoints(100))
    [22, 41, 57, 70, 80, 87, 93, 99]
    """
    first, least, shorter = (max(steps * percent // 100, 1) for percent in (22, 6, 3))
    length, found = first, [first]
    while found[-1] + (length := max(length - shorter, least)) < steps:
        found.append(found[-1] + length)
    return frozenset(found)
