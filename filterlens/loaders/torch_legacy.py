"""The older format of `torch.save`: some pickles one behind the other, then the storages."""

from __future__ import annotations

import mmap
from typing import Any, Final

from filterlens.loaders.torch_zip import Record
from filterlens.loaders.unpickle import StoredType, torch_constants
from filterlens.pickles import Budget, PickleError, read_pickle

__all__ = ["find_storages"]

_MAGIC: Final = 0x1950A86A20F9469CFC6C
_PROTOCOL: Final = 1001
_HEAD: Final = Budget(opcodes=1000, containers=100)


def find_storages(data: mmap.mmap) -> tuple[int, dict[str, Record]]:
    """Find where the pickle of a file's content begins, and the bytes of each storage, by its key.

    Parameters
    ----------
    data
        The whole file.

    Raises
    ------
    PickleError
        It is no such file, or its storages are not those that its pickle names.
    """
    start = 0
    for expected in (_MAGIC, _PROTOCOL, dict):
        head = read_pickle(data, start=start, budget=_HEAD)
        if head.content != expected if isinstance(expected, int) else not isinstance(head.content, expected):
            raise PickleError("it does not begin as files of torch.save do")
        start = head.end
    types: dict[str, tuple[StoredType, int]] = {}
    content = read_pickle(
        data, start=start, constructors=torch_constants(), persistent=lambda identifier: _note(types, identifier)
    )
    keys = read_pickle(data, start=content.end)
    if not isinstance(keys.content, list) or len(set(map(id, keys.content))) != len(keys.content):
        raise PickleError("it does not list its storages")
    records: dict[str, Record] = {}
    place = keys.end
    for key in keys.content:
        if type(key) is not str or key not in types or key in records:
            raise PickleError("it lists a storage that its pickle does not name")
        kind, numel = types[key]
        size = numel * kind.dtype.itemsize
        if int.from_bytes(data[place : place + 8], "little") != numel or place + 8 + size > len(data):
            raise PickleError(f"its storage {key[:100]!r} is not of {numel} values")
        records[key] = Record(place + 8, size)
        place += 8 + size
    return start, records


def _note(types: dict[str, tuple[StoredType, int]], identifier: Any) -> object:  # noqa: ANN401 - what a file holds
    """Note the type and size of a storage; what else an identifier may be is checked when it is rebuilt."""
    match identifier:
        case ("module", module, _, _):
            return module
        case ("storage", StoredType() as kind, str(key), _, int(numel), *_) if numel >= 0:
            types.setdefault(key, (kind, numel))
    return None
