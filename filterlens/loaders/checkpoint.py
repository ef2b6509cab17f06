"""Files that `torch.save` wrote, read by our own parser: nothing that they name is imported or run."""

from __future__ import annotations

import mmap
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from torch import UntypedStorage

from filterlens.errors import CheckpointError, UnsafeCheckpointError
from filterlens.loaders.kinds import detect_non_checkpoint, is_zip
from filterlens.loaders.state_dict import list_names
from filterlens.loaders.torch_legacy import find_storages
from filterlens.loaders.torch_zip import DamagedZip, ProgramZip, Record, is_program, read_records
from filterlens.loaders.unpickle import Storages, keep_metadata, torch_constructors
from filterlens.pickles import PickleError, read_pickle

__all__ = ["Checkpoint", "read"]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a file holds.

    Parameters
    ----------
    content
        Containers, plain values, tensors, and placeholders of all other objects.
    notes
        Names of what was not rebuilt.
    """

    content: object
    notes: tuple[str, ...] = ()


def read(path: Path, *, trust_pickle: bool = False) -> Checkpoint:
    """Read a file of `torch.save`, in its zip or its older format; tensors are mapped, not copied, where aligned.

    Parameters
    ----------
    path
        The file.
    trust_pickle
        Let torch unpickle it, which runs what the file asks for.

    Raises
    ------
    CheckpointError
        It is no checkpoint, or a damaged one.
    UnsafeCheckpointError
        It is a program (TorchScript).
    """
    _check_kind(path)
    try:
        with path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
            zipped = is_zip(path)
            layout = _zip_layout(data, path) if zipped else _legacy_layout(data)
            return Checkpoint(_trusted(path, mapped=zipped)) if trust_pickle else _rebuilt(data, file, layout)
    except ProgramZip as error:
        raise _program(path) from error
    except DamagedZip as error:
        raise CheckpointError(
            f"{path} is a damaged zip file, or not one of torch.save ({error}): fetch it again, or unpack it first"
        ) from error
    except PickleError as error:
        raise _unreadable(path, error) from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}): check the path") from error


def _check_kind(path: Path) -> None:
    """Refuse a file that is recognisably no checkpoint."""
    try:
        what = detect_non_checkpoint(path)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}): check the path") from error
    if what:
        raise CheckpointError(f"{path} is {what}: delete it and fetch the file again")


def _program(path: Path) -> UnsafeCheckpointError:
    return UnsafeCheckpointError(
        f"{path} is a TorchScript program, not weights: save `torch.jit.load(...).state_dict()` and give that file"
    )


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    said = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
    return CheckpointError(
        f"{path} is no checkpoint that can be read, or it is damaged ({said}): fetch it again or save it anew"
    )


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where a file has its parts: the pickle, its start, the bytes of each storage by key, and their byte order."""

    pickle: bytes | mmap.mmap
    start: int
    storages: dict[str, Record]
    byteorder: str = "little"


def _legacy_layout(data: mmap.mmap) -> _Layout:
    return _Layout(data, *find_storages(data))


def _zip_layout(data: mmap.mmap, path: Path) -> _Layout:
    records = read_records(data)
    if is_program(records):
        raise _program(path)
    if "data.pkl" not in records:
        raise CheckpointError(f"{path} is a zip file, but torch.save did not write it: unpack it first")
    order = _content(data, records.get("byteorder", Record(0, 0))) or b"little"
    if order not in {b"little", b"big"}:
        raise DamagedZip(f"its byte order is {order[:40]!r}")
    storages = {name.removeprefix("data/"): record for name, record in records.items() if name.startswith("data/")}
    return _Layout(_content(data, records["data.pkl"]), 0, storages, order.decode())


def _content(data: mmap.mmap, record: Record) -> bytes:
    return data[record.offset : record.offset + record.size]


def _rebuilt(data: mmap.mmap, file: BinaryIO, layout: _Layout) -> Checkpoint:
    """Rebuild what a pickle holds; its tensors keep the mapping alive."""
    whole = torch.frombuffer(data, dtype=torch.uint8).untyped_storage()

    def storage(key: str, dtype: torch.dtype, numel: int) -> UntypedStorage:
        record = layout.storages.get(key)
        size = numel * dtype.itemsize
        if record is None or record.size != size:
            held = f"{record.size} bytes" if record else "no bytes"
            raise PickleError(f"its storage {key[:100]!r} of {numel} {dtype} has {held}")
        if not size:
            return UntypedStorage(0)
        swapped = layout.byteorder != sys.byteorder
        if not swapped and record.offset % dtype.itemsize == 0:
            part: UntypedStorage = whole[record.offset : record.offset + size]
            return part
        copy = bytearray(size)
        file.seek(record.offset)
        if file.readinto(copy) != size:  # type: ignore[attr-defined]
            raise PickleError("it ends too early")
        values = torch.frombuffer(copy, dtype=torch.uint8).untyped_storage()
        if swapped:
            values.byteswap(dtype)
        return values

    storages = Storages(storage, len(data))
    found = read_pickle(
        layout.pickle,
        start=layout.start,
        constructors=torch_constructors(storages),
        persistent=storages.persistent,
        build=keep_metadata,
    )
    return Checkpoint(found.content, (f"not rebuilt: {list_names(found.unknown, 20)}",) if found.unknown else ())


def _trusted(path: Path, *, mapped: bool) -> object:
    """Let torch read a file that our parser has found to be what torch will take it for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return torch.load(path, map_location="cpu", mmap=mapped or None, weights_only=False)
        except Exception as error:  # the file's own code runs
            raise _unreadable(path, error) from error
