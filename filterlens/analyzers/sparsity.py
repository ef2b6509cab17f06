"""Sparsity: the share of filters too small to matter."""

from __future__ import annotations

import torch
from torch import Tensor

from filterlens.analyzers.conventions import (
    SPARSITY_THRESHOLD,
    Convention,
    as_filters,
    check_convention,
    check_finite,
)
from filterlens.errors import InputError

__all__ = ["filter_maxima", "sparse_filters", "sparsity"]

_BLOCK = 16384  # filters of one step


def sparsity(weight: Tensor, *, threshold: float = SPARSITY_THRESHOLD, convention: Convention = "paper") -> float:
    """Share of filters too small to matter, relative to the layer's largest weight.

    Parameters
    ----------
    weight
        Convolution weight, shape (c_out, c_in / groups, k_h, k_w).
    threshold
        Fraction of the layer's largest absolute weight, in (0, 1).
    convention
        See `filterlens.analyzers.conventions`.

    Returns
    -------
        Share in [0, 1]; 1 for a layer of zeros (0 in `filterdb`).

    Raises
    ------
    InputError
        The weight is no convolution's, or threshold or convention is unknown.
    NonFiniteWeightError
        The layer holds NaN or Inf.

    References
    ----------
    [Gavrikov2022Lens]_, section 3.

    Examples
    --------
    >>> weight = torch.ones(2, 2, 3, 3)
    >>> weight[0, 0] = 0.01
    >>> sparsity(weight)
    0.25
    >>> sparsity(weight, convention="torchconvquality")
    0.0
    """
    maxima = filter_maxima(as_filters(weight))
    check_finite(maxima)
    return float(sparse_filters(maxima, threshold=threshold, convention=convention).double().mean())


def filter_maxima(filters: Tensor) -> Tensor:
    """Largest absolute weight of each row of an (n, K) matrix, shape (n,); NaN where a row holds NaN."""
    # In pieces that stay in the cache, and by pooling, which is twice as quick as a reduction of short rows.
    parts = torch.split(filters, _BLOCK)
    k = filters.shape[1]
    return torch.cat([torch.nn.functional.max_pool1d(part.abs().view(1, 1, -1), k).flatten() for part in parts])


def sparse_filters(
    maxima: Tensor, *, threshold: float = SPARSITY_THRESHOLD, convention: Convention = "paper"
) -> Tensor:
    """Say which filters are sparse, given the largest absolute weight of each.

    Returns
    -------
        Booleans, shape (n,).

    Raises
    ------
    InputError
        The threshold is outside (0, 1), or the convention is unknown.
    """
    check_convention(convention)
    if not 0 < threshold < 1:
        raise InputError(f"a sparsity threshold lies between 0 and 1, got {threshold}")
    largest = maxima.max().double()
    if convention == "paper":
        return maxima.double() <= threshold * largest
    if convention == "torchconvquality" and largest == 0:
        return torch.ones_like(maxima, dtype=torch.bool)
    return maxima < (threshold * largest).to(maxima.dtype)
