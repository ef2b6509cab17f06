"""Diversity: in how many directions the filters of a layer vary, as the entropy of their variance."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from filterlens.analyzers.conventions import (
    SPARSITY_THRESHOLD,
    Convention,
    check_convention,
    check_finite,
    prepare,
)
from filterlens.analyzers.sparsity import filter_maxima, sparse_filters
from filterlens.errors import InputError

__all__ = ["entropy_of_random_filters", "variance_entropy", "variance_entropy_raw", "variance_entropy_raw_normalized"]


def variance_entropy(
    weight: Tensor, *, threshold: float = SPARSITY_THRESHOLD, convention: Convention = "paper"
) -> float:
    """Entropy of the variance of a layer's scaled filters.

    Drop the sparse filters, divide each remaining one by its own largest absolute weight, centre, take the
    singular values s; p = s² / Σ s²; H = − Σ p log10 p.

    Parameters
    ----------
    weight
        Convolution weight, shape (c_out, c_in / groups, k_h, k_w).
    threshold
        Fraction of the layer's largest absolute weight at which a filter is sparse, in (0, 1).
    convention
        `paper` as above; `filterdb` and `torchconvquality` take all filters, unscaled.

    Returns
    -------
        In [0, log10(k_h · k_w)]; 0 where no filter is left or they do not vary.

    Raises
    ------
    InputError
        The weight is no convolution's, or threshold or convention is unknown.
    NonFiniteWeightError
        The layer holds NaN or Inf.

    Notes
    -----
    torchconvquality is NaN where a singular value is exactly 0; 0 · log 0 is 0 here.

    References
    ----------
    [Gavrikov2022Lens]_, section 3; [Gavrikov2022DB]_, section 4.

    Examples
    --------
    >>> round(variance_entropy(torch.eye(9).reshape(9, 1, 3, 3)), 6) == round(math.log10(8), 6)
    True
    """
    check_convention(convention)
    if convention != "paper":
        return variance_entropy_raw(weight, convention=convention)
    weight = prepare(weight)
    maxima = filter_maxima(weight)
    check_finite(float(maxima.max()))
    kept = ~sparse_filters(maxima, threshold=threshold)
    filters = weight.flatten(2).flatten(0, 1)[kept] / maxima[kept, None]
    return _entropy(filters)


def variance_entropy_raw(weight: Tensor, *, convention: Convention = "paper") -> float:
    """Entropy of the variance of all of a layer's filters, as they are.

    Parameters
    ----------
    weight
        Convolution weight, shape (c_out, c_in / groups, k_h, k_w).
    convention
        `filterdb` rounds the filters to float16 first, as its data set does.

    Returns
    -------
        In [0, log10(k_h · k_w)]; 0 where the filters do not vary.

    Raises
    ------
    InputError
        The weight is no convolution's, or the convention is unknown.
    NonFiniteWeightError
        The layer holds NaN or Inf.

    References
    ----------
    [Gavrikov2022DB]_, section 4.
    """
    check_convention(convention)
    weight = prepare(weight)
    if convention == "filterdb":
        weight = weight.half().to(weight.dtype)
    check_finite(float(filter_maxima(weight).max()))
    return _entropy(weight.flatten(2).flatten(0, 1))


def variance_entropy_raw_normalized(weight: Tensor, *, convention: Convention = "paper") -> float:
    """`variance_entropy_raw` divided by what as many random 3x3 filters would reach.

    Parameters
    ----------
    weight
        Convolution weight, shape (c_out, c_in / groups, 3, 3).
    convention
        As for `variance_entropy_raw`.

    Returns
    -------
        Around 0.9 for diverse filters, 0 for redundant ones; a little over 1 for some random ones.

    Raises
    ------
    InputError
        The kernel is not 3x3: the fit is not defined for others.
    NonFiniteWeightError
        The layer holds NaN or Inf.

    References
    ----------
    [Gavrikov2022DB]_, section 4 and appendix.
    """
    if weight.shape[2:] != (3, 3):
        raise InputError(f"the entropy of random filters is fitted for 3x3 only, got a weight of {tuple(weight.shape)}")
    entropy = variance_entropy_raw(weight, convention=convention)
    return _normalize(entropy, weight.shape[0] * weight.shape[1])


def entropy_of_random_filters(n: int) -> float:
    """T_H(n): the variance entropy of n random 3x3 filters, as fitted by its authors.

    Negative for n ≤ 2, where the entropy itself is 0.

    References
    ----------
    [Gavrikov2022DB]_, appendix.
    """
    return 1.2618047 / (1 + math.exp(-0.88767525 * (math.log2(n) - 2.30436435))) - 0.31050834


def _normalize(entropy: float, n: int) -> float:
    return entropy / entropy_of_random_filters(n) if entropy else 0.0


def _entropy(filters: Tensor) -> float:
    """Entropy of the variance of the rows of an (n, K) matrix."""
    n = filters.shape[0]
    if n < 2:
        return 0.0
    values = filters.double()
    mean = values.mean(dim=0)
    centred = values - mean
    return entropy_of_scatter(centred.T @ centred, mean, n, eps=torch.finfo(filters.dtype).eps)


def entropy_of_scatter(scatter: Tensor, mean: Tensor, n: int, *, eps: float) -> float:
    """Entropy of the eigenvalues of a (K, K) scatter matrix of n filters with that mean.

    A variance at the level of the input's rounding (relative `eps` a weight) is none.
    """
    total = float(scatter.trace())
    noise = n * (4 * eps) ** 2 * (total / n + float(mean @ mean))
    if total <= noise:
        return 0.0
    p = torch.linalg.eigvalsh(scatter).clamp(min=0)
    p = p / p.sum()
    return max(0.0, -float(torch.xlogy(p, p).sum()) / math.log(10))
