"""Sums over the Gram matrix of a layer's output channels: the costly part of the filter scores.

Only blocks on and above the diagonal are multiplied, always by the plain product: nothing that a run can differ in but
the number of threads may decide in which order numbers are added.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["mean_absolute_cosine"]

_BLOCK = 128  # rows of one block: small, as a diagonal block is computed whole
_ALIGNED = 16  # bytes: NumPy and torch allocate so, a view need not, and a product's last digits depend on it


def mean_absolute_cosine(rows: Tensor) -> float:
    """Mean |⟨ŵ_i, ŵ_j⟩| over i ≠ j of the rows of a finite (c_out, d) matrix with at least two rows.

    Rows of zeros stay zero. Float32 rows give the float64 result to 1e-6, float64 rows to rounding. The same rows give
    the same bits on the same machine with the same number of threads.
    """
    n = rows.shape[0]
    largest = torch.maximum(rows.amax(dim=1), -rows.amin(dim=1))
    nonzero = largest[largest > 0]
    if nonzero.numel() and not (nonzero.min() > 1e-15 and nonzero.max() < 1e15):
        # Squares would leave float32's range.
        rows = rows.double() / torch.where(largest > 0, largest, 1)[:, None].double()
    if rows.data_ptr() % _ALIGNED:
        rows = rows.clone()
    norms = torch.linalg.vector_norm(rows, dim=1)
    scale = torch.where(norms == 0, 0, 1 / norms)
    total = 0.0
    for start in range(0, n, _BLOCK):
        block = rows[start : start + _BLOCK]
        width = block.shape[0]
        cosines = (rows[start:] @ block.T).abs_().mul_(scale[start:, None]).mul_(scale[start : start + width])
        cosines[:width].fill_diagonal_(0)
        total += float(cosines[:width].sum(dtype=torch.float64)) + 2 * float(cosines[width:].sum(dtype=torch.float64))
    return total / (n * (n - 1))
