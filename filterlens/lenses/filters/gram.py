"""Sums over the Gram matrix of a layer's output channels: the costly part of the filter scores, made quick.

Only blocks on and above the diagonal are multiplied. Three ways to multiply two blocks are tried once a process on
a small product, and the quickest serves: the plain product; a 1x1 convolution, which oneDNN runs at twice the speed
of MKL on processors not made by Intel; and bfloat16, where the processor multiplies it natively. bfloat16 keeps
eight bits, so its result is held against float32 on a sample of rows, and thrown away where the two could differ
by more than `_TOLERANCE` in the score.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

__all__ = ["Product", "bfloat16_product", "convolution_product", "float32_product", "mean_absolute_cosine", "products"]

Product = Callable[[Tensor, Tensor], Tensor]

_BLOCK = 128  # rows of one block: small, as a diagonal block is computed whole
_LARGE = 256  # rows from which another way than the plain product can pay
_LARGE_BFLOAT16 = 512  # rows from which rounding errors average out far below the tolerance
_ROUNDS = 20  # of the trial, some milliseconds each
_SAMPLE = 48  # rows that check a bfloat16 result
_TOLERANCE = 1e-6


def float32_product(a: Tensor, b: Tensor) -> Tensor:
    """Return a bᵀ, shape (p, q), of a (p, d) and b (q, d)."""
    return a @ b.T


def convolution_product(a: Tensor, b: Tensor) -> Tensor:
    """Return a bᵀ as a 1x1 convolution over p pixels of d channels, which lie as `channels_last` wants them."""
    pixels = a.view(1, 1, *a.shape).permute(0, 3, 1, 2)  # (1, d, 1, p)
    return torch.nn.functional.conv2d(pixels, b.view(*b.shape, 1, 1))[0, :, 0, :].T


def bfloat16_product(a: Tensor, b: Tensor) -> Tensor:
    """Return a bᵀ of bfloat16 blocks, itself rounded to bfloat16, as float32."""
    return (a @ b.T).float()


def mean_absolute_cosine(rows: Tensor) -> float:
    """Mean |⟨ŵ_i, ŵ_j⟩| over i ≠ j of the rows of a finite (c_out, d) matrix with at least two rows.

    Rows of zeros stay zero. Float32 rows give the float64 result to 1e-6, float64 rows to rounding.
    """
    n = rows.shape[0]
    largest = torch.maximum(rows.amax(dim=1), -rows.amin(dim=1))
    nonzero = largest[largest > 0]
    if nonzero.numel() and not (nonzero.min() > 1e-15 and nonzero.max() < 1e15):
        # Squares would leave float32's range.
        rows = rows.double() / torch.where(largest > 0, largest, 1)[:, None].double()
    plain: Product = float32_product
    quick = False
    if rows.dtype == torch.float32 and rows.device.type == "cpu" and n >= _LARGE:
        plain, quick = products()
    if quick and n >= _LARGE_BFLOAT16:
        found = _bfloat16_mean(rows, plain)
        if found is not None:
            return found
    return _absolute_sum(rows, _inverse_norms(rows), plain) / (n * (n - 1))


@cache
def products() -> tuple[Product, bool]:
    """Try the ways to multiply: the quickest in float32, and whether bfloat16 is much quicker still."""
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(1024, 1152, generator=generator)
    ways: list[tuple[Product, Tensor]] = [
        (float32_product, a),
        (convolution_product, a),
        (bfloat16_product, a.bfloat16()),
    ]
    seconds = [math.inf] * len(ways)
    for _ in range(_ROUNDS):
        # In turns, and by this thread's own clock: other work on the machine must not decide.
        for i, (product, rows) in enumerate(ways):
            start = time.thread_time()
            product(rows, rows[:_BLOCK])
            seconds[i] = min(seconds[i], time.thread_time() - start)
    plain, convolution, rounded = seconds
    best = convolution_product if convolution < plain / 1.2 else float32_product
    return best, rounded < min(plain, convolution) / 1.5


def _absolute_sum(rows: Tensor, scale: Tensor, product: Product) -> float:
    """Σ_{i≠j} |⟨ŵ_i, ŵ_j⟩|, from blocks on and above the diagonal; `scale` holds 1 / ‖w_i‖."""
    total = 0.0
    for start in range(0, rows.shape[0], _BLOCK):
        block = rows[start : start + _BLOCK]
        width = block.shape[0]
        cosines = _cosines(rows[start:], block, product, scale[start:], scale[start : start + width])
        cosines[:width].fill_diagonal_(0)
        total += float(cosines[:width].sum(dtype=torch.float64)) + 2 * float(cosines[width:].sum(dtype=torch.float64))
    return total


def _cosines(a: Tensor, b: Tensor, product: Product, scale_a: Tensor, scale_b: Tensor) -> Tensor:
    """|⟨â_i, b̂_j⟩|, shape (p, q)."""
    return product(a, b).abs_().mul_(scale_a[:, None]).mul_(scale_b)


def _inverse_norms(rows: Tensor) -> Tensor:
    """1 / ‖w_i‖ of each row, 0 for a row of zeros."""
    norms = torch.linalg.vector_norm(rows, dim=1)
    return torch.where(norms == 0, 0, 1 / norms)


def _bfloat16_mean(rows: Tensor, exact: Product) -> float | None:
    """Mean absolute cosine by bfloat16, or None where a sample of rows says that it may be off.

    The error is estimated on evenly spread rows: the mean difference from float32 plus two standard errors must
    stay below the tolerance.
    """
    n = rows.shape[0]
    rounded = rows.bfloat16()
    chosen = torch.linspace(0, n - 1, _SAMPLE).long()
    scale = _inverse_norms(rows)
    difference = _sampled(rounded, scale, chosen, bfloat16_product) - _sampled(rows, scale, chosen, exact)
    off = difference.double().sum(dim=0) / (n - 1)  # (sample,)
    if abs(float(off.mean())) + 2 * float(off.std()) / math.sqrt(_SAMPLE) > _TOLERANCE:
        return None
    return _absolute_sum(rounded, scale, bfloat16_product) / (n * (n - 1))


def _sampled(rows: Tensor, scale: Tensor, chosen: Tensor, product: Product) -> Tensor:
    """|⟨ŵ_i, ŵ_j⟩| of all rows with the chosen ones, 0 where they are the same; shape (n, sample)."""
    cosines = _cosines(rows, rows[chosen], product, scale, scale[chosen])
    cosines[chosen, torch.arange(chosen.shape[0])] = 0
    return cosines
