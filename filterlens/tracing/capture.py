"""Find every downsampling operation that a forward pass runs, module or functional, and make its dense map.

Operations are seen where PyTorch dispatches them to ATen, so that it does not matter how a model spells them. The dense
map's subsampling is compared with the operation's real output on every call.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from filterlens.errors import InputError
from filterlens.tracing.aten import Call, read_call
from filterlens.tracing.dense import Pair
from filterlens.tracing.dispatch import Watching
from filterlens.tracing.names import Stack, layer_name, module_stack

__all__ = ["Downsampling", "capture_downsampling"]

_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}
_TF32_TOLERANCE = 1e-2


@dataclass(frozen=True, slots=True, eq=False)
class Downsampling:
    """One captured call.

    Parameters
    ----------
    layer
        The module's name within the network; a call that a container makes itself carries the operation's name behind
        it (`avg_pool2d`, `layer1.0.max_pool2d`), and a module's second call is `name#2`.
    operation
        `conv2d`, `max_pool2d` or `avg_pool2d`.
    kind
        `main` (kernel larger than 1x1), `shortcut` (1x1) or `pool` (also a convolution with one fixed filter for all
        channels: a blur pool).
    kernel, stride
        Height and width.
    groups
        Groups of a convolution; 1 for a pool.
    n_channels
        How many channels the operation's output has.
    channels
        Which of them were kept.
    dense
        Shape (n, len(channels), s_h H, s_w W), in the operation's dtype.
    """

    layer: str
    operation: str
    kind: str
    kernel: Pair
    stride: Pair
    groups: int
    n_channels: int
    channels: tuple[int, ...]
    dense: Tensor


Receive = Callable[[Downsampling], None]
Choose = Callable[[str, int], Sequence[int]]


def every_channel(layer: str, n_channels: int) -> Sequence[int]:
    """Keep all channels."""
    return range(n_channels)


@contextmanager
def capture_downsampling(network: nn.Module, receive: Receive, *, choose: Choose = every_channel) -> Iterator[None]:
    """Hand the dense map of every downsampling operation to `receive` while the block runs one forward pass.

    Left out: operations with a 1x1 output (global pooling), transposed and not two-dimensional ones, and slicing
    (patch merging), which has no dense map. The network is as it was after the block, also after an exception.

    Parameters
    ----------
    network
        Whose layers' names are used; it may run inside a larger model.
    receive
        Called once a downsampling call, in execution order, without gradients.
    choose
        Called with a layer's name and its number of channels; returns the channels to keep.

    Raises
    ------
    InputError
        A dense map does not subsample to the operation's output, or an adaptive pooling has no whole stride; the
        message names the layer.
    """
    with module_stack(network) as stack, _Watch(stack, receive, choose):
        yield


class _Watch(Watching):
    def __init__(self, stack: Stack, receive: Receive, choose: Choose) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._stack, self._receive, self._choose = stack, receive, choose
        self._calls: Counter[str] = Counter()

    def __torch_dispatch__(  # torch's own signature
        self,
        func: Any,  # noqa: ANN401
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        output = func(*args, **(kwargs or {}))
        with torch.no_grad():
            try:
                call = read_call(func, args, kwargs or {}, output)
            except InputError as error:
                raise InputError(f"{layer_name(self._stack, func.__name__.split('.')[0])} {error}") from error
            if call is not None:
                self._take(call, output[0] if isinstance(output, tuple) else output)
        return output

    def _take(self, call: Call, output: Tensor) -> None:
        layer = layer_name(self._stack, call.operation)
        self._calls[layer] += 1
        if self._calls[layer] > 1:
            layer = f"{layer}#{self._calls[layer]}"
        n_channels = output.shape[1]
        channels = tuple(int(channel) for channel in self._choose(layer, n_channels))
        dense = call.dense(channels)
        _check(layer, call, dense, output if len(channels) == n_channels else output[:, list(channels)])
        facts = (call.operation, call.kind, call.kernel, call.stride, call.groups)
        self._receive(Downsampling(layer, *facts, n_channels, channels, dense))


def _check(layer: str, call: Call, dense: Tensor, output: Tensor) -> None:
    expected = (output.shape[2] * call.stride[0], output.shape[3] * call.stride[1])
    found = tuple(dense.shape[2:])
    if found != expected:
        raise InputError(
            f"{layer}: the dense map of this {call.operation} is {found[0]}x{found[1]}, but its output times its "
            f"stride is {expected[0]}x{expected[1]}; please report it"
        )
    sampled = dense[:, :, :: call.stride[0], :: call.stride[1]]
    tolerance = _TOLERANCE.get(output.dtype, 1e-4)
    if output.is_cuda and torch.backends.cudnn.allow_tf32:
        tolerance = max(tolerance, _TF32_TOLERANCE)
    largest, worst = float(output.abs().amax()), float((sampled - output).abs_().amax())
    if worst <= tolerance * largest:
        return
    if torch.allclose(sampled, output, rtol=tolerance, atol=0, equal_nan=True):
        return  # the same NaN and Inf on both sides: the scores will tell
    raise InputError(
        f"{layer}: the dense map of this {call.operation} (kernel {call.kernel}, stride {call.stride}) does not "
        f"subsample to its output: largest difference {worst:g}, largest output {largest:g}; please report it"
    )
