"""One convolution's weight, with what several scores share: each computed once. Loads torch when it computes."""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING

from filterlens.errors import InputError
from filterlens.lenses.filters.conventions import (
    SPARSITY_THRESHOLD,
    Convention,
    check_convention,
    check_finite,
    prepare,
    rounded,
)

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Layer", "as_layer", "filter_maxima"]

_BLOCK = 16384  # filters of one step


class Layer:
    """A convolution's weight.

    Parameters
    ----------
    weight
        Shape (c_out, c_in / groups, k_h, k_w), any real floating-point type, on any device.
    threshold
        Fraction of the layer's largest absolute weight at which a filter is sparse, in (0, 1).
    convention
        See `filterlens.lenses.filters.conventions`.

    Raises
    ------
    InputError
        The weight is no convolution's, or threshold or convention is unknown.
    """

    def __init__(
        self, weight: Tensor, *, threshold: float = SPARSITY_THRESHOLD, convention: Convention = "paper"
    ) -> None:
        check_convention(convention)
        if not 0 < threshold < 1:
            raise InputError(f"a sparsity threshold lies between 0 and 1, got {threshold}")
        self.weight = prepare(weight)
        self.threshold, self.convention = threshold, convention

    @property
    def kernel(self) -> tuple[int, int]:
        """Height and width of a filter."""
        return self.weight.shape[2], self.weight.shape[3]

    @property
    def c_out(self) -> int:
        """Output channels."""
        return self.weight.shape[0]

    @property
    def n_filters(self) -> int:
        """Two-dimensional filters."""
        return self.weight.shape[0] * self.weight.shape[1]

    @cached_property
    def filters(self) -> Tensor:
        """Filters as rows, shape (n_filters, k_h * k_w)."""
        return self.weight.flatten(2).flatten(0, 1)

    @cached_property
    def maxima(self) -> Tensor:
        """Largest absolute weight of each filter, shape (n_filters,).

        Raises
        ------
        NonFiniteWeightError
            The layer holds NaN or Inf.
        """
        maxima = filter_maxima(self.filters)
        check_finite(maxima)
        return maxima

    @cached_property
    def sparse(self) -> Tensor:
        """Which filters are sparse: booleans, shape (n_filters,)."""
        return sparse_filters(self.maxima, threshold=self.threshold, convention=self.convention)

    @cached_property
    def n_sparse(self) -> int:
        """How many filters are sparse."""
        return int(self.sparse.sum())

    @property
    def n_kept(self) -> int:
        """How many filters are not sparse."""
        return self.n_filters - self.n_sparse

    @cached_property
    def raw_entropy(self) -> float:
        """Entropy of the variance of all filters as they are."""
        from filterlens.lenses.filters.scatter import entropy_of_variance

        _ = self.maxima  # refuses a layer that is not finite
        return entropy_of_variance(rounded(self.filters, self.convention), None)

    @cached_property
    def scaled_entropy(self) -> float:
        """Entropy of the variance of the filters that are not sparse, each divided by its largest absolute weight."""
        import torch

        from filterlens.lenses.filters.scatter import entropy_of_variance

        return entropy_of_variance(self.filters, torch.where(self.sparse, 0, 1 / self.maxima))

    @cached_property
    def mean_absolute_cosine(self) -> float:
        """Mean |⟨ŵ_i, ŵ_j⟩| over i ≠ j of the output channels; NaN where there is only one."""
        from filterlens.lenses.filters.gram import mean_absolute_cosine

        _ = self.maxima  # refuses a layer that is not finite
        return mean_absolute_cosine(self.weight.flatten(1)) if self.c_out > 1 else math.nan


def as_layer(
    weight: Tensor | Layer, *, threshold: float = SPARSITY_THRESHOLD, convention: Convention = "paper"
) -> Layer:
    """Return a weight as a `Layer`; a `Layer` stays what it is."""
    return weight if isinstance(weight, Layer) else Layer(weight, threshold=threshold, convention=convention)


def filter_maxima(filters: Tensor) -> Tensor:
    """Largest absolute weight of each row of an (n, K) matrix, shape (n,); NaN where a row holds NaN."""
    import torch

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
    """
    largest = maxima.max().double()
    if convention == "paper":
        return maxima.double() <= threshold * largest
    if convention == "torchconvquality" and largest == 0:
        return maxima == 0
    return maxima < (threshold * largest).to(maxima.dtype)
