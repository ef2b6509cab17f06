"""The dense map of one downsampling call: the same operation at stride 1.

The input is padded at the bottom and right so that the dense map has s_h H x s_w W samples: zeros for a convolution or
an average, -∞ for a maximum. Then the call's real output is `dense[..., ::s_h, ::s_w]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor

__all__ = ["ConvolutionCall", "Pool", "conv_dense", "pool_dense"]

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class ConvolutionCall:
    """Arguments of a two-dimensional convolution, as ATen takes them."""

    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int


@dataclass(frozen=True, slots=True)
class Pool:
    """Arguments of a two-dimensional maximum or average pooling, as ATen takes them."""

    maximum: bool
    kernel: Pair
    stride: Pair
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    ceil_mode: bool = False
    count_include_pad: bool = True
    divisor: int | None = None


def conv_dense(
    x: Tensor, weight: Tensor, bias: Tensor | None, call: ConvolutionCall, *, size: Pair, channels: Sequence[int]
) -> Tensor:
    """Dense map of a strided convolution.

    Parameters
    ----------
    x
        Input, shape (n, c_in, h, w).
    weight, bias
        Shapes (c_out, c_in / groups, k_h, k_w) and (c_out,).
    call
        The convolution's other arguments.
    size
        (H, W) of its real output.
    channels
        Output channels to keep.

    Returns
    -------
        Shape (n, len(channels), s_h H, s_w W).
    """
    kernel = (weight.shape[2], weight.shape[3])
    x = F.pad(x, _bottom_right(x, kernel, call, size))
    index = torch.tensor(channels, device=x.device, dtype=torch.long)
    groups, every = call.groups, len(channels) == weight.shape[0]
    depthwise = groups > 1 and weight.shape[1] == 1  # each output channel reads one input channel
    if not every and (groups == 1 or depthwise):
        if depthwise:
            x, groups = x[:, index // (weight.shape[0] // groups)], len(channels)
        weight, bias, every = weight[index], None if bias is None else bias[index], True
    dense = F.conv2d(x, weight, bias, 1, call.padding, call.dilation, groups)
    return dense if every else dense[:, index]


def pool_dense(x: Tensor, call: Pool, size: Pair) -> Tensor:
    """Dense map of a strided pooling.

    Parameters
    ----------
    x
        Input, shape (n, c, h, w).
    call
        The pooling's arguments.
    size
        (H, W) of its real output.

    Returns
    -------
        Shape (n, c, s_h H, s_w W). Where the stride exceeds the kernel, the last windows of a maximum may lie outside
        the input altogether; they repeat their neighbours, since -∞ has no spectrum.
    """
    right, bottom = _bottom_right(x, call.kernel, call, size)[1::2]
    (p_h, p_w) = call.padding
    border = (p_w, p_w + right, p_h, p_h + bottom)
    return _max_dense(x, call, border) if call.maximum else _average_dense(x, call, border)


def _max_dense(x: Tensor, call: Pool, border: tuple[int, int, int, int]) -> Tensor:
    padded = F.pad(x, border, value=-torch.inf)
    dense = F.max_pool2d(padded, call.kernel, 1, 0, call.dilation)
    height, width = x.shape[2] + call.padding[0], x.shape[3] + call.padding[1]  # windows that start before the end
    outside_h, outside_w = max(0, dense.shape[2] - height), max(0, dense.shape[3] - width)
    if outside_h or outside_w:
        inside = dense[:, :, : dense.shape[2] - outside_h, : dense.shape[3] - outside_w]
        dense = F.pad(inside, (0, outside_w, 0, outside_h), mode="replicate")
    return dense


def _average_dense(x: Tensor, call: Pool, border: tuple[int, int, int, int]) -> Tensor:
    total = _window_sums(F.pad(x, border), call.kernel)
    if call.divisor is not None:
        return total / call.divisor
    # A sample counts or not: the input always, the operation's own padding if count_include_pad, and what was added
    # at the bottom and right as input does, except where ceil_mode lets a window of the operation reach over the end.
    own, added = float(call.count_include_pad), float(not call.ceil_mode)
    (p_h, p_w) = call.padding
    counts = torch.ones(1, 1, *x.shape[2:], dtype=torch.float32, device=x.device)
    counts = F.pad(counts, (p_w, p_w, p_h, p_h), value=own)
    counts = F.pad(counts, (0, border[1] - p_w, 0, border[3] - p_h), value=added)
    return total / _window_sums(counts, call.kernel).clamp(min=1).to(x.dtype)


def _window_sums(x: Tensor, kernel: Pair) -> Tensor:
    return F.avg_pool2d(x, kernel, 1, divisor_override=1)


def _bottom_right(x: Tensor, kernel: Pair, call: ConvolutionCall | Pool, size: Pair) -> tuple[int, int, int, int]:
    """Return (0, right, 0, bottom): what must be added for s_h H x s_w W windows at stride 1."""
    missing = [
        call.stride[axis] * size[axis]
        - (x.shape[2 + axis] + 2 * call.padding[axis] - call.dilation[axis] * (kernel[axis] - 1))
        for axis in (0, 1)
    ]
    return (0, missing[1], 0, missing[0])
