"""Curvature of the robust loss around the weights: extreme eigenvalues and trace of its Hessian [Stutz2021]_."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

__all__ = ["Curvature", "HessianProduct", "curvature"]

#: Hessian times a vector, which is given and returned as one tensor a parameter.
HessianProduct = Callable[[Sequence[Tensor]], list[Tensor]]


@dataclass(frozen=True, slots=True, eq=False)
class Curvature:
    """What Lanczos' iteration and Hutchinson's estimator found.

    Parameters
    ----------
    highest, lowest
        Largest and smallest eigenvalue.
    highest_error, lowest_error
        How far either may be from an eigenvalue: the residual's norm.
    traces
        One estimate of the trace for each random vector.
    """

    highest: float
    lowest: float
    highest_error: float
    lowest_error: float
    traces: tuple[float, ...]


def curvature(
    product: HessianProduct, parameters: Sequence[Tensor], *, iterations: int, probes: int, seed: int
) -> Curvature:
    """Find the extreme eigenvalues and the trace of a symmetric matrix of which only products are known.

    Parameters
    ----------
    product
        Matrix times vector.
    parameters
        Tensors of the shapes, type and device that vectors have.
    iterations
        Of Lanczos, one product each.
    probes
        Random vectors of ±1 for the trace, one product each.
    seed
        Random seed of the first vector and of the probes.

    Notes
    -----
    Lanczos' three-term recurrence, without orthogonalising again: three vectors are held, whatever the number of
    iterations. Rounding then repeats eigenvalues that were found, and moves none of the extreme ones. The trace's
    estimator is Hutchinson's.

    References
    ----------
    [Stutz2021]_.

    Examples
    --------
    >>> diagonal = torch.tensor([3.0, 1.0, -2.0])
    >>> found = curvature(lambda v: [diagonal * v[0]], [diagonal], iterations=3, probes=1, seed=0)
    >>> round(found.highest, 4), round(found.lowest, 4), round(found.traces[0], 4)
    (3.0, -2.0, 2.0)
    """
    generator = torch.Generator().manual_seed(seed)
    vector = [torch.randn(p.shape, generator=generator).to(p) for p in parameters]
    length = math.sqrt(_dot(vector, vector))
    vector = [part / length for part in vector]
    before = [torch.zeros_like(part) for part in vector]
    diagonal: list[float] = []
    beside: list[float] = [0.0]
    for _ in range(min(iterations, sum(p.numel() for p in parameters))):
        after = product(vector)
        diagonal.append(_dot(after, vector))
        for part, own, last in zip(after, vector, before, strict=True):
            part.sub_(own, alpha=diagonal[-1]).sub_(last, alpha=beside[-1])
        beside.append(math.sqrt(_dot(after, after)))
        if beside[-1] <= 1e-6 * max(map(abs, diagonal)):  # what is left is rounding: the space is exhausted
            break
        before, vector = vector, [part.div_(beside[-1]) for part in after]
    values, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(beside[1:-1], 1) + np.diag(beside[1:-1], -1))
    errors = abs(beside[-1] * vectors[-1])
    traces = []
    for _ in range(probes):
        signs = [(torch.randint(0, 2, p.shape, generator=generator) * 2 - 1).to(p) for p in parameters]
        traces.append(_dot(product(signs), signs))
    return Curvature(float(values[-1]), float(values[0]), float(errors[-1]), float(errors[0]), tuple(traces))


def _dot(first: Sequence[Tensor], second: Sequence[Tensor]) -> float:
    return float(sum((a * b).sum(dtype=torch.float64) for a, b in zip(first, second, strict=True)))
