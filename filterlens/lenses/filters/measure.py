"""Filter scores of a network in memory."""

from __future__ import annotations

import math
from collections.abc import Iterator

from torch import Tensor, nn

from filterlens.errors import InputError
from filterlens.lens import scores_of
from filterlens.lenses.filters.analyzer import layer_rows, scorable
from filterlens.lenses.filters.options import FiltersOptions
from filterlens.lenses.kernels import choose_convolutions, kernel_note, main_kernel
from filterlens.tracing.convolutions import network_convolutions
from filterlens.tracing.depth import Trace, trace

__all__ = ["measure"]


def measure(network: nn.Module, images: Tensor | None, options: FiltersOptions) -> Iterator[dict[str, object]]:
    """Score every convolution of a network, in execution order.

    Parameters
    ----------
    network
        Left exactly as it was (modes, hooks, weights, random state).
    images
        A batch that the network takes, for the depth of its layers; None tries usual image sizes.
    options
        Which kernels, and whether BatchNorm is folded.

    Yields
    ------
        Rows of the score table.

    Raises
    ------
    InputError
        The kernel is no size, or the images are not what the network takes.
    LensSkipped
        There is no such convolution, or BatchNorm cannot be folded because the network does not run.
    """
    traced = None if images is None else _trace(network, images)
    every = network_convolutions(network, fold=options.fold_batchnorm, traced=traced)
    chosen = choose_convolutions(every, options.kernel, type(network).__name__)
    main = main_kernel(layer.kernel for layer in chosen)
    scores = scores_of("filters")
    for layer in chosen:
        common: dict[str, object] = {
            "layer": layer.name,
            "kind": f"{layer.kernel[0]}x{layer.kernel[1]}",
            "conv_depth": float(layer.conv_depth) if layer.conv_depth >= 0 else math.nan,
            "conv_depth_norm": layer.conv_depth_norm,
        }
        depth_note = ("depth is the order of the state dict's keys",) if layer.depth_from == "keys" else ()
        notes = (*depth_note, *kernel_note(main))
        for row in layer_rows(scorable(layer.read()), scores, counts=layer.kernel == main, notes=notes):
            yield {**common, **row}


def _trace(network: nn.Module, images: Tensor) -> Trace:
    try:
        return trace(network, images)
    except Exception as error:  # a network raises anything at a size that is not its own
        raise InputError(f"the model does not take images of shape {tuple(images.shape)}: {error}") from error
