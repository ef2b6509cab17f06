"""Orthogonality: how little the output channels of a layer point the same way."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from filterlens.lenses.filters.layer import Layer, as_layer
from filterlens.score import score

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["orthogonality"]


@score(
    lens="filters",
    title="Orthogonality",
    summary="How little the output channels of a layer point the same way.",
    formula="1 − Σ_{i≠j} |⟨ŵ_i, ŵ_j⟩| / (c_out (c_out − 1)), ŵ_i the unit rows of the (c_out, d) weight",
    reference="Gavrikov2022Lens §3",
    bounds=(0.0, 1.0),
    unit="share",
    robust_is="higher",
    claim="Gavrikov2022Lens, abstract: robust models form more orthogonal filters than their normal counterparts",
    chance="1 − Γ(d/2) / (√π Γ((d+1)/2)): wider layers come nearer to 1 by chance alone",
    pitfalls="Grows with d for random weights; zero rows cost nothing; not defined for one output channel.",
    by_depth=True,
    weight="c_out",
)
def orthogonality(weight: Tensor | Layer) -> float:
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
    mean = as_layer(weight).mean_absolute_cosine
    return mean if math.isnan(mean) else min(1.0, max(0.0, 1 - mean))
