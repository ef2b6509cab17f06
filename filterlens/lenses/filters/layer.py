"""One convolution's weight, with what several scores share: each computed once. Loads torch when it computes."""

from __future__ import annotations

import math
from collections.abc import Sequence
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
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from filterlens.lenses.filters.moments import Moments

__all__ = ["Layer", "as_layer", "compute_together", "filter_maxima"]

_RANGE = 30  # powers of two around 1 within which squares and their sums are far from float32's limits


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
        import torch

        self.threshold, self.convention = threshold, convention
        ready = prepare(weight)
        maxima = torch.from_numpy(filter_maxima(ready.flatten(2).flatten(0, 1).cpu().numpy()))
        largest = float(maxima.max())
        self.weight = _within_range(ready, largest)
        self._maxima: NDArray[np.floating] = _within_range(maxima, largest).numpy()

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

    @property
    def filters(self) -> Tensor:
        """Filters as rows, shape (n_filters, k_h * k_w)."""
        return self.weight.flatten(2).flatten(0, 1)

    @cached_property
    def rows(self) -> NDArray[np.floating]:
        """The filters as a NumPy array."""
        return self.filters.cpu().numpy()

    @property
    def maxima(self) -> NDArray[np.floating]:
        """Largest absolute weight of each filter, shape (n_filters,).

        Raises
        ------
        NonFiniteWeightError
            The layer holds NaN or Inf.
        """
        check_finite(float(self._maxima.max()))
        return self._maxima

    @cached_property
    def sparse(self) -> NDArray[np.bool_]:
        """Which filters are sparse, shape (n_filters,)."""
        return sparse_filters(self.maxima, threshold=self.threshold, convention=self.convention)

    @cached_property
    def n_sparse(self) -> int:
        """How many filters are sparse."""
        return int(self.sparse.sum())

    @property
    def n_kept(self) -> int:
        """How many filters are not sparse."""
        return self.n_filters - self.n_sparse

    @property
    def limit(self) -> float:
        """Largest absolute weight up to which a filter is sparse in the papers' sense."""
        return self.threshold * float(self.maxima.max())

    @cached_property
    def raw_entropy(self) -> float:
        """Entropy of the variance of all filters as they are."""
        return self.raw_moments.entropy

    @cached_property
    def raw_moments(self) -> Moments:
        """Moments of all filters as they are."""
        from filterlens.lenses.filters.moments import Moments

        _ = self.maxima  # refuses a layer that is not finite
        return Moments.of(rounded(self.rows, self.convention))

    @cached_property
    def scaled_moments(self) -> Moments:
        """Moments of the filters that are not sparse, each divided by its largest absolute weight."""
        from filterlens.lenses.filters.moments import Moments

        return Moments.of_scaled(self.rows, self.maxima, self.limit)

    @cached_property
    def scaled_entropy(self) -> float:
        """Entropy of the variance of the filters that are not sparse, each divided by its largest absolute weight."""
        return self.scaled_moments.entropy

    @cached_property
    def mean_absolute_cosine(self) -> float:
        """Mean |⟨ŵ_i, ŵ_j⟩| over i ≠ j of the output channels; NaN where there is only one."""
        from filterlens.lenses.filters.gram import mean_absolute_cosine

        _ = self.maxima  # refuses a layer that is not finite
        return mean_absolute_cosine(self.weight.flatten(1)) if self.c_out > 1 else math.nan


def compute_together(layers: Sequence[Layer]) -> None:
    """Compute what scores share of many layers, those of equal shape in one batch: each as it would be alone."""
    import torch

    from filterlens.lenses.filters.gram import mean_absolute_cosines
    from filterlens.lenses.filters.moments import entropies

    shapes: dict[tuple[object, ...], list[Layer]] = {}
    for layer in layers:
        shapes.setdefault((layer.weight.shape, layer.weight.dtype, layer.convention), []).append(layer)
    for alike in shapes.values():
        raw = entropies([layer.raw_moments for layer in alike])
        scaled = entropies([layer.scaled_moments for layer in alike])
        for layer, of_raw, of_scaled in zip(alike, raw, scaled, strict=True):
            layer.raw_entropy, layer.scaled_entropy = of_raw, of_scaled
        if alike[0].c_out > 1:
            matrices = torch.stack([layer.weight.flatten(1) for layer in alike])
            for layer, cosine in zip(alike, mean_absolute_cosines(matrices), strict=True):
                layer.mean_absolute_cosine = cosine


def as_layer(
    weight: Tensor | Layer, *, threshold: float = SPARSITY_THRESHOLD, convention: Convention = "paper"
) -> Layer:
    """Return a weight as a `Layer`; a `Layer` stays what it is."""
    return weight if isinstance(weight, Layer) else Layer(weight, threshold=threshold, convention=convention)


def _within_range(weight: Tensor, largest: float) -> Tensor:
    """Return a weight, scaled by a power of two where its squares could leave the type's range: no score depends on it.

    Parameters
    ----------
    weight
        As `prepare` returns it.
    largest
        Its largest absolute weight; NaN where any is.

    Raises
    ------
    InputError
        All its weights are denormal.
    """
    import torch

    if 0 < largest < torch.finfo(weight.dtype).tiny:
        raise InputError(f"its weights are denormal numbers (at most {largest:.3g}): too few digits for a score")
    if not 0 < largest < math.inf or 2.0**-_RANGE < largest < 2.0**_RANGE:
        return weight
    exponent = -math.frexp(largest)[1]
    half = exponent // 2  # in two steps, as the factor itself may leave the range
    return weight * 2.0**half * 2.0 ** (exponent - half)


def filter_maxima(filters: NDArray[np.floating]) -> NDArray[np.floating]:
    """Largest absolute weight of each row of an (n, K) array, shape (n,); NaN where a row holds NaN."""
    import numpy as np

    from filterlens.lenses.filters.kernels import maxima

    found: NDArray[np.floating] = np.empty(len(filters), filters.dtype)
    maxima(filters, found)
    return found


def sparse_filters(
    maxima: NDArray[np.floating], *, threshold: float = SPARSITY_THRESHOLD, convention: Convention = "paper"
) -> NDArray[np.bool_]:
    """Say which filters are sparse, given the largest absolute weight of each.

    Returns
    -------
        Booleans, shape (n,).
    """
    import numpy as np

    largest = float(maxima.max())
    if convention == "paper":
        found: NDArray[np.bool_] = maxima.astype(np.float64) <= threshold * largest
        return found
    if convention == "torchconvquality" and largest == 0:
        found = maxima == 0
    else:
        found = maxima < maxima.dtype.type(threshold * largest)
    return found
