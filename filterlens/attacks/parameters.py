"""Which parameters attacks on weights move: all but those of normalisation layers, told by type."""

from __future__ import annotations

import re

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

__all__ = ["is_normalisation", "perturbed_parameters"]

_TYPES = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.LocalResponseNorm, nn.RMSNorm)
_TYPE_NAME = re.compile(r"Norm(_?[123]d|Act|Act2d)?$")
_PUBLISHED = ("whiten", "rebn", "norm", "downsample.1", "bn", "shortcut.1")


def is_normalisation(module: nn.Module) -> bool:
    """Whether a module is a normalisation layer.

    PyTorch's own types and what derives from them; and types that others wrote whose name ends as theirs do, if all
    of their own parameters are vectors or one value a channel.
    """
    if isinstance(module, _TYPES):
        return True
    own = list(module.parameters(recurse=False))
    named = any(_TYPE_NAME.search(kind.__name__) for kind in type(module).__mro__)
    return named and all(p.numel() == max(p.shape, default=1) for p in own)


def perturbed_parameters(model: nn.Module, *, by_name: bool = False) -> dict[str, nn.Parameter]:
    """Every weight and every bias outside normalisation layers, by name; shared tensors once.

    Parameters
    ----------
    model
        Any model.
    by_name
        Leave out what the published code of [Stutz2021]_ leaves out, by substrings of the parameter's name.

    Examples
    --------
    >>> list(perturbed_parameters(nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))))
    ['0.weight', '0.bias']
    """
    if by_name:
        return {name: p for name, p in model.named_parameters() if not any(part in name for part in _PUBLISHED)}
    found: dict[str, nn.Parameter] = {}
    seen: set[int] = set()
    for name, module in model.named_modules():
        for key, p in module.named_parameters(recurse=False):
            if id(p) in seen:
                continue
            seen.add(id(p))
            if not is_normalisation(module):
                found[f"{name}.{key}" if name else key] = p
    return found
