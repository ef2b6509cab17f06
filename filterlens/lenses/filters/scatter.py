"""Entropy of the variance of many short rows: scatter matrices, quick where float32 is exact enough, else float64."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

__all__ = ["entropy_of_variance"]

_BLOCK = 16384  # filters of one step: small enough for the cache
_BATCH = 1024  # filters of one small product
_SMALLEST_SHARE = 1e-6


def entropy_of_variance(filters: Tensor, scale: Tensor | None) -> float:
    """Entropy of the variance of the rows of an (n, K) matrix, each times its scale; scale 0 drops a row.

    Large float32 layers go through quick products first, and through float64 where those are not exact enough:
    the mean dwarfs the variance, or some direction holds next to none of it.
    """
    if filters.dtype == torch.float32 and filters.shape[0] > _BLOCK:
        p, exact_enough = _shares(*_quick_scatter(filters, scale))
        if exact_enough:
            return _entropy_of(p)
    p, _ = _shares(*_exact_scatter(filters, scale))
    return _entropy_of(p)


def _quick_scatter(filters: Tensor, scale: Tensor | None) -> tuple[Tensor, Tensor, int]:
    """Scatter matrix (K, K), mean (K,) and number of rows: float32 within a block, float64 between them."""
    k = filters.shape[1]
    second = torch.zeros(k, k, dtype=torch.float64, device=filters.device)
    first = torch.zeros(k, dtype=torch.float64, device=filters.device)
    for start in range(0, filters.shape[0], _BLOCK):
        part = filters[start : start + _BLOCK]
        if scale is not None:
            part = part * scale[start : start + _BLOCK, None]
        # A batch of small products keeps every thread busy, and two filters side by side keep its registers
        # full: half of each product is not needed, and still it is three times as quick.
        whole = part.shape[0] // _BATCH * _BATCH
        pairs = part[:whole].reshape(-1, _BATCH // 2, 2 * k)
        gram = torch.bmm(pairs.transpose(1, 2), pairs).sum(dim=0, dtype=torch.float64)
        sums = pairs.sum(dim=1).sum(dim=0, dtype=torch.float64)
        rest = part[whole:].double()
        second += gram[:k, :k] + gram[k:, k:] + rest.T @ rest
        first += sums[:k] + sums[k:] + rest.sum(dim=0)
    n = filters.shape[0] if scale is None else int(torch.count_nonzero(scale))
    mean = first / max(n, 1)
    return second - n * mean.outer(mean), mean, n


def _exact_scatter(filters: Tensor, scale: Tensor | None) -> tuple[Tensor, Tensor, int]:
    """Compute the same in float64, about the mean."""
    k = filters.shape[1]
    kept = None if scale is None else scale != 0
    n = filters.shape[0] if kept is None else int(kept.sum())
    mean = torch.zeros(k, dtype=torch.float64, device=filters.device)
    scatter = torch.zeros(k, k, dtype=torch.float64, device=filters.device)
    if not n:
        return scatter, mean, n

    def parts() -> Iterator[Tensor]:
        for start in range(0, filters.shape[0], _BLOCK):
            part = filters[start : start + _BLOCK]
            if scale is not None and kept is not None:
                chosen = kept[start : start + _BLOCK]
                # Rounded as the input is, so that equal filters stay equal.
                part = part[chosen] * scale[start : start + _BLOCK][chosen, None]
            yield part.double()

    for part in parts():
        mean += part.sum(dim=0) / n
    for part in parts():
        centred = part - mean
        scatter += centred.T @ centred
    return scatter, mean, n


def _shares(scatter: Tensor, mean: Tensor, n: int) -> tuple[Tensor, bool]:
    """Share p of the variance in each principal direction, and whether float32 products are exact enough for it.

    Variance at the level of float32's rounding is none: p is empty.
    """
    total = float(scatter.trace())
    second = total + n * float(mean @ mean)
    if n < 2 or total <= second * (4 * torch.finfo(torch.float32).eps) ** 2:
        return scatter.new_zeros(0), False
    p = torch.linalg.eigvalsh(scatter).clamp(min=0)
    p = p / p.sum()
    return p, total > 0.01 * second and float(p.min()) > _SMALLEST_SHARE


def _entropy_of(p: Tensor) -> float:
    return max(0.0, -float(torch.xlogy(p, p).sum()) / math.log(10))
