"""What pickles of torch name: tensors and what they are made of, rebuilt by functions of ours that check everything."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor, UntypedStorage

from filterlens.pickles import Constructor, PickleError

__all__ = ["Storages", "StoredType", "keep_metadata", "torch_constants", "torch_constructors"]

_DIMENSIONS: Final = 64
#: A tensor may repeat its values (`expand`), a file may not declare without end what it does not hold.
_REPEATED: Final = 1 << 20
_SPARE: Final = 1 << 24
_PLAIN_OF_QUANTISED: Final = {torch.qint8: torch.int8, torch.quint8: torch.uint8, torch.qint32: torch.int32}


@dataclass(frozen=True, slots=True)
class StoredType:
    """The type of a storage's values, as the names of torch's storage classes tell it."""

    dtype: torch.dtype


@dataclass(frozen=True, slots=True)
class _Stored:
    values: UntypedStorage
    dtype: torch.dtype


@dataclass(slots=True)
class Storages:
    """The storages of one file, each handed out once, so that tensors which share one still do.

    Parameters
    ----------
    read
        Returns the bytes of a storage of this key, type and number of values.
    size
        Size of the file in bytes: bounds what its tensors may declare together.
    """

    read: Callable[[str, torch.dtype, int], UntypedStorage]
    size: int
    declared: int = 0
    known: dict[str, tuple[_Stored, int]] = field(default_factory=dict)

    def persistent(self, identifier: object) -> object:
        """Answer a persistent id of torch: a storage, or the class of a module with its source."""
        if not isinstance(identifier, tuple) or not identifier:
            raise PickleError("it refers to something that is no storage")
        kind, *parts = identifier
        if kind == "module" and type(kind) is str and len(parts) == 3:
            return parts[0]
        if type(kind) is not str or kind != "storage" or len(parts) not in {4, 5}:
            raise PickleError("it refers to something that is no storage")
        stored = self._storage(*parts[:4])
        return stored if len(parts) == 4 or parts[4] is None else self._view(stored, parts[4])

    def _storage(self, kind: object, key: object, _location: object, numel: object) -> _Stored:
        if not isinstance(kind, StoredType) or type(key) is not str or type(numel) is not int or numel < 0:
            raise PickleError("a storage has no type, name or size")
        found = self.known.get(key)
        if found is None:
            found = _Stored(self.read(key, kind.dtype, numel), kind.dtype), numel
            self.known[key] = found
        if found[0].dtype != kind.dtype or found[1] != numel:
            raise PickleError(f"the storage {key[:100]!r} has two types or sizes")
        return found[0]

    def _view(self, stored: _Stored, view: object) -> _Stored:
        """Cut a part out of a storage, as torch wrote them before 0.4."""
        if not isinstance(view, tuple) or len(view) != 3:
            raise PickleError("a view of a storage is damaged")
        _, offset, numel = view
        item = stored.dtype.itemsize
        if not (_is_size(offset) and _is_size(numel)) or (offset + numel) * item > stored.values.nbytes():
            raise PickleError("a view of a storage lies outside it")
        return _Stored(stored.values[offset * item : (offset + numel) * item], stored.dtype)

    def tensor(self, stored: object, offset: object, size: object, stride: object, *rest: object) -> Tensor:
        """Rebuild a tensor, in torch's first and second form."""
        if not isinstance(stored, _Stored):
            raise PickleError("a tensor has no storage")
        return self._laid(stored, offset, size, stride, rest[2] if len(rest) > 2 else None)

    def typed_tensor(self, stored: object, offset: object, size: object, stride: object, *rest: object) -> Tensor:
        """Rebuild a tensor that says its type, in torch's third form."""
        _, _, dtype, metadata = rest if len(rest) == 4 else (*rest, None)
        if not isinstance(stored, _Stored) or not isinstance(dtype, torch.dtype):
            raise PickleError("a tensor has no storage or type")
        return self._laid(_Stored(stored.values, dtype), offset, size, stride, metadata)

    def quantised(
        self, stored: object, offset: object, size: object, stride: object, parameters: object, *_rest: object
    ) -> Tensor:
        """Rebuild a quantised tensor, which is then refused by its layer's name."""
        if not isinstance(stored, _Stored) or stored.dtype not in _PLAIN_OF_QUANTISED:
            raise PickleError("a quantised tensor has no storage")
        plain = self._laid(_Stored(stored.values, _PLAIN_OF_QUANTISED[stored.dtype]), offset, size, stride)
        match parameters:
            case (torch.per_tensor_affine, float(scale), int(zero)):
                return torch._make_per_tensor_quantized_tensor(plain, scale, zero)
            case (torch.per_channel_affine, Tensor() as scales, Tensor() as zeros, int(axis)) if (
                0 <= axis < plain.ndim and scales.shape == zeros.shape == plain.shape[axis : axis + 1]
            ):
                return torch._make_per_channel_quantized_tensor(plain, scales, zeros, axis)
        raise PickleError("a tensor is quantised in a way that is not read")

    def sparse(self, layout: object, data: object) -> Tensor:
        """Rebuild a sparse tensor, which is then refused by its layer's name."""
        if layout is not torch.sparse_coo or not isinstance(data, tuple) or len(data) not in {3, 4}:
            raise PickleError("a tensor is sparse in a way that is not read")
        indices, values, size = data[:3]
        if not (isinstance(indices, Tensor) and isinstance(values, Tensor)):
            raise PickleError("a sparse tensor has no values")
        return torch.sparse_coo_tensor(indices, values, torch.Size(_sizes(size)), check_invariants=True)

    def without_data(self, dtype: object, size: object, stride: object, *_rest: object) -> Tensor:
        """Rebuild a tensor of the meta device, which is then refused by its layer's name."""
        if not isinstance(dtype, torch.dtype):
            raise PickleError("a tensor has no type")
        return torch.empty_strided(_sizes(size), _sizes(stride), dtype=dtype, device="meta")

    def _laid(self, stored: _Stored, offset: object, size: object, stride: object, metadata: object = None) -> Tensor:
        """Lay a tensor over a storage, within its bounds."""
        values, dtype = stored.values, stored.dtype
        shape, steps = _sizes(size), _sizes(stride)
        if len(shape) != len(steps) or not _is_size(offset):
            raise PickleError("a tensor's shape and stride do not belong together")
        numel = 1
        for length in shape:
            numel *= length
        held = values.nbytes() // dtype.itemsize
        last = offset + sum((length - 1) * step for length, step in zip(shape, steps, strict=True))  # type: ignore[operator]
        self.declared += numel * dtype.itemsize
        if numel and (last >= held or numel > max(held, _REPEATED)):
            raise PickleError(f"a tensor of shape {shape} is declared over fewer stored values")
        if self.declared > 8 * self.size + _SPARE:
            raise PickleError(f"it declares more values than its {self.size} bytes can hold")
        tensor = torch.empty((0,), dtype=dtype)
        if numel or offset == 0:  # torch takes no offset behind an empty storage
            tensor.set_(values, offset if numel else 0, shape, steps)  # type: ignore[call-overload]
        else:
            tensor = tensor.new_empty(shape)
        return _with_bits(tensor, metadata)


