"""What a network's first convolution puts out, with the normalisation and activation that follow it directly.

Operations are seen where PyTorch dispatches them to ATen: modules, functions and ONNX nodes alike, with the input as
the network normalises it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from filterlens.tracing.dispatch import Watching
from filterlens.tracing.modes import in_eval_mode
from filterlens.tracing.names import Stack, layer_name, module_stack

__all__ = ["FirstStage", "first_stage"]

_ATEN = torch.ops.aten
_NORMALISATIONS = {
    "batch_norm", "native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm", "miopen_batch_norm",
    "_batch_norm_no_update", "_batch_norm_with_update", "_native_batch_norm_legit", "native_group_norm",
    "native_layer_norm",
}  # fmt: skip
_ACTIVATIONS = {
    "relu", "relu_", "leaky_relu", "leaky_relu_", "hardtanh", "hardtanh_", "clamp", "clamp_", "clamp_min", "clamp_min_",
    "silu", "silu_", "gelu", "elu", "elu_", "softplus", "hardswish", "hardswish_", "mish", "mish_", "sigmoid",
    "sigmoid_", "tanh", "tanh_", "_prelu_kernel",
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class FirstStage:
    """The first convolution's output, as the rest of the network gets it.

    Parameters
    ----------
    layer
        The convolution's name within the network.
    operations
        What ran: `conv2d`, then a normalisation and an activation where they follow it directly.
    weight
        That the convolution used, shape (c_out, c_in / groups, k_h, k_w).
    activation
        Shape (n, c_out, h, w).
    """

    layer: str
    operations: tuple[str, ...]
    weight: Tensor
    activation: Tensor


def first_stage(classifier: nn.Module, images: Tensor, *, network: nn.Module | None = None) -> FirstStage | None:
    """Run a model on images and return what its first stage puts out; None where it has no convolution.

    Parameters
    ----------
    classifier
        What is run, without gradients and in eval mode; left as it was.
    images
        As the classifier takes them, shape (n, channels, height, width).
    network
        The part of it whose layers' names are used; all of it where None.

    Returns
    -------
        The first two-dimensional convolution that runs. An operation follows directly where it is the first to take
        the output that is there: what a residual connection takes besides does not matter.
    """
    with module_stack(classifier if network is None else network) as stack, in_eval_mode(classifier), torch.no_grad():
        watch = _Watch(stack)
        with watch:
            classifier(images)
    return watch.found()


class _Watch(Watching):
    """Follows the first convolution's output to its first consumer, and that one's to its own."""

    def __init__(self, stack: Stack) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._stack = stack
        self._layer = ""
        self._weight: Tensor | None = None
        self._latest: Tensor | None = None  # what the next operation has to take
        self._kept: Tensor | None = None  # its values: later operations may work in place
        self._operations: list[str] = []
        self._open = True

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401 - any ATen overload passes through
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - and whatever it returns
        takes = self._open and self._takes(args)  # before it may write to it
        result = func(*args, **(kwargs or {}))
        if not self._open:
            return result
        output = result[0] if isinstance(result, tuple | list) else result
        if self._latest is None:
            if func is _ATEN.convolution.default and args[1].dim() == 4 and not args[6]:
                self._layer, self._weight = layer_name(self._stack, "conv2d"), args[1].detach().clone()
                self._keep("conv2d", output)
        elif takes and not (isinstance(output, Tensor) and _same(output, self._latest) and not _writes(func)):
            self._follow(func.overloadpacket.__name__, output)
        return result

    def found(self) -> FirstStage | None:
        if self._kept is None or self._weight is None:
            return None
        return FirstStage(self._layer, tuple(self._operations), self._weight, self._kept)

    def _follow(self, name: str, output: Any) -> None:  # noqa: ANN401 - whatever an operation returns
        normalises = name in _NORMALISATIONS and len(self._operations) == 1
        if normalises or name in _ACTIVATIONS:
            self._keep(name.strip("_"), output)
            self._open = normalises
        else:
            self._open = False

    def _keep(self, name: str, output: Tensor) -> None:
        self._operations.append(name)
        self._latest, self._kept = output, output.detach().clone()

    def _takes(self, args: tuple[Any, ...]) -> bool:
        latest = self._latest
        return latest is not None and any(_same(a, latest) for a in tree_leaves(args) if isinstance(a, Tensor))


def _same(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are the same numbers at the same place, `detach` and other views of the whole included."""
    return a is b or (a.data_ptr() == b.data_ptr() and a.shape == b.shape and a.stride() == b.stride())


def _writes(func: Any) -> bool:  # noqa: ANN401 - an ATen overload
    return any(argument.alias_info is not None and argument.alias_info.is_write for argument in func._schema.arguments)
