"""Diversity: in how many directions the filters of a layer vary, as the entropy of their variance."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from filterlens.errors import InputError
from filterlens.lenses.filters.conventions import SPARSITY_THRESHOLD, Convention
from filterlens.lenses.filters.layer import Layer, as_layer
from filterlens.score import score

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["entropy_of_random_filters", "variance_entropy", "variance_entropy_raw", "variance_entropy_raw_normalized"]

_LAYER = "F: the n = c_out · c_in / groups filters of a layer as rows of an (n, k_h · k_w) matrix"
_CHANCE = "log10(k²) for many random filters (0.954 for 3x3), less for few"


@score(
    lens="filters",
    title="Variance entropy",
    summary="In how many directions the scaled, non-sparse filters of a layer vary.",
    formula=f"{_LAYER}; drop sparse rows, f_i / max|f_i|, centre, singular values s; p = s² / Σ s²; H = − Σ p log10 p",
    reference="Gavrikov2022Lens §3",
    bounds=(0.0, None),
    robust_is="higher",
    claim="Gavrikov2022Lens, abstract: robust models form more diverse filters than their normal counterparts",
    chance=_CHANCE,
    pitfalls="Few filters cannot fill all directions: compare layers of equal size, or use its z-score.",
    by_depth=True,
    weight="n_kept",
)
def variance_entropy(
    weight: Tensor | Layer, *, threshold: float = SPARSITY_THRESHOLD, convention: Convention = "paper"
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
    >>> import torch
    >>> round(variance_entropy(torch.eye(9).reshape(9, 1, 3, 3)), 6) == round(math.log10(8), 6)
    True
    """
    layer = as_layer(weight, threshold=threshold, convention=convention)
    return layer.scaled_entropy if layer.convention == "paper" else layer.raw_entropy


@score(
    lens="filters",
    title="Variance entropy (raw)",
    summary="In how many directions all filters of a layer vary, as they are.",
    formula=f"{_LAYER}; centre, singular values s; p = s² / Σ s²; H = − Σ p log10 p",
    reference="Gavrikov2022DB §4",
    bounds=(0.0, None),
    chance=_CHANCE,
    pitfalls="A few large filters decide it. Folding BatchNorm into the weights changes it.",
    weight="n_filters",
)
def variance_entropy_raw(weight: Tensor | Layer, *, convention: Convention = "paper") -> float:
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
    return as_layer(weight, convention=convention).raw_entropy


@score(
    lens="filters",
    title="Variance entropy (raw, normalised)",
    summary="Raw variance entropy relative to as many random 3x3 filters.",
    formula="H / T_H(n), T_H(n) = 1.2618047 / (1 + exp(−0.88767525 (log2 n − 2.30436435))) − 0.31050834",
    reference="Gavrikov2022DB §4",
    bounds=(0.0, None),
    chance="about 1",
    pitfalls="Only for 3x3; the fit is unreliable below ten filters.",
    weight="n_filters",
    applies=lambda layer: layer.kernel == (3, 3),
)
def variance_entropy_raw_normalized(weight: Tensor | Layer, *, convention: Convention = "paper") -> float:
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
    layer = as_layer(weight, convention=convention)
    if layer.kernel != (3, 3):
        shape = tuple(layer.weight.shape)
        raise InputError(f"the entropy of random filters is fitted for 3x3 only, got a weight of {shape}")
    # no variance is 0 for any n
    return layer.raw_entropy / entropy_of_random_filters(layer.n_filters) if layer.raw_entropy else 0.0


def entropy_of_random_filters(n: int) -> float:
    """T_H(n): the variance entropy of n random 3x3 filters, as fitted by its authors.

    Negative for n ≤ 2, where the entropy itself is 0.

    References
    ----------
    [Gavrikov2022DB]_, appendix.
    """
    return 1.2618047 / (1 + math.exp(-0.88767525 * (math.log2(n) - 2.30436435))) - 0.31050834
