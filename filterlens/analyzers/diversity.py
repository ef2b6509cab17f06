"""Diversity: in how many directions the filters of a layer vary, as the entropy of their variance."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from filterlens.analyzers.conventions import (
    SPARSITY_THRESHOLD,
    Convention,
    as_filters,
    check_convention,
    check_finite,
    rounded,
)
from filterlens.analyzers.sparsity import filter_maxima, sparse_filters
from filterlens.errors import InputError

__all__ = ["entropy_of_random_filters", "variance_entropy", "variance_entropy_raw", "variance_entropy_raw_normalized"]

_BLOCK = 16384  # filters of one step: small enough for the cache
_BATCH = 1024  # filters of one small product
_SMALLEST_SHARE = 1e-6


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
    filters = as_filters(weight)
    maxima = filter_maxima(filters)
    check_finite(maxima)
    return scaled_entropy(filters, maxima, sparse_filters(maxima, threshold=threshold))


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
    filters = as_filters(weight)
    check_finite(filter_maxima(filters))
    return raw_entropy(rounded(filters, convention))


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
    return normalized_entropy(entropy, weight.shape[0] * weight.shape[1])


def entropy_of_random_filters(n: int) -> float:
    """T_H(n): the variance entropy of n random 3x3 filters, as fitted by its authors.

    Negative for n ≤ 2, where the entropy itself is 0.

    References
    ----------
    [Gavrikov2022DB]_, appendix.
    """
    return 1.2618047 / (1 + math.exp(-0.88767525 * (math.log2(n) - 2.30436435))) - 0.31050834


def scaled_entropy(filters: Tensor, maxima: Tensor, sparse: Tensor) -> float:
    """Variance entropy of the filters that are not sparse, each divided by its largest absolute weight."""
    return _entropy(filters, torch.where(sparse, 0, 1 / maxima))


def raw_entropy(filters: Tensor) -> float:
    """Variance entropy of all filters as they are; finite rows, shape (n, K)."""
    return _entropy(filters, None)


def normalized_entropy(entropy: float, n: int) -> float:
    """Raw variance entropy of n 3x3 filters relative to random ones; no variance is 0 for any n."""
    return entropy / entropy_of_random_filters(n) if entropy else 0.0


def _entropy(filters: Tensor, scale: Tensor | None) -> float:
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
