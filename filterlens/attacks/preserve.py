"""Attacking a model without changing it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from filterlens.tracing.modes import in_eval_mode

__all__ = ["preserved"]


@contextmanager
def preserved(*modules: nn.Module, evaluate: bool = True) -> Iterator[None]:
    """Leave models exactly as they were when the block ends, in whatever way it ends.

    Within the block gradients are enabled, no parameter asks for one (backward passes reach inputs only), and the
    models are in evaluation mode. Afterwards train/eval mode of every module, buffers, `requires_grad` and `grad` of
    every parameter are as before. Parameters' values are not looked after: `Weights` puts back what it changes.

    Parameters
    ----------
    modules
        The models.
    evaluate
        False keeps the mode they are in.
    """
    parts = list(dict.fromkeys(part for module in modules for part in module.modules()))
    parameters = list(dict.fromkeys(p for part in parts for p in part.parameters(recurse=False)))
    before = [(p.requires_grad, p.grad) for p in parameters]
    buffers = [(part, name, b) for part in parts for name, b in part.named_buffers(recurse=False)]
    values = [b.detach().clone() for _, _, b in buffers]
    try:
        for p in parameters:
            p.requires_grad_(False)  # noqa: FBT003 - torch's own signature
        with in_eval_mode(*(modules if evaluate else ())), torch.inference_mode(mode=False), torch.enable_grad():
            yield
    finally:
        for p, (flag, gradient) in zip(parameters, before, strict=True):
            p.requires_grad_(flag)
            p.grad = gradient
        for (part, name, buffer), value in zip(buffers, values, strict=True):
            buffer.data.copy_(value)  # through .data, so that a graph that was built before stays valid
            setattr(part, name, buffer)
