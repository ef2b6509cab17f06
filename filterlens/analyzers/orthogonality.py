"""Orthogonality: how little the output channels of a layer point the same way."""

from __future__ import annotations

import math

from torch import Tensor

from filterlens.analyzers.conventions import check_finite, prepare
from filterlens.analyzers.gram import mean_absolute_cosine

__all__ = ["orthogonality"]


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
    >>> import torch
    >>> orthogonality(torch.eye(9).reshape(9, 1, 3, 3))
    1.0
    """
    rows = prepare(weight).flatten(1)
    check_finite(rows.abs().amax(dim=1))
    return row_orthogonality(rows)


def row_orthogonality(rows: Tensor) -> float:
    """Orthogonality of the rows of a finite (c_out, d) matrix."""
    if rows.shape[0] < 2:
        return math.nan
    return min(1.0, max(0.0, 1 - mean_absolute_cosine(rows)))
