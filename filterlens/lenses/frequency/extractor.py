"""The frequency lens's extractor: the power spectrum of every convolution's filters."""

from __future__ import annotations

from filterlens.lens import ExtractContext
from filterlens.lenses.frequency.options import FrequencyOptions
from filterlens.lenses.frequency.transform import filter_spectrum
from filterlens.lenses.kernels import choose_convolutions
from filterlens.tracing.convolutions import network_convolutions, weight_convolutions

__all__ = ["extract"]


def extract(context: ExtractContext[FrequencyOptions]) -> None:
    """Write the power spectrum of every convolution with the wanted kernel to a dump.

    Parameters
    ----------
    context
        Bare weights are enough. The group is filled with one float64 array a convolution, shape (N_h, N_w), zero
        frequency first, in execution order as far as it is known, with the attributes `kernel`, `n_filters`,
        `conv_depth`, `conv_depth_norm`, `depth_from` and `dtype`.

    Raises
    ------
    LensSkipped
        There is no convolution with such a kernel.
    CheckpointError
        A convolution's weight is of integers or complex numbers.
    InputError
        The `kernel` option is no kernel size.
    """
    model, options = context.model, context.options
    if model.network is None:
        every = weight_convolutions(model.weights, model.depths)
    else:
        every = network_convolutions(model.network, input_size=model.input_size)
    chosen = choose_convolutions(every, options.kernel, context.entry.model_id)
    for done, layer in enumerate(chosen, start=1):
        weight = layer.read()
        context.group.write(
            layer.name,
            filter_spectrum(weight, frequencies=options.filter_frequencies),
            kernel="x".join(map(str, layer.kernel)),
            n_filters=weight.shape[0] * weight.shape[1],
            conv_depth=layer.conv_depth,
            conv_depth_norm=layer.conv_depth_norm,
            depth_from=layer.depth_from,
            dtype=layer.dtype,
        )
        context.progress(done, len(chosen))
