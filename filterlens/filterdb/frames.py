"""pandas' fixed HDF5 tables, read and written with h5py alone.

A table is a group: `axis0` names the columns, `axis1_level*` and `axis1_label*` are the levels of the index and each
row's place in them, and columns of one type stand together in `block*_values`, named by `block*_items`. The block of
Python objects is one cell of bytes: a pickle (see `cells`).
"""

from __future__ import annotations

import math
from typing import Any, Final

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from filterlens.errors import CheckpointError
from filterlens.filterdb.cells import pickle_cells, unpickle_cells

__all__ = ["check_written", "read_frame", "write_frame"]

_MAX_ROWS: Final = 1_000_000
_MAX_COLUMNS: Final = 10_000
_MAX_PICKLE: Final = 4 << 30
_ABSENT: Final = b"N."  # None as PyTables stores it


def read_frame(group: h5py.Group, where: str) -> pd.DataFrame:
    """Read a table in pandas' fixed format.

    Parameters
    ----------
    group
        The table's group.
    where
        File and table, for messages.

    Returns
    -------
        Columns in the order of `axis0`, with the index's levels by name.

    Raises
    ------
    UnsafeCheckpointError
        Its pickled columns hold more than cells; nothing of it was run.
    CheckpointError
        It is no such table, or damaged.
    """
    if _text(group.attrs.get("pandas_type", "")) != "frame":
        raise CheckpointError(f"{where} is no table in pandas' fixed format: store it with to_hdf(path, key)")
    index = _index(group, where)
    columns: dict[str, NDArray[Any]] = {}
    for block in range(_integer(group.attrs.get("nblocks"), where)):
        names = _names(_array(group, f"block{block}_items", where), where)
        values = _array(group, f"block{block}_values", where)
        cells = _cells(values, (len(index), len(names)), where)
        columns |= {name: cells[:, place] for place, name in enumerate(names)}
    order = _names(_array(group, "axis0", where), where)
    missing = [name for name in order if name not in columns]
    if missing or len(set(order)) != len(order):
        raise CheckpointError(f"{where} is damaged: column {(missing or order)[0]!r} is missing or there twice")
    return pd.DataFrame({name: pd.Series(columns[name], index=index, dtype=columns[name].dtype) for name in order})


def _index(group: h5py.Group, where: str) -> pd.MultiIndex:
    levels, codes, names = [], [], []
    for place in range(_integer(group.attrs.get("axis1_nlevels", 0), where)):
        level = _array(group, f"axis1_level{place}", where)
        code = _array(group, f"axis1_label{place}", where)
        if level.dtype.kind not in "iuf" or code.dtype.kind not in "iu" or level.ndim != 1 or code.ndim != 1:
            raise CheckpointError(f"{where} is damaged: level {place} of its index is of {level.dtype}")
        labels = code[()]
        if len(labels) and not (labels.min() >= 0 and labels.max() < len(level)):
            raise CheckpointError(f"{where} is damaged: level {place} of its index has labels that point nowhere")
        levels.append(level[()])
        codes.append(labels)
        names.append(_text(level.attrs.get("name", "")))
    if not levels or len({len(code) for code in codes}) != 1:
        raise CheckpointError(f"{where} has no index of several levels (model_id, conv_depth, conv_depth_norm, …)")
    return pd.MultiIndex.from_arrays([a[c] for a, c in zip(levels, codes, strict=True)], names=names)


def _cells(values: h5py.Dataset, shape: tuple[int, int], where: str) -> NDArray[Any]:
    if h5py.check_vlen_dtype(values.dtype) is not None:
        if values.shape != (1,) or values.id.get_storage_size() > _MAX_PICKLE:
            raise CheckpointError(f"{where} is damaged: {values.name} is no single cell of bytes")
        return unpickle_cells(np.asarray(values[0], dtype=np.uint8).tobytes(), shape, where)
    if values.shape != shape or values.dtype.kind not in "biuf":
        raise CheckpointError(f"{where} is damaged: {values.name} has shape {values.shape} and type {values.dtype}")
    found: NDArray[Any] = values[()]
    return found


def _array(group: h5py.Group, name: str, where: str) -> h5py.Dataset:
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise CheckpointError(f"{where} is damaged or no table in pandas' fixed format: {name} is missing")
    found = group[name]
    if not isinstance(found, h5py.Dataset) or found.external or found.is_virtual or not found.shape:
        raise CheckpointError(f"{where} is damaged: {name} is no plain array")
    if found.shape[0] > _MAX_ROWS or (found.ndim > 1 and found.shape[1] > _MAX_COLUMNS):
        raise CheckpointError(f"{where}: {name} declares {found.shape}, which is no table of convolutions")
    check_written(found, where)
    return found


