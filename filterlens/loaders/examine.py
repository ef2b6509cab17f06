"""What is known of a model's weights before any lens looks: their digest, and the layers that do nothing."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

__all__ = ["Examined", "examine_weights", "tensor_digest"]

_LAYER: Final = re.compile(r"weight|kernel")
_TRAINED: Final = re.compile(r"weight|kernel|bias|gamma|beta|running_|constant/")
_CONSTANT: Final = "constant/"  # where an ONNX network holds what is multiplied without a layer of its own
_MOST_NAMED: Final = 100
_SMALLEST: Final = torch.finfo(torch.float32).tiny


@dataclass(frozen=True, slots=True)
class Examined:
    """What the weights themselves say.

    Parameters
    ----------
    digest
        SHA-256 of the floating-point tensors, whatever their names and the file around them; empty without any.
    faults
        One line a layer whose weights are all zero, all equal, NaN or Inf: `fc.weight is all zero`.
    """

    digest: str
    faults: tuple[str, ...]


def examine_weights(weights: Mapping[str, Tensor]) -> Examined:
    """Digest a model's weights, and find its dead, constant and non-finite layers.

    Parameters
    ----------
    weights
        The state dict. Convolutions and linear layers are told by name and shape: two dimensions at least.
        Masks and other constants of a network, which may be infinite by design, are not looked at.

    Examples
    --------
    >>> examine_weights({"fc.weight": torch.zeros(2, 3), "fc.bias": torch.zeros(2)}).faults
    ('fc.weight is all zero',)
    """
    floats = {name: tensor for name, tensor in weights.items() if _is_plain(tensor)}
    single = sorted(tensor_digest(tensor) for tensor in floats.values())
    digest = hashlib.sha256(b"".join(single)).hexdigest() if single else ""
    faults = list(_faults(floats))
    if len(faults) > _MOST_NAMED:
        faults[_MOST_NAMED:] = [f"and {len(faults) - _MOST_NAMED} more"]
    return Examined(digest, tuple(faults))


def _is_plain(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.layout is torch.strided and tensor.numel() > 0


def tensor_digest(tensor: Tensor) -> bytes:
    """SHA-256 of a strided tensor's type, shape and values."""
    digest = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
    digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.digest()


def _faults(floats: Mapping[str, Tensor]) -> Iterator[str]:
    for name, tensor in floats.items():
        last = name.rpartition(".")[2]
        if not _TRAINED.search(last):
            continue
        low, high = _range(tensor)
        if not (math.isfinite(low) and math.isfinite(high)):
            if not last.startswith(_CONSTANT):
                yield f"{name:.200} holds NaN or Inf"
        elif not _is_layer(last, tensor):
            continue
        elif max(-low, high) < _SMALLEST:
            yield f"{name:.200} is all zero"
        elif low == high and tensor.numel() > 1:
            yield f"{name:.200} is constant ({low:.3g})"


def _range(tensor: Tensor) -> tuple[float, float]:
    """Lowest and highest value; NaN where there is one."""
    low, high = torch.aminmax(tensor.detach().float() if tensor.element_size() == 1 else tensor.detach())
    return float(low), float(high)


def _is_layer(last: str, tensor: Tensor) -> bool:
    if last.startswith(_CONSTANT):
        return tensor.dim() == 2 and min(tensor.shape) > 1
    return tensor.dim() >= 2 and _LAYER.search(last) is not None
