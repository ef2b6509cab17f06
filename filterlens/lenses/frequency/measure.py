"""Filter frequencies of a network in memory."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from filterlens.lenses.frequency.analyzer import layer_rows
from filterlens.lenses.frequency.options import FrequencyOptions
from filterlens.lenses.frequency.transform import filter_spectrum
from filterlens.lenses.kernels import choose_convolutions, main_kernel
from filterlens.tracing.convolutions import network_convolutions
from filterlens.tracing.depth import trace

__all__ = ["measure"]


def measure(network: nn.Module, images: Tensor | None, options: FrequencyOptions) -> Iterator[dict[str, object]]:
    """Score every convolution of a network, in execution order.

    Parameters
    ----------
    network
        Left exactly as it was.
    images
        A batch that the network takes, for the depth of its layers; None tries usual image sizes.
    options
        Which kernels.

    Yields
    ------
        Rows of the score table.

    Raises
    ------
    InputError
        The kernel is no size.
    LensSkipped
        There is no such convolution.
    """
    every = network_convolutions(network, traced=None if images is None else trace(network, images))
    chosen = choose_convolutions(every, options.kernel, type(network).__name__)
    main = main_kernel(layer.kernel for layer in chosen)
    for layer in chosen:
        weight = layer.read()
        attributes = {
            "kernel": "x".join(map(str, layer.kernel)),
            "n_filters": weight.shape[0] * weight.shape[1],
            "conv_depth": layer.conv_depth,
            "conv_depth_norm": layer.conv_depth_norm,
            "depth_from": layer.depth_from,
        }
        power = filter_spectrum(weight, frequencies=options.filter_frequencies)
        yield from layer_rows(layer.name, power, attributes, main)
