"""Files that `torch.save` wrote: read without running them, and find the weights in what they hold."""

from __future__ import annotations

import pickle
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from filterlens.errors import CheckpointError, UnsafeCheckpointError
from filterlens.loaders.kinds import impostor, is_whole_zip, is_zip
from filterlens.loaders.unpickle import Inert, InertPickle

__all__ = ["Checkpoint", "find_state_dict", "read", "strip_prefixes"]

#: Where people keep weights, in the order of trust.
CONTAINERS: Final = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "last",
    "best",
    "ema",
    "model_ema",
    "ema_state_dict",
    "state_dict_ema",
    "module",
    "params",
    "weights",
)
PREFIXES: Final = ("module.", "model.", "_orig_mod.")
_DEPTH: Final = 6
_MODULES: Final = 200_000
_NESTING: Final = 100
#: What reading a damaged or hostile file may raise in torch, pickle and zip.
READ_FAULTS: Final = (
    pickle.PickleError,
    RuntimeError,
    AttributeError,
    TypeError,
    ValueError,
    LookupError,
    EOFError,
    AssertionError,
    ArithmeticError,
    ImportError,
    OSError,
    MemoryError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
    tarfile.TarError,
    SyntaxError,
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a file holds.

    Parameters
    ----------
    content
        Containers, plain values, tensors, and `Inert` objects in place of all others.
    notes
        Names of what was not rebuilt.
    """

    content: object
    notes: tuple[str, ...] = ()


def read(path: Path, *, trust_pickle: bool = False) -> Checkpoint:
    """Read a file of `torch.save`, in its zip or its older format; zip files are mapped, not copied.

    Parameters
    ----------
    path
        The file.
    trust_pickle
        Fall back to a full unpickling, which runs what the file asks for.

    Raises
    ------
    CheckpointError
        It is no checkpoint, or a damaged one.
    UnsafeCheckpointError
        It is a program (TorchScript).
    """
    size = _check_kind(path)
    zipped = is_zip(path) or is_whole_zip(path)
    if zipped:
        _check_zip(path, size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if trust_pickle:
            return Checkpoint(_load(path, zipped, None, weights_only=False))
        try:
            return _checked(path, Checkpoint(_load(path, zipped, None, weights_only=True)))
        except READ_FAULTS:
            # the inert reading tells a stranger from a damaged file
            inert = InertPickle()
            content = _load(path, zipped, inert, weights_only=False)
    names = sorted(inert.names)
    note = f"not rebuilt, held inert: {', '.join(names[:20])}{', …' if len(names) > 20 else ''}"
    return _checked(path, Checkpoint(content, (note,) if names else ()))


def _load(path: Path, zipped: bool, pickle_module: InertPickle | None, *, weights_only: bool) -> object:  # noqa: FBT001 - private
    try:
        return torch.load(
            path,
            map_location="cpu",
            mmap=True if zipped else None,
            weights_only=weights_only,
            pickle_module=pickle_module,
        )
    except READ_FAULTS as error:
        if weights_only:
            raise
        said = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise CheckpointError(
            f"{path} is no checkpoint that can be read, or it is damaged ({said}): fetch it again or save it anew"
        ) from error


def _check_kind(path: Path) -> int:
    """Say what the file is when it is plainly something else; return its size in bytes."""
    try:
        size = path.stat().st_size
        what = impostor(path)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}): check the path") from error
    if what:
        raise CheckpointError(f"{path} is {what}: delete it and fetch the file again")
    return size


def _check_zip(path: Path, size: int) -> None:
    """Refuse programs and bombs: torch stores its records uncompressed."""
    try:
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
    except READ_FAULTS as error:
        raise CheckpointError(f"{path} is a damaged zip file ({error}): fetch it again") from error
    names = {record.filename.rpartition("/")[2] for record in records}
    if "constants.pkl" in names:
        raise UnsafeCheckpointError(
            f"{path} is a TorchScript program, not weights: save `torch.jit.load(...).state_dict()` and give that file"
        )
    if "data.pkl" not in names:
        raise CheckpointError(f"{path} is a zip file, but torch.save did not write it: unpack it first")
    if sum(record.file_size for record in records) > size + (1 << 20):
        raise CheckpointError(f"{path} unpacks to more than its size: torch does not compress, so it is not trusted")


def _checked(path: Path, checkpoint: Checkpoint) -> Checkpoint:
    """Refuse tensors that the file cannot hold: a lying shape would be filled with whatever memory held."""
    storages: dict[int, int] = {}
    declared = 0
    for tensor in _tensors(checkpoint.content):
        if tensor.layout is torch.strided and tensor.device.type == "cpu":
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
            declared += tensor.numel() * tensor.element_size()
    size = path.stat().st_size
    if sum(storages.values()) > size or declared > 64 * size + (1 << 24):
        raise CheckpointError(f"{path} declares more values than its {size} bytes can hold: it is damaged or hostile")
    return checkpoint


def _children(value: object) -> Iterable[object]:
    if isinstance(value, Mapping):
        return value.values()
    if isinstance(value, list | tuple | set | frozenset):
        return value
    if isinstance(value, Inert):
        return (value.state, value.items)
    return ()


def _tensors(content: object) -> Iterator[Tensor]:
    """Every tensor within, each container looked into once."""
    seen: set[int] = set()
    waiting = [content]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Tensor):
            yield value
        elif id(value) not in seen:
            seen.add(id(value))
            waiting.extend(_children(value))


def find_state_dict(content: object, path: Path) -> tuple[dict[str, Tensor], str]:
    """Find the weights in what a checkpoint holds.

    Parameters
    ----------
    content
        Of a `Checkpoint`.
    path
        Named in errors.

    Returns
    -------
        Weights by name, prefixes kept; and the keys that led there, joined by dots (empty: the top).

    Raises
    ------
    UnsafeCheckpointError
        There are objects that only code of theirs can turn into weights.
    CheckpointError
        There are no weights, or several sets of them.
    """
    found = _search(content, path, _DEPTH)
    if found is not None:
        return found
    inert = sorted({type(value).name for value in _inert(content)})
    if inert:
        raise UnsafeCheckpointError(
            f"{path} holds no weights that can be read without running {', '.join(inert[:5])}: save its state_dict(), "
            "or pass --trust-pickle if you made the file yourself"
        )
    keys = f" (its keys: {', '.join(str(key) for key in list(content)[:8])})" if isinstance(content, Mapping) else ""
    raise CheckpointError(f"{path} holds no weights{keys}: a state dict, name to tensor, was expected")


def _inert(content: object) -> Iterator[Inert]:
    seen: set[int] = set()
    waiting = [content]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Inert):
            yield value
        if id(value) not in seen and not isinstance(value, Tensor):
            seen.add(id(value))
            waiting.extend(_children(value))


def _search(content: object, path: Path, depth: int) -> tuple[dict[str, Tensor], str] | None:
    """Look for a whole network, in the containers that are known, at this level, then in the only other one."""
    if isinstance(content, nn.Module):
        return _only_tensors(content.state_dict()), ""
    if isinstance(content, Inert):
        if isinstance(content.state, Mapping) and "_modules" in content.state:
            return _module_tensors(content, path), ""
        content = content.items or content.state
    if depth == 0 or not isinstance(content, Mapping):
        return None
    for key in CONTAINERS:
        if key in content and (found := _search(content[key], path, depth - 1)):
            return found[0], f"{key}.{found[1]}".rstrip(".")
    own = _only_tensors(content)
    if any(value.ndim > 1 for value in own.values()):
        return own, ""
    return _only_container(content, path, depth) or ((own, "") if own else None)


def _only_tensors(content: Mapping[Any, object]) -> dict[str, Tensor]:
    return {key: value.detach() for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}


def _only_container(content: Mapping[Any, object], path: Path, depth: int) -> tuple[dict[str, Tensor], str] | None:
    """Look in containers of any name; there may be one with weights, besides an optimiser's state."""
    others = {
        key: found
        for key, value in content.items()
        if isinstance(key, str) and "optim" not in key.lower() and (found := _search(value, path, depth - 1))
    }
    if len(others) > 1:
        raise CheckpointError(
            f"{path} holds several sets of weights ({', '.join(list(others)[:5])}): save the one that is meant alone"
        )
    for key, (weights, below) in others.items():
        return weights, f"{key}.{below}".rstrip(".")
    return None


def _module_tensors(root: Inert, path: Path) -> dict[str, Tensor]:
    """Rebuild the state dict of a whole pickled network from what its modules kept."""
    weights: dict[str, Tensor] = {}
    waiting: list[tuple[str, int, object]] = [("", 0, root)]
    visits = 0
    while waiting:
        prefix, depth, module = waiting.pop()
        visits += 1
        if visits > _MODULES or depth > _NESTING:
            raise CheckpointError(f"{path} nests modules without end (over {_NESTING} deep): it is not trusted")
        state = module.state if isinstance(module, Inert) else None
        if not isinstance(state, Mapping):
            continue
        unsaved = state.get("_non_persistent_buffers_set", ())
        for kind in ("_parameters", "_buffers"):
            own = state.get(kind)
            for name, value in own.items() if isinstance(own, Mapping) else ():
                if isinstance(value, Tensor) and not (isinstance(unsaved, set) and name in unsaved):
                    weights[f"{prefix}{name}"] = value.detach()
        below = state.get("_modules")
        if isinstance(below, Mapping):
            waiting.extend((f"{prefix}{name}.", depth + 1, child) for name, child in reversed(list(below.items())))
    return weights


def strip_prefixes(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Cut the prefixes of wrappers, only at the start of keys and only where every key carries them.

    Parameters
    ----------
    weights
        Tensors by name; kept as it is.

    Examples
    --------
    >>> list(strip_prefixes({"module.model.conv.weight": torch.zeros(1)}))
    ['conv.weight']
    """
    cut = dict(weights)
    while cut and (prefix := next((p for p in PREFIXES if all(key.startswith(p) for key in cut)), "")):
        cut = {key.removeprefix(prefix): value for key, value in cut.items()}
    return cut
