"""Two-dimensional landscapes: robust loss over a plane of weight space [Li2018]_, [Stutz2021]_."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from filterlens.attacks import Weights
from filterlens.attacks.joint import ExampleLosses, generator_of
from filterlens.dumps import WritableGroup
from filterlens.lenses.flatness.options import FlatnessOptions
from filterlens.lenses.flatness.radii import AVERAGE_RADIUS

__all__ = ["filter_normalised", "measure_plane", "plane_positions"]


def plane_positions(n: int) -> tuple[float, ...]:
    """Places along each axis of a plane, s ∈ [−1, 1]; with 0 where n is odd.

    Examples
    --------
    >>> plane_positions(3)
    (-1.0, 0.0, 1.0)
    """
    return tuple(float(s) for s in np.linspace(-1, 1, n))


def filter_normalised(directions: Sequence[Tensor], weights: Sequence[Tensor], length: float) -> list[Tensor]:
    """Scale every filter of a direction to `length` times the norm of the weights' own filter [Li2018]_.

    A filter is a row of a tensor: what makes one output channel. A vector (a bias) is one filter.

    Examples
    --------
    >>> filter_normalised([torch.ones(2, 2)], [torch.tensor([[3.0, 4.0], [0.0, 0.0]])], 1.0)[0].norm(dim=1).tolist()
    [5.0, 0.0]
    """
    scaled = []
    for direction, weight in zip(directions, weights, strict=True):
        rows = direction.reshape(len(direction), -1) if direction.dim() > 1 else direction.reshape(1, -1)
        own = weight.reshape(rows.shape).norm(dim=1, keepdim=True)
        tiny = torch.finfo(rows.dtype).tiny
        scaled.append((rows * (length * own / rows.norm(dim=1, keepdim=True).clamp(min=tiny))).reshape(weight.shape))
    return scaled


def measure_plane(
    parameters: Sequence[nn.Parameter],
    options: FlatnessOptions,
    group: WritableGroup,
    *,
    seed: int,
    measure: Callable[[], ExampleLosses],
) -> None:
    """Measure the robust loss at w + s a + t b for a square of positions, images attacked anew at each.

    The directions a and b are random, and scaled as the options say. The group is filled with `plane_positions` (p,)
    and `plane_loss` (p, p, n): a along the first axis, b along the second.
    """
    places = plane_positions(options.plane)
    rows = []
    with Weights(parameters, radius=AVERAGE_RADIUS) as weights:
        origins = [p.detach().clone() for p in parameters]
        axes = []
        for axis in range(2):
            weights.random_start(generator_of(seed, 4, axis), on_sphere=True)
            direction = weights.directions(AVERAGE_RADIUS)
            if options.plane_directions == "filters":
                direction = filter_normalised(direction, origins, AVERAGE_RADIUS)
            axes.append(direction)
        for s in places:
            row = []
            for t in places:
                weights.shift([s * a + t * b for a, b in zip(*axes, strict=True)], 1.0)
                row.append(measure().losses)
            rows.append(np.stack(row))
    group.write("plane_positions", np.array(places, dtype=np.float32))
    group.write("plane_loss", np.stack(rows), compression="gzip")
    group.set_attributes(plane_directions=options.plane_directions)
