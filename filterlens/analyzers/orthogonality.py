"""Orthogonality: how little the output channels of a layer point the same way."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from filterlens.analyzers.conventions import check_finite, prepare

__all__ = ["orthogonality"]

_ROWS = 512  # of one block of the Gram matrix


def orthogonality(weight: Tensor) -> float:
    """One minus the mean absolute cosine between a layer's output channels.

    Rows of W, reshaped to (c_out, c_in / groups · k_h · k_w), scaled to unit length (zero rows stay zero):
    1 − Σ_{i≠j} |⟨ŵ_i, ŵ_j⟩| / (c_out (c_out − 1)).

    Parameters
    ----------
    weight
        Convolution weight, shape (c_out, c_in / groups, k_h, k_w).

    Returns
    -------
        In [0, 1]; NaN for one output channel, where it is not defined.

    Raises
    ------
    InputError
        The weight is no convolution's.
    NonFiniteWeightError
        The layer holds NaN or Inf.

    Notes
    -----
    The papers' code subtracts the identity instead of leaving out the diagonal: there every zero row costs
    1 / (c_out (c_out − 1)), and one output channel divides by zero. Else the same number.

    References
    ----------
    [Gavrikov2022Lens]_, section 3.

    Examples
    --------
    >>> orthogonality(torch.eye(9).reshape(9, 1, 3, 3))
    1.0
    """
    weight = prepare(weight)
    check_finite(float(weight.abs().max()))
    return row_orthogonality(weight.flatten(1))


def row_orthogonality(rows: Tensor) -> float:
    """Orthogonality of the rows of a finite (c_out, d) matrix."""
    c_out = rows.shape[0]
    if c_out < 2:
        return math.nan
    total = 0.0
    norms = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    unit = rows / torch.where(norms == 0, 1.0, norms)
    for start in range(0, c_out, _ROWS):
        block = unit[start : start + _ROWS]
        gram = block @ unit[start:].T  # from the diagonal block to the right: the other half is its mirror image
        width = block.shape[0]
        gram[:, :width].fill_diagonal_(0)
        absolute = gram.abs_()
        total += float(absolute[:, :width].sum(dtype=torch.float64))
        total += 2 * float(absolute[:, width:].sum(dtype=torch.float64))
    return min(1.0, max(0.0, 1 - total / (c_out * (c_out - 1))))
