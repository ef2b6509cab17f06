"""Read calls of ATen's two-dimensional convolutions and poolings: what they are, and their dense maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from filterlens.errors import InputError
from filterlens.tracing.dense import ConvolutionCall, Pair, Pool, conv_dense, pool_dense

__all__ = ["Call", "read_call"]


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a downsampling operation.

    Parameters
    ----------
    operation
        `conv2d`, `max_pool2d` or `avg_pool2d`.
    kind
        `main`, `shortcut` or `pool`.
    kernel, stride
        Height and width.
    groups
        Groups of a convolution; 1 for a pool.
    dense
        Computes the dense map of the given channels.
    """

    operation: str
    kind: str
    kernel: Pair
    stride: Pair
    groups: int
    dense: Callable[[tuple[int, ...]], Tensor]


def read_call(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Call | None:  # noqa: ANN401 - as ATen calls
    """Return the downsampling that an ATen call is, or None where it is none.

    None stands also for a 1x1 output (global pooling) and for transposed or not two-dimensional operations.

    Raises
    ------
    InputError
        An adaptive pooling has no whole stride, or maps come without a batch; the message starts with a verb, for the
        layer's name to be put before it.
    """
    read = _READERS.get(func)
    if read is None:
        return None
    maps: Tensor = output[0] if isinstance(output, tuple) else output
    if maps.dim() < 3 or maps.shape[-1] * maps.shape[-2] == 1:
        return None
    call = read(maps, _by_name(func, args, kwargs))
    if call is None or call.stride == (1, 1):
        return None
    if maps.dim() != 4:
        raise InputError(f"downsamples one map of shape {tuple(maps.shape)} without a batch; give the model a batch")
    return call


def _conv2d(output: Tensor, given: dict[str, Any]) -> Call | None:
    x, weight, bias = given["input"], given["weight"], given["bias"]
    if given["transposed"] or weight.dim() != 4:
        return None
    call = ConvolutionCall(_pair(given["stride"]), _pair(given["padding"]), _pair(given["dilation"]), given["groups"])
    size = (output.shape[2], output.shape[3])
    kernel = (weight.shape[2], weight.shape[3])
    if kernel == (1, 1):
        kind = "shortcut"
    else:
        blur = call.groups == weight.shape[0] > 1 and call.stride != (1, 1) and bool((weight == weight[:1]).all())
        kind = "pool" if blur else "main"

    def dense(channels: tuple[int, ...]) -> Tensor:
        return conv_dense(x, weight, bias, call, size=size, channels=channels)

    return Call("conv2d", kind, kernel, call.stride, call.groups, dense)


def _max_pool2d(output: Tensor, given: dict[str, Any]) -> Call:
    return _pool2d(output, given, maximum=True, dilation=_pair(given["dilation"]))


def _avg_pool2d(output: Tensor, given: dict[str, Any]) -> Call:
    return _pool2d(
        output, given, maximum=False, count_include_pad=given["count_include_pad"], divisor=given["divisor_override"]
    )


def _pool2d(output: Tensor, given: dict[str, Any], **options: Any) -> Call:  # noqa: ANN401 - as `Pool` takes them
    kernel = _pair(given["kernel_size"])
    stride = _pair(given["stride"]) if given["stride"] else kernel
    pool = Pool(kernel=kernel, stride=stride, padding=_pair(given["padding"]), ceil_mode=given["ceil_mode"], **options)
    return _pool_call(given["self"], output, pool)


def _adaptive_avg_pool2d(output: Tensor, given: dict[str, Any]) -> Call | None:
    return _adaptive(output, given["self"], maximum=False)


def _adaptive_max_pool2d(output: Tensor, given: dict[str, Any]) -> Call | None:
    return _adaptive(output, given["self"], maximum=True)


def _adaptive(output: Tensor, x: Tensor, *, maximum: bool) -> Call | None:
    before, after = tuple(x.shape[-2:]), tuple(output.shape[-2:])
    if all(b <= a for b, a in zip(before, after, strict=True)):
        return None
    if any(b % a for b, a in zip(before, after, strict=True)):
        raise InputError(
            f"pools adaptively from {before[0]}x{before[1]} to {after[0]}x{after[1]}: no whole stride, so there is no "
            "dense map; choose an input size for which it is"
        )
    step = (before[0] // after[0], before[1] // after[1])
    return _pool_call(x, output, Pool(maximum=maximum, kernel=step, stride=step))


def _pool_call(x: Tensor, output: Tensor, pool: Pool) -> Call:
    size = (output.shape[-2], output.shape[-1])

    def dense(channels: tuple[int, ...]) -> Tensor:
        return pool_dense(x[:, list(channels)] if len(channels) < x.shape[1] else x, pool, size)

    return Call("max_pool2d" if pool.maximum else "avg_pool2d", "pool", pool.kernel, pool.stride, 1, dense)


_ATEN = torch.ops.aten
_Reader = Callable[[Tensor, dict[str, Any]], Call | None]
_READERS: dict[Any, _Reader] = {
    _ATEN.convolution.default: _conv2d,
    _ATEN.max_pool2d_with_indices.default: _max_pool2d,
    _ATEN.avg_pool2d.default: _avg_pool2d,
    _ATEN._adaptive_avg_pool2d.default: _adaptive_avg_pool2d,
    _ATEN.adaptive_max_pool2d.default: _adaptive_max_pool2d,
}


def _by_name(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401 - an ATen overload
    """Arguments of an ATen call by name, defaults filled in."""
    schema = func._schema.arguments
    given = {argument.name: argument.default_value for argument in schema}
    given.update(zip((argument.name for argument in schema), args, strict=False))
    return given | kwargs


def _pair(values: Sequence[int]) -> Pair:
    """Return (height, width): ATen may hold one number for both."""
    return int(values[0]), int(values[-1])
