"""BatchNorm folded into the convolution before it, as an eval-mode ONNX export has them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from filterlens.errors import InputError

__all__ = ["can_fold", "fold_weight"]


def can_fold(norm: nn.Module) -> bool:
    """Whether the norm is a BatchNorm with a running variance: others scale by what they are given."""
    return isinstance(norm, _BatchNorm) and norm.running_var is not None


def fold_weight(weight: Tensor, norm: nn.Module) -> Tensor:
    """Scale each output channel as the BatchNorm behind it does: w · γ / √(σ² + ε).

    Parameters
    ----------
    weight
        Convolution weight, shape (c_out, c_in / groups, k_h, k_w).
    norm
        The BatchNorm that takes the convolution's output; `can_fold` holds.

    Returns
    -------
        The folded weight, float32.

    Raises
    ------
    InputError
        The norm cannot be folded.
    """
    if not isinstance(norm, _BatchNorm) or norm.running_var is None:
        raise InputError(f"{type(norm).__name__} keeps no running variance and cannot be folded into a convolution")
    scale = torch.rsqrt(norm.running_var.detach().double() + norm.eps)  # (c_out,)
    if norm.weight is not None:
        scale = scale * norm.weight.detach().double()
    return (weight.detach().double() * scale.view(-1, 1, 1, 1)).float()
