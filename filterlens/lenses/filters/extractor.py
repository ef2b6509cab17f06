"""The filters lens's extractor: every convolution's weight, with its place in the network."""

from __future__ import annotations

from typing import Any

import numpy as np

from filterlens.errors import LensSkipped
from filterlens.lens import ExtractContext
from filterlens.lenses.filters.options import FiltersOptions
from filterlens.lenses.kernels import choose_convolutions
from filterlens.tracing.convolutions import Convolution, network_convolutions, weight_convolutions

__all__ = ["extract"]


def extract(context: ExtractContext[FiltersOptions]) -> None:
    """Write the weight of every convolution with the wanted kernel to a dump.

    Parameters
    ----------
    context
        Bare weights are enough, unless BatchNorm is to be folded. The group is filled with one float32 array a
        convolution, shape (c_out, c_in / groups, k_h, k_w), in execution order as far as it is known, with the
        attributes `conv_depth`, `conv_depth_norm`, `depth_from`, `dtype`, `groups`, `stride` and `folded`.

    Raises
    ------
    LensSkipped
        There is no convolution with such a kernel, or BatchNorm cannot be folded for want of a network that runs.
    CheckpointError
        A convolution's weight is of integers or complex numbers, or there are more than 10,000 convolutions.
    InputError
        The `kernel` option is no kernel size.
    """
    model, options = context.model, context.options
    if model.network is not None:
        every = network_convolutions(model.network, input_size=model.input_size, fold=options.fold_batchnorm)
    elif options.fold_batchnorm:
        raise LensSkipped(
            f"{model.source} holds weights only, which do not say what BatchNorm follows which convolution: "
            "give the architecture with a `module:` source, or leave --fold-batchnorm out"
        )
    else:
        every = weight_convolutions(model.weights, model.depths)
    chosen = choose_convolutions(every, options.kernel, context.entry.model_id)
    for done, layer in enumerate(chosen, start=1):
        context.group.write(
            layer.name,
            layer.read().numpy(),
            conv_depth=layer.conv_depth,
            conv_depth_norm=layer.conv_depth_norm,
            depth_from=layer.depth_from,
            dtype=layer.dtype,
            folded=layer.folded,
            **_geometry(layer),
        )
        context.progress(done, len(chosen))


def _geometry(layer: Convolution) -> dict[str, Any]:
    """Attributes that a bare weight does not have."""
    if layer.groups is None or layer.stride is None:
        return {}
    return {"groups": layer.groups, "stride": np.asarray(layer.stride)}
