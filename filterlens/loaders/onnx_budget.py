"""What running operations that a file chose may take: counted before any of it is allocated or computed."""

from __future__ import annotations

import math
import os
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from filterlens.errors import CheckpointError

__all__ = ["MemoryBudget", "OverBudgetError", "forward_budget"]

_BYTES_PER_IMAGE: Final = 1 << 30
_WORK_PER_IMAGE: Final = 2 * 10**11
_ATEN: Final = torch.ops.aten
_CONVOLUTIONS: Final = {_ATEN.convolution, _ATEN._convolution, _ATEN.conv2d}
_PRODUCTS: Final = {_ATEN.mm: 0, _ATEN.bmm: 0, _ATEN.matmul: 0, _ATEN.linear: 0, _ATEN.addmm: 1, _ATEN.baddbmm: 1}
_NORMALISATIONS: Final = {_ATEN.native_batch_norm, _ATEN.cudnn_batch_norm, _ATEN._native_batch_norm_legit_no_training}


class OverBudgetError(CheckpointError, RuntimeError):
    """Operations ask for more memory or time than their network may take; also a way for a forward pass to fail."""


class MemoryBudget(TorchDispatchMode):
    """Refuse an operation before it runs where the budget does not hold what it makes.

    Every ATen call that makes something new first runs on tensors without data, which tells the sizes of its results.

    Parameters
    ----------
    most_bytes
        That may be held at a time.
    most_work
        Multiplications and additions, by the shapes of what is multiplied.
    what
        Begins the message.

    Attributes
    ----------
    held
        Bytes that are held: grows by what is made, and is set anew by the caller, who knows what was freed.
    """

    def __init__(self, most_bytes: int, most_work: int, what: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.held = 0
        self._work = 0
        self._known: dict[str, tuple[int, int]] = {}
        self._most_bytes, self._most_work, self._what = most_bytes, most_work, what

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # wrapping against torch's compiler would load it

    def __torch_dispatch__(  # torch's own signature
        self,
        func: Any,  # noqa: ANN401
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        self._admit(func, args, kwargs or {})
        return func(*args, **(kwargs or {}))

    def _admit(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:  # noqa: ANN401 - an ATen overload
        if all(result.alias_info is not None for result in func._schema.returns):
            return  # views, and what writes into its argument
        call = repr((func, tree_map(_signature, (args, kwargs))))
        if call not in self._known:
            self._known[call] = _demand(func, args, kwargs)
        size, work = self._known[call]
        self.held += size
        self._work += work
        if self.held > self._most_bytes:
            raise OverBudgetError(
                f"{self._what} needs {self.held / 1e9:,.1f} GB of memory at {func._schema.name.split('::')[-1]} "
                f"where {self._most_bytes / 1e9:,.1f} GB are allowed: it is damaged or hostile"
            )
        if self._work > self._most_work:
            raise OverBudgetError(
                f"{self._what} needs {self._work:.1e} multiplications where {self._most_work:.1e} are allowed: "
                "it is damaged or hostile"
            )


def forward_budget(images: int) -> MemoryBudget:
    """Return what one forward pass may take: 1 GiB and 2·10¹¹ multiplications an image, and half the memory."""
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 1 << 34
    count = max(images, 1)
    return MemoryBudget(
        min(count * _BYTES_PER_IMAGE, physical // 2), count * _WORK_PER_IMAGE, "this network's forward pass"
    )


def _demand(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[int, int]:  # noqa: ANN401 - an ATen overload
    """Bytes and multiplications of one call, from the shapes and settings of its arguments."""
    given = _tensors((args, kwargs))
    if torch.Tag.pointwise in func.tags and given:  # torch's own rules for these are slow
        elements = math.prod(_broadcast([tensor.shape for tensor in given]))
        return elements * max(tensor.element_size() for tensor in given), elements
    if func.overloadpacket in _NORMALISATIONS:
        return args[0].nbytes, args[0].numel()
    # modes outside of this one must not take the rehearsal for the run
    with torch._C._DisableTorchDispatch(), torch.no_grad():
        inputs, options = tree_map(_without_data, (args, kwargs))
        if any(argument.name == "device" for argument in func._schema.arguments):
            options["device"] = torch.device("meta")
        try:
            made = _tensors(func(*inputs, **options))
        except (RuntimeError, TypeError, ValueError, IndexError):
            return 0, 0  # sizes that depend on data are no larger than the data, and what is wrong fails when it runs
    old = {tensor.untyped_storage()._cdata for tensor in _tensors((inputs, options))}
    new = {storage._cdata: storage.nbytes() for storage in (tensor.untyped_storage() for tensor in made)}
    return sum(size for key, size in new.items() if key not in old), _work(func, args, made)


def _signature(value: Any) -> Any:  # noqa: ANN401 - any leaf of an ATen call's arguments
    return (tuple(value.shape), value.stride(), value.dtype) if isinstance(value, Tensor) else value


def _broadcast(shapes: list[torch.Size]) -> list[int]:
    """Shape of what is computed element by element."""
    longest = max(map(len, shapes))
    padded = [(1,) * (longest - len(shape)) + tuple(shape) for shape in shapes]
    return [max(lengths) if 0 not in lengths else 0 for lengths in zip(*padded, strict=True)]


def _without_data(value: Any) -> Any:  # noqa: ANN401 - any leaf of an ATen call's arguments
    if not isinstance(value, Tensor):
        return value
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")


def _tensors(tree: Any) -> list[Tensor]:  # noqa: ANN401 - any nesting of arguments
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _work(func: Any, args: tuple[Any, ...], made: list[Tensor]) -> int:  # noqa: ANN401 - an ATen overload
    """Multiplications of one call: elements of its result times what each is summed over."""
    elements: int = sum(tensor.numel() for tensor in made)
    packet = func.overloadpacket
    if packet in _CONVOLUTIONS:
        weight = args[1]
        return int(max(elements, args[0].numel()) * (weight.numel() // max(weight.shape[0], 1)))
    if packet in _PRODUCTS:
        return elements * int(args[_PRODUCTS[packet]].shape[-1])
    if "pool" in func._schema.name and len(args) > 1 and isinstance(args[1], list | tuple):
        return elements * int(math.prod(args[1]))
    return elements