def _with_bits(tensor: Tensor, metadata: object) -> Tensor:
    """Set the bits by which torch conjugates or negates without writing."""
    if not metadata:
        return tensor
    if not isinstance(metadata, dict) or not all(
        key in {"conj", "neg"} and isinstance(value, bool) for key, value in metadata.items()
    ):
        raise PickleError("a tensor has metadata that are not known")
    if metadata.get("conj"):
        tensor = tensor.conj()
    return torch._neg_view(tensor) if metadata.get("neg") else tensor


def _is_size(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 62


def _sizes(values: object) -> tuple[int, ...]:
    """Check a shape or a stride."""
    if not isinstance(values, tuple | list) or len(values) > _DIMENSIONS:
        raise PickleError("a tensor's shape is none")
    if not all(map(_is_size, values)):
        raise PickleError("a tensor's shape holds something else than sizes")
    return tuple(values)


def _plain(tensor: object, *_rest: object) -> Tensor:
    """Drop what makes a parameter of a tensor: its hooks and its attributes."""
    if not isinstance(tensor, Tensor):
        raise PickleError("a parameter holds no tensor")
    return tensor


def _subclass(rebuild: object, _kind: object, values: object, _state: object) -> object:
    """Rebuild a tensor's subclass as the plain tensor underneath."""
    if not isinstance(rebuild, Constructor) or not rebuild.name.startswith("torch._utils._rebuild_"):
        raise PickleError("a tensor's subclass cannot be rebuilt")
    if not isinstance(values, tuple):
        raise PickleError("a tensor's subclass has no values")
    return rebuild.function(*values)


def _size(values: object = ()) -> torch.Size:
    return torch.Size(_sizes(values))


def _device(name: object, index: object = None) -> torch.device:
    if type(name) is not str or len(name) > 40 or not (index is None or type(index) is int):
        raise PickleError("a device has no name")
    return torch.device(name) if index is None else torch.device(name, index)


def _layout(name: object) -> torch.layout:
    layout: torch.layout | None = next((layout for _, layout in _constants(torch.layout) if str(layout) == name), None)
    if layout is None:
        raise PickleError("a tensor's layout is not known")
    return layout


def _class_only(*_values: object) -> None:
    raise PickleError("a tensor is made without a storage")


def _constants(kind: type) -> Iterator[tuple[str, Any]]:
    return ((f"torch.{name}", value) for name, value in vars(torch).items() if isinstance(value, kind))


def _stored_types() -> dict[str, StoredType]:
    names: dict[torch.dtype, str] = torch.storage._dtype_to_storage_type_map()
    known = {
        f"{module}.{name}": StoredType(dtype) for dtype, name in names.items() for module in ("torch", "torch.cuda")
    }
    return known | {f"{module}.UntypedStorage": StoredType(torch.uint8) for module in ("torch", "torch.storage")}


_CONSTANTS: Final[dict[str, object]] = {
    **dict(_constants(torch.dtype)),
    **dict(_constants(torch.layout)),
    **dict(_constants(torch.memory_format)),
    **dict(_constants(torch.qscheme)),
    **_stored_types(),
}


def torch_constants() -> dict[str, object]:
    """Answer the names of torch's types, and no others."""
    return _CONSTANTS


def torch_constructors(storages: Storages) -> dict[str, object]:
    """Answer the names of torch's pickles, for `read_pickle`."""
    return _CONSTANTS | {
        "torch._utils._rebuild_tensor": storages.tensor,
        "torch._utils._rebuild_tensor_v2": storages.tensor,
        "torch._utils._rebuild_tensor_v3": storages.typed_tensor,
        "torch._utils._rebuild_qtensor": storages.quantised,
        "torch._utils._rebuild_sparse_tensor": storages.sparse,
        "torch._utils._rebuild_meta_tensor_no_storage": storages.without_data,
        "torch._utils._rebuild_device_tensor_from_cpu_tensor": _plain,
        "torch._utils._rebuild_parameter": _plain,
        "torch._utils._rebuild_parameter_with_state": _plain,
        "torch.nn.parameter.Parameter": _plain,
        "torch._tensor._rebuild_from_type_v2": _subclass,
        "torch.Tensor": _class_only,
        "torch.Size": _size,
        "torch.device": _device,
        "torch.serialization._get_layout": _layout,
    }


def keep_metadata(target: object, state: object) -> None:
    """Keep the versions of its layers with a state dict, by which torch reads old ones; drop all other state."""
    if isinstance(target, OrderedDict) and isinstance(state, dict):
        versions = state.get("_metadata")
        if isinstance(versions, dict) and all(isinstance(value, dict) for value in versions.values()):
            target.__dict__["_metadata"] = versions
