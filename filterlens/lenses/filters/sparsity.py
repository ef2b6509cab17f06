"""Sparsity: the share of filters too small to matter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from filterlens.lenses.filters.conventions import SPARSITY_THRESHOLD, Convention
from filterlens.lenses.filters.layer import Layer, as_layer
from filterlens.score import score

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["sparsity"]


@score(
    lens="filters",
    title="Sparsity",
    formula="#{i : max|f_i| ≤ 0.01 · max_j max|f_j|} / n",
    reference="Gavrikov2022Lens §3",
    bounds=(0.0, 1.0),
    unit="share",
    robust_is="lower",
    claim="Gavrikov2022Lens, abstract: robust models form less sparse filters than their normal counterparts",
    chance="0: random filters of one variance are never sparse",
    pitfalls="One outlier weight makes a whole layer look sparse. Folding BatchNorm into the weights changes it.",
    by_depth=True,
    weight="n_filters",
)
def sparsity(
    weight: Tensor | Layer, *, threshold: float = SPARSITY_THRESHOLD, convention: Convention = "paper"
) -> float:
    """Share of filters too small to matter, relative to the layer's largest weight.

    Parameters
    ----------
    weight
        Convolution weight, shape (c_out, c_in / groups, k_h, k_w).
    threshold
        Fraction of the layer's largest absolute weight, in (0, 1).
    convention
        See `filterlens.lenses.filters.conventions`.

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
    >>> import torch
    >>> weight = torch.ones(2, 2, 3, 3)
    >>> weight[0, 0] = 0.01
    >>> sparsity(weight)
    0.25
    >>> sparsity(weight, convention="torchconvquality")
    0.0
    """
    layer = as_layer(weight, threshold=threshold, convention=convention)
    return layer.n_sparse / layer.n_filters