def check_written(array: h5py.Dataset, where: str) -> None:
    """Refuse an array that was declared but not written: HDF5 would make its numbers up, and take memory for them.

    Raises
    ------
    CheckpointError
        Some of it was never written.
    """
    if array.chunks is None:
        expected, found = int(array.size > 0), int(array.id.get_storage_size() > 0)
    else:
        expected = math.prod(-(-size // chunk) for size, chunk in zip(array.shape, array.chunks, strict=True))
        found = array.id.get_num_chunks()
    if found < expected:
        raise CheckpointError(
            f"{where}: {array.name} declares {array.shape} but only {found} of its {expected} parts were ever written: "
            "the file is not whole"
        )


def _names(items: h5py.Dataset, where: str) -> list[str]:
    if items.ndim != 1 or items.shape[0] > _MAX_COLUMNS or items.dtype.kind != "S":
        raise CheckpointError(f"{where} is damaged: {items.name} names no columns")
    return [_text(name) for name in items[()]]


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _integer(value: object, where: str) -> int:
    if not isinstance(value, int | np.integer) or not 0 <= int(value) <= 64:
        raise CheckpointError(f"{where} is damaged: it does not say of how many parts it is")
    return int(value)


def write_frame(file: h5py.File, key: str, frame: pd.DataFrame) -> None:
    """Write a table with an index of several levels in pandas' fixed format.

    Parameters
    ----------
    file
        Open for writing.
    key
        The table's name.
    frame
        Columns of numbers or of objects; the index's levels are numbers.
    """
    group = file.create_group(key)
    _mark(group, CLASS="GROUP", TITLE="", VERSION="1.0")
    _mark(group, pandas_type="frame", pandas_version="0.15.2", encoding="UTF-8", errors="strict")
    _mark(group, axis0_variety="regular", axis1_variety="multi")
    index = frame.index
    levelled = index if isinstance(index, pd.MultiIndex) else pd.MultiIndex.from_arrays([index])
    group.attrs.update({"ndim": np.int64(2), "axis1_nlevels": np.int64(levelled.nlevels)})
    _write_names(group, "axis0", list(frame.columns))
    for place, (level, code, name) in enumerate(zip(levelled.levels, levelled.codes, levelled.names, strict=True)):
        values = np.asarray(level)
        stored = _write_array(group, f"axis1_level{place}", values)
        kind = "float" if values.dtype.kind == "f" else "integer"
        _mark(stored, kind=kind, name=str(name), **{f"axis1_name{name}": str(name)})
        _write_array(group, f"axis1_label{place}", np.asarray(code))
    blocks: dict[str, list[str]] = {}
    for name, kind in frame.dtypes.items():
        blocks.setdefault("object" if kind.kind not in "biuf" else str(kind), []).append(str(name))
    ordered = sorted(blocks, key=lambda kind: kind == "object")
    group.attrs["nblocks"] = np.int64(len(ordered))
    for place, kind in enumerate(ordered):
        names = blocks[kind]
        _mark(group, **{f"block{place}_items_variety": "regular"})
        _write_names(group, f"block{place}_items", names)
        if kind == "object":
            _write_objects(group, f"block{place}_values", frame[names].astype(object).to_numpy())
        else:
            _write_array(group, f"block{place}_values", frame[names].to_numpy())


def _write_array(group: h5py.Group, name: str, values: NDArray[Any]) -> h5py.Dataset:
    stored = group.create_dataset(name, data=np.ascontiguousarray(values))
    _mark(stored, CLASS="ARRAY", FLAVOR="numpy", TITLE="", VERSION="2.4")
    stored.attrs["transposed"] = np.int64(1)
    return stored


def _write_names(group: h5py.Group, name: str, names: list[str]) -> None:
    stored = _write_array(group, name, np.array([text.encode() for text in names]))
    _mark(stored, kind="string")
    stored.attrs["name"] = np.bytes_(_ABSENT)


def _write_objects(group: h5py.Group, name: str, cells: NDArray[np.object_]) -> None:
    stored = group.create_dataset(name, shape=(1,), maxshape=(None,), chunks=(1,), dtype=h5py.vlen_dtype(np.uint8))
    stored[0] = np.frombuffer(pickle_cells(cells), dtype=np.uint8)
    _mark(stored, CLASS="VLARRAY", PSEUDOATOM="object", TITLE="", VERSION="1.4")
    stored.attrs["transposed"] = np.int64(1)


def _mark(item: h5py.HLObject, **attributes: str) -> None:
    """Store text as PyTables does: UTF-8 of fixed length."""
    for name, text in attributes.items():
        data = text.encode()
        if data:
            item.attrs.create(name, data, dtype=h5py.string_dtype("utf-8", len(data)))
        else:
            item.attrs[name] = h5py.Empty("S1")
