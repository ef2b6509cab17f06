"""Curvature of the robust loss: products with its Hessian over all images, for `curvature` [Stutz2021]_."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from filterlens.attacks import Weights, attack, cross_entropy
from filterlens.attacks.evaluation import Running, Threat
from filterlens.dumps import WritableGroup
from filterlens.lenses.flatness.curvature import curvature
from filterlens.lenses.flatness.options import FlatnessOptions

__all__ = ["measure_curvature"]


def measure_curvature(
    runner: Running,
    parameters: list[nn.Parameter],
    threat: Threat,
    options: FlatnessOptions,
    *,
    seed: int,
    group: WritableGroup,
) -> None:
    """Measure the Hessian of the mean loss on the adversarial examples of the reference, which stay as they are.

    The group is filled with `hessian_extremes`, `hessian_errors` and `hessian_traces`.
    """
    precise, runner.bf16 = not runner.bf16, False
    try:
        with Weights(parameters, radius=0.0) as weights:
            attacked = [
                attack(
                    runner, batch.pixels, batch.labels, ball=threat.ball, step=threat.step, steps=options.steps,
                    rule=threat.rule, seed=seed, first=batch.rows.start,
                ).points
                for batch in runner.batches()
            ]  # fmt: skip
            weights.track()

            def product(vector: Sequence[Tensor]) -> list[Tensor]:
                total = [torch.zeros_like(p) for p in parameters]
                for batch, points in zip(runner.batches(), attacked, strict=True):
                    loss = cross_entropy(runner(points), batch.labels).sum() / len(runner.images)
                    gradients = torch.autograd.grad(loss, parameters, create_graph=True, allow_unused=True)
                    along = [(g * v).sum() for g, v in zip(gradients, vector, strict=True) if g is not None]
                    parts = torch.autograd.grad(torch.stack(along).sum(), parameters, allow_unused=True)
                    for whole, part in zip(total, parts, strict=True):
                        if part is not None:
                            whole.add_(part)
                return total

            found = curvature(product, parameters, iterations=options.curvature, probes=options.curvature, seed=seed)
    finally:
        runner.bf16 = not precise
    group.write("hessian_extremes", np.array([found.highest, found.lowest]))
    group.write("hessian_errors", np.array([found.highest_error, found.lowest_error]))
    group.write("hessian_traces", np.array(found.traces))
