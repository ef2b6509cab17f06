"""Balls around each example, in L∞ and L2, and points in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from filterlens.errors import InputError

__all__ = ["TINY", "Ball", "Norm", "per_example", "random_points"]

Norm = Literal["Linf", "L2"]

TINY = 1e-12  # a norm that is none


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
        length = per_example(delta.flatten(1).norm(dim=1), delta)
        return points.copy_(centre + delta * (self.eps / length.clamp(min=TINY)).clamp(max=1))

    def from_normal(self, normal: Tensor, uniform: Tensor) -> Tensor:
        """Turn N(0, 1) numbers (n, …) and uniform ones (n,) into uniform points of the L2 ball around 0."""
        dimensions = normal[0].numel() if len(normal) else 1
        length = normal.flatten(1).norm(dim=1).clamp(min=TINY)
        return normal * per_example(self.eps * uniform ** (1 / dimensions) / length, normal)


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


def per_example(values: Tensor, like: Tensor) -> Tensor:
    """Reshape (n,) so that it broadcasts over (n, …)."""
    return values.view(-1, *[1] * (like.dim() - 1))


def _draw(ball: Ball, shape: Sequence[int], generator: torch.Generator) -> Tensor:
    device = generator.device
    if ball.norm == "Linf":
        return (torch.rand(tuple(shape), generator=generator, device=device) * 2 - 1) * ball.eps
    normal = torch.randn(tuple(shape), generator=generator, device=device)
    return ball.from_normal(normal, torch.rand(shape[0], generator=generator, device=device))
