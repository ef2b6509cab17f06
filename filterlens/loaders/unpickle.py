"""Read a pickled checkpoint without running anything that it names.

Unpickling is a small stack machine that may call whatever it can name. Here every name is answered by an inert
class that takes any arguments, keeps them, and does nothing; only what rebuilds a tensor from bytes and the plain
containers are real. None of the answers is an object of the process: a file that assigns to what it was given
changes nothing outside.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, Final

import torch
from torch import Tensor

__all__ = ["Inert", "InertPickle"]


class Inert:
    """What stands for an object that a checkpoint names and that is not rebuilt.

    Parameters
    ----------
    name
        On its class: the name it stands for.
    state
        What the file would have set: a mapping of attributes, or anything.
    items
        Key-value pairs, for a subclass of a dictionary.
    """

    name = ""
    # torch asks a legacy file's modules for it before it would write a patch file
    dump_patches = False
    __slots__ = ("items", "state")

    state: object
    items: dict[object, object]

    def __new__(cls, *_args: object, **_keywords: object) -> Inert:
        """Take anything."""
        made = super().__new__(cls)
        made.state = None
        made.items = {}
        return made

    def __init__(self, *_args: object, **_keywords: object) -> None:
        """Take anything."""

    def __call__(self, *_args: object, **_keywords: object) -> Inert:
        """Do nothing."""
        return type(self)()

    def __setstate__(self, state: object) -> None:
        """Keep what the file would have set."""
        self.state = state

    def __setitem__(self, key: object, value: object) -> None:
        """Keep what the file would have stored."""
        self.items[key] = value

    def append(self, _item: object) -> None:
        """Drop an element of a list's subclass."""

    def extend(self, _items: Iterable[object]) -> None:
        """Drop elements of a list's subclass."""

    def add(self, _item: object) -> None:
        """Drop an element of a set's subclass."""


class _Call:
    """A callable of ours that a file may call and may not change."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., object]) -> None:
        self._function = function

    def __call__(self, *args: object) -> object:
        return self._function(*args)

    def __setstate__(self, _state: object) -> None:
        """Ignore what a file would set on a function."""


def _tensor(storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_rest: object) -> Tensor:  # noqa: ANN401 - torch's own storages are untyped
    """Lay a tensor over a storage; torch refuses what lies outside it."""
    tensor: Tensor = torch._utils._rebuild_tensor(storage, offset, tuple(size), tuple(stride))  # type: ignore[no-untyped-call]
    if tensor.numel() > max(tensor.untyped_storage().nbytes() // max(tensor.element_size(), 1), 1 << 20):
        raise pickle.UnpicklingError(f"a tensor of shape {tuple(size)} is declared over fewer stored values")
    return tensor


def _plain(tensor: object, *_rest: object) -> Tensor:
    """Drop what makes a parameter of a tensor: its hooks and its attributes."""
    if not isinstance(tensor, Tensor):
        raise pickle.UnpicklingError("a parameter holds no tensor")
    return tensor


def _subclass(rebuild: object, _kind: object, args: tuple[object, ...], _state: object) -> object:
    """Rebuild a tensor's subclass as the plain tensor underneath."""
    if not isinstance(rebuild, _Call):
        raise pickle.UnpicklingError("a tensor's subclass cannot be rebuilt")
    return rebuild(*args)


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """Read bytes as pickle's second protocol writes them."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes are encoded as {encoding!r}")
    return text.encode("latin1")


_CALLS: Final[dict[str, Callable[..., object]]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _plain,
    "torch._utils._rebuild_parameter_with_state": _plain,
    "torch.nn.parameter.Parameter": _plain,
    "torch._tensor._rebuild_from_type_v2": _subclass,
    "_codecs.encode": _encode,
    "torch.Size": tuple,
}
_CONTAINERS: Final[dict[str, type]] = {
    "collections.OrderedDict": OrderedDict,
    "builtins.dict": dict,
    "builtins.list": list,
    "builtins.tuple": tuple,
    "builtins.set": set,
    "builtins.frozenset": frozenset,
    "builtins.complex": complex,
    "__builtin__.set": set,
    "__builtin__.dict": dict,
}


class InertPickle:
    """Stands in for the module `pickle` in `torch.load(..., pickle_module=…)`.

    One object reads one file; `names` then lists what that file wanted and did not get.
    """

    UnpicklingError = pickle.UnpicklingError
    __name__ = "filterlens.loaders.unpickle"

    def __init__(self) -> None:
        self.names: set[str] = set()
        outer = self
        classes: dict[str, type[Inert]] = {}

        class Unpickler(pickle.Unpickler):
            def find_class(self, module: str, name: str, /) -> Any:  # noqa: ANN401 - pickle's own signature
                full = f"{module}.{name}"
                if full in _CONTAINERS:
                    return _CONTAINERS[full]
                if full in _CALLS:
                    return _Call(_CALLS[full])
                if module == "torch" and isinstance(dtype := getattr(torch, name, None), torch.dtype):
                    return dtype
                outer.names.add(full)
                return classes.setdefault(full, type("Inert", (Inert,), {"name": full, "__slots__": ()}))

        self.Unpickler = Unpickler

    def load(self, file: Any, **keywords: Any) -> Any:  # noqa: ANN401 - pickle's own signature
        """Read one object, as `pickle.load` would."""
        return self.Unpickler(file, **keywords).load()
