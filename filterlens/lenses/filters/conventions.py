"""Whose definition of a filter score, and how a weight enters every one of them.

The peers differ in small ways. `paper` (the default) is Gavrikov2022Lens. `filterdb` and `torchconvquality`
reproduce what the notebooks of Gavrikov2022DB and the package torchconvquality compute, zero rows and NaN apart:

| | paper | filterdb | torchconvquality |
|---|---|---|---|
| a filter is sparse where its largest weight is | ≤ ε · max | < ε · max | < ε · max |
| a layer of zeros | 1 | 0 | 1 |
| `variance_entropy` of | scaled filters, no sparse ones | raw filters, all, rounded to float16 | raw filters, all |
| `orthogonality` | diagonal left out | not computed there; ours | the same |
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, get_args

from filterlens.errors import InputError, NonFiniteWeightError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["CONVENTIONS", "LARGEST_KERNEL", "SPARSITY_THRESHOLD", "Convention", "check_convention", "prepare"]

Convention = Literal["paper", "filterdb", "torchconvquality"]
CONVENTIONS: tuple[str, ...] = get_args(Convention)
SPARSITY_THRESHOLD = 0.01
LARGEST_KERNEL = 1024  # weights a filter: principal components take the cube of them


def check_convention(convention: str) -> None:
    """Refuse an unknown convention.

    Raises
    ------
    InputError
        It is none of `CONVENTIONS`.
    """
    if convention not in CONVENTIONS:
        raise InputError(f"no convention is called {convention!r}; there are {', '.join(CONVENTIONS)}")


def prepare(weight: Tensor) -> Tensor:
    """Return a convolution's weight ready for arithmetic: detached, contiguous, float32 (float64 stays).

    Parameters
    ----------
    weight
        Shape (c_out, c_in / groups, k_h, k_w), any real floating-point type, on any device.

    Raises
    ------
    InputError
        It has another number of dimensions, no entries, more than 1024 weights a filter, or is not real and
        floating-point.
    """
    if weight.ndim != 4 or weight.numel() == 0 or not weight.is_floating_point():
        raise InputError(
            "a convolution's weight has shape (c_out, c_in / groups, k_h, k_w), no empty axis and a real "
            f"floating-point type; got shape {tuple(weight.shape)} and {weight.dtype}"
        )
    if weight[0, 0].numel() > LARGEST_KERNEL:
        raise InputError(
            f"filters of more than {LARGEST_KERNEL} weights have no score; got a kernel of "
            f"{weight.shape[2]}x{weight.shape[3]}"
        )
    import torch

    return weight.detach().to(torch.float64 if weight.dtype == torch.float64 else torch.float32).contiguous()


def rounded(filters: NDArray[np.floating], convention: Convention) -> NDArray[np.floating]:
    """Return the filters as raw entropy sees them: `filterdb` stores them as float16."""
    import numpy as np

    if convention != "filterdb":
        return filters
    with np.errstate(over="ignore"):  # float16 ends at 65504
        found = filters.astype(np.float16).astype(filters.dtype)
    check_finite(float(np.abs(found).max()))
    return found


def check_finite(largest: float) -> None:
    """Refuse a layer, given its largest absolute weight, which is NaN where any is.

    Raises
    ------
    NonFiniteWeightError
        The layer holds NaN or Inf.
    """
    if not math.isfinite(largest):
        raise NonFiniteWeightError("the layer holds NaN or Inf and has no score: check how it was trained or loaded")
