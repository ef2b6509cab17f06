"""Sums over the Gram matrix of a layer's output channels: the costly part of the filter scores.

Only blocks on and above the diagonal are multiplied, always by the plain product: nothing that a run can differ in but
the number of threads may decide in which order numbers are added.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["mean_absolute_cosine", "mean_absolute_cosines"]

_BLOCK = 128  # rows of one block: small, as a diagonal block is computed whole
_ALIGNED = 16  # bytes: NumPy and torch allocate so, a view need not, and a product's last digits depend on it


def mean_absolute_cosine(rows: Tensor) -> float:
    """Mean |⟨ŵ_i, ŵ_j⟩| over i ≠ j of the rows of a finite (c_out, d) matrix with at least two rows.

    Rows of zeros stay zero. Float32 rows give the float64 result to 1e-6, float64 rows to rounding. The same rows give
    the same bits on the same machine with the same number of threads.
    """
    return mean_absolute_cosines(rows[None])[0]


def mean_absolute_cosines(rows: Tensor) -> list[float]:
    """Return `mean_absolute_cosine` of each of m matrices of one shape, (m, c_out, d): each as it would be alone."""
    largest = torch.maximum(rows.amax(dim=2), -rows.amin(dim=2))
    # beyond, squares would leave float32's range
    is_plain = ((largest == 0) | ((largest > 1e-15) & (largest < 1e15))).all(dim=1)
    if bool(is_plain.all()):
        return _means(rows)
    scaled = rows.double() / torch.where(largest > 0, largest, 1)[:, :, None].double()
    return [_means((rows if plain else scaled)[i : i + 1])[0] for i, plain in enumerate(is_plain.tolist())]


def _means(rows: Tensor) -> list[float]:
    m, n, _ = rows.shape
    matrices = [matrix.clone() if matrix.data_ptr() % _ALIGNED else matrix for matrix in rows]
    norms = torch.stack([torch.linalg.vector_norm(matrix, dim=1) for matrix in matrices])
    scale = torch.where(norms == 0, 0, 1 / norms)
    totals = torch.zeros(m, dtype=torch.float64)
    for start in range(0, n, _BLOCK):
        width = min(_BLOCK, n - start)
        cosines = torch.stack([matrix[start:] @ matrix[start : start + width].T for matrix in matrices])
        cosines.abs_().mul_(scale[:, start:, None]).mul_(scale[:, None, start : start + width])
        cosines[:, :width].diagonal(dim1=1, dim2=2).zero_()
        totals += cosines[:, :width].sum(dim=(1, 2), dtype=torch.float64)
        totals += 2 * cosines[:, width:].sum(dim=(1, 2), dtype=torch.float64)
    return [total / (n * (n - 1)) for total in totals.tolist()]
