"""Aliasing of a network in memory: one forward pass over a batch, no attack, nothing written."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from filterlens.errors import InputError
from filterlens.lenses.downsampling.analyzer import operation_rows
from filterlens.lenses.downsampling.options import DownsamplingOptions
from filterlens.lenses.downsampling.scores import Operation
from filterlens.tracing.capture import Downsampling, capture_downsampling
from filterlens.tracing.modes import in_eval_mode
from filterlens.tracing.sizes import refuse_size

__all__ = ["measure"]

_BATCH = 64


def measure(network: nn.Module, images: Tensor | None, options: DownsamplingOptions) -> Iterator[dict[str, object]]:
    """Score every downsampling operation of a network, all channels.

    Parameters
    ----------
    network
        In eval mode while it is measured, without gradients; left as it was.
    images
        A batch as the network takes it, shape (n, channels, height, width); 64 images are plenty.
    options
        Not used: all channels are measured.

    Yields
    ------
        Rows of the score table.

    Raises
    ------
    InputError
        There are no images, the network takes images of another size, which the message names, or it downsamples
        nowhere but in 1x1 shortcuts.
    """
    del options
    if images is None or images.dim() != 4 or len(images) == 0:
        shape = "none" if images is None else tuple(images.shape)
        raise InputError(f"aliasing is measured on images of shape (n, channels, height, width), got {shape}")
    operations: dict[str, Operation] = {}

    def receive(found: Downsampling) -> None:
        if found.layer not in operations:
            operations[found.layer] = Operation(found.layer, found.kind, found.stride, len(operations))
        operations[found.layer].add(found.dense)

    device = next((p.device for p in network.parameters()), images.device)
    with in_eval_mode(network), torch.no_grad():
        for batch in torch.split(images, _BATCH):
            try:
                with capture_downsampling(network, receive):
                    network(batch.to(device))
            except (AssertionError, IndexError, RuntimeError, TypeError, ValueError):  # what torch and timm raise
                refuse_size(network, images.shape[1:])
                raise
    if not any(operation.counts for operation in operations.values()):
        raise InputError(f"{type(network).__name__} has no downsampling but 1x1 shortcuts, or none at all")
    for operation in operations.values():
        yield from operation_rows(operation)
