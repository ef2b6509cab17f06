"""Where each convolution stands in the forward graph, from one traced forward pass.

A tensor's depth is the number of convolutions on the longest path to it from the input. It follows the data
through every ATen call by the tensors' storages, so that views and in-place operations need no special care.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from filterlens.tracing.dispatch import Watching
from filterlens.tracing.modes import in_eval_mode

__all__ = ["Trace", "example_sizes", "trace", "trace_first"]

_ATEN = torch.ops.aten
_CONVOLUTIONS = {
    _ATEN.convolution.default,
    _ATEN._convolution.default,
    _ATEN.conv2d.default,
    _ATEN.conv2d.padding,
}


@dataclass(slots=True)
class Trace:
    """What one forward pass shows of its convolutions.

    Parameters
    ----------
    places
        Place in the forward graph by layer name, 0 for a convolution that sees the input; convolutions that can run
        side by side share one. A layer that is called again keeps its first place; one that is not called has none.
    norms
        Name of the BatchNorm that a convolution's output goes into, unchanged, at every call.
    """

    places: dict[str, int] = field(default_factory=dict)
    norms: dict[str, str] = field(default_factory=dict)

    @property
    def deepest(self) -> int:
        """The last place."""
        return max(self.places.values(), default=0)


def trace(network: nn.Module, example: Tensor) -> Trace:
    """Run the network once, without gradients and in eval mode, and follow depth through it.

    Parameters
    ----------
    network
        Left exactly as it was: modes, hooks and random state.
    example
        A batch that it takes, shape (n, channels, height, width), on its device.

    Returns
    -------
        Places count every two-dimensional convolution of any kernel size, module or function; transposed ones do not
        count.

    Raises
    ------
    Exception
        Whatever the network raises at this input.
    """
    recorder = _Recorder(network)
    cuda = [example.device] if example.device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda), in_eval_mode(network), recorder.hooks(), torch.no_grad(), recorder:
        network(example)
    return recorder.result()


def trace_first(network: nn.Module, sizes: Iterable[tuple[int, ...]]) -> Trace | None:
    """Trace at the first of several input sizes that the network takes; None where it takes none of them."""
    parameter = next((p for p in network.parameters() if p.is_floating_point()), None)
    if parameter is None:
        return None
    generator = torch.Generator().manual_seed(0)
    for size in sizes:
        example = torch.rand((1, *size), generator=generator).to(parameter.device, parameter.dtype)
        try:
            found = trace(network, example)
        except Exception:  # noqa: BLE001, S112 - a network raises anything at a size that is not its own
            continue
        if found.places:
            return found
    return None


def example_sizes(network: nn.Module, input_size: tuple[int, int, int] | None) -> list[tuple[int, ...]]:
    """Return input sizes worth trying, the known one first; channels as the first convolution wants them."""
    first = next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)
    channels = 3 if first is None else first.in_channels
    usual: list[tuple[int, ...]] = [(channels, 32, 32), (channels, 64, 64), (channels, 224, 224), (channels, 28, 28)]
    return usual if input_size is None else [input_size, *(size for size in usual if size != input_size)]


class _Recorder(Watching):
    """Follows depth by storage, and convolutions by the module that is running or by the weight that they use."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._convolutions = {m: name for name, m in network.named_modules() if isinstance(m, nn.Conv2d)}
        self._norms = {m: name for name, m in network.named_modules() if isinstance(m, _BatchNorm)}
        self._owners: dict[Any, str] = {
            m._parameters["weight"]: name for m, name in self._convolutions.items() if _plain_weight(m)
        }
        self._depths: dict[int, tuple[StorageWeakRef, int]] = {}  # a weak reference keeps its address from reuse
        self._running: list[str] = []
        self._outputs = WeakTensorKeyDictionary()
        self._followers: dict[str, list[str]] = {}
        self._calls: dict[str, int] = {}
        self._places: dict[str, int] = {}

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401 - any ATen overload passes through
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - and whatever it returns
        result = func(*args, **(kwargs or {}))
        inputs = _tensors((args, kwargs))
        depth = max(map(self._depth, inputs), default=0)
        if func in _CONVOLUTIONS and inputs[1].dim() == 4 and not _is_transposed(func, args):
            layer = self._running[-1] if self._running else self._owners.get(inputs[1])
            if layer is not None:
                self._places.setdefault(layer, depth)
            depth += 1
        for tensor in (*_tensors(result), *_written(func, args)):
            self._deepen(tensor, depth)
        return result

    @contextmanager
    def hooks(self) -> Iterator[None]:
        """Know which convolution is running, and what becomes of its output, until the block ends."""
        handles = []
        for module, name in self._convolutions.items():
            handles.append(module.register_forward_pre_hook(self._enter(name)))
            handles.append(module.register_forward_hook(self._leave(name)))
        for norm, name in self._norms.items():
            handles.append(norm.register_forward_pre_hook(self._normalise(name)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def result(self) -> Trace:
        """Return what was seen."""
        norms = {
            layer: names[0]
            for layer, names in self._followers.items()
            if set(names) == {names[0]} and len(names) == self._calls[layer]
        }
        return Trace(self._places, norms)

    def _enter(self, name: str) -> Callable[[nn.Module, Any], None]:
        def hook(_module: nn.Module, _inputs: Any) -> None:  # noqa: ANN401 - as torch calls hooks
            self._running.append(name)

        return hook

    def _leave(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:  # noqa: ANN401 - as torch calls hooks
            self._running.pop()
            self._calls[name] = self._calls.get(name, 0) + 1
            if isinstance(output, Tensor):
                self._outputs[output] = (name, output._version)

        return hook

    def _normalise(self, name: str) -> Callable[[nn.Module, Any], None]:
        def hook(_module: nn.Module, inputs: Any) -> None:  # noqa: ANN401 - as torch calls hooks
            for tensor in _tensors(inputs):
                layer, version = self._outputs.get(tensor, ("", -1))
                if version == tensor._version:
                    self._followers.setdefault(layer, []).append(name)

        return hook

    def _depth(self, tensor: Tensor) -> int:
        return self._depths.get(tensor.untyped_storage()._cdata, (None, 0))[1]

    def _deepen(self, tensor: Tensor, depth: int) -> None:
        storage = tensor.untyped_storage()
        if depth > self._depth(tensor):
            self._depths[storage._cdata] = (StorageWeakRef(storage), depth)


def _plain_weight(module: nn.Module) -> bool:
    return isinstance(module._parameters.get("weight"), Tensor)


def _tensors(tree: Any) -> list[Tensor]:  # noqa: ANN401 - any nesting of arguments
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _is_transposed(func: Any, args: tuple[Any, ...]) -> bool:  # noqa: ANN401 - an ATen overload
    return func in {_ATEN.convolution.default, _ATEN._convolution.default} and bool(args[6])


def _written(func: Any, args: tuple[Any, ...]) -> list[Tensor]:  # noqa: ANN401 - an ATen overload
    """Arguments that an ATen call writes to."""
    flags = [argument.alias_info is not None and argument.alias_info.is_write for argument in func._schema.arguments]
    return _tensors([value for value, writes in zip(args, flags, strict=False) if writes])
