"""CNN-Filter-DB files: pickled cells, contradictory rows, and HDF5's own harm."""

from __future__ import annotations

import gzip
import pickle
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hostile.payload import Case, Payload
from hostile.payloads.hdf5s import HARMS, damage, harmed
from hostile.payloads.pickles import body, cell_pickles
from hostile.payloads.runs import TEXTS
from hostile.payloads.structures import _PICKLES

__all__ = ["payloads"]

_GOOD = Path(__file__).parents[2] / "filterdb" / "published.h5.gz"
_COLUMNS = ("filter_ids", "model", "Robust", "Paper", "Network", "path", "Clean Accuracy")
_IDS = ("0:2147483647", "-1:5", "5:0", "zq7x", "0:11:2", "0", ":", "0:" + "9" * 5000, "٣:٤", "1e3:2e3", "0x0:0xb", " 0 : 11 ", "0:11\0", "0:11\n", range(12), [0, 1], tuple(range(12)), range(1 << 62), 5, None)  # fmt: skip


@cache
def _good() -> bytes:
    return gzip.decompress(_GOOD.read_bytes())


def _object_block(file: h5py.File) -> str:
    group = file["meta"]
    return next(
        f"meta/{name}" for name in group if name.endswith("_values") and h5py.check_vlen_dtype(group[name].dtype)
    )


def _with_cells(change: Callable[[bytes, Case], bytes]) -> Callable[[Case], None]:
    def write(case: Case) -> None:
        path = case.folder / "m.h5"
        path.write_bytes(_good())
        with h5py.File(path, "r+") as file:
            place = _object_block(file)
            data = change(np.asarray(file[place][0], np.uint8).tobytes(), case)
            file[place][0] = np.frombuffer(data, np.uint8)

    return write


def _cell(column: str, value: object) -> Callable[[Case], None]:
    """Replace a cell of the first row, whatever type it has."""

    def change(data: bytes, case: Case) -> bytes:
        cells = pickle.loads(data)
        with h5py.File(case.folder / "m.h5", "r") as file:
            items = file[_object_block(file).replace("values", "items")][()]
        names = [name.decode() for name in items]
        if column in names:
            axis = names.index(column)
            if cells.shape[0] == len(names) and cells.shape[1] != len(names):
                cells[axis, 0] = value
            else:
                cells[0, axis] = value
        return pickle.dumps(cells, 3).replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n", 1)

    def write(case: Case) -> None:
        path = case.folder / "m.h5"
        path.write_bytes(_good())
        with h5py.File(path, "r") as file:
            data = np.asarray(file[_object_block(file)][0], np.uint8).tobytes()
        changed = change(data, case)
        with h5py.File(path, "r+") as file:
            file[_object_block(file)][0] = np.frombuffer(changed, np.uint8)

    return write


def _numbers(name: str, value: float) -> Callable[[Case], None]:
    def write(case: Case) -> None:
        path = case.folder / "m.h5"
        path.write_bytes(_good())
        with h5py.File(path, "r+") as file:
            for key in file["meta"]:
                if key.startswith(name) and file["meta"][key].dtype.kind in "iuf":
                    values = file["meta"][key][()]
                    with np.errstate(all="ignore"):
                        values.flat[0] = np.asarray(value).astype(values.dtype)
                    file["meta"][key][...] = values

    return write


def payloads() -> Iterator[Payload]:
    """Cells that call, cells of wrong values, numbers of wrong sizes, and harm to the file."""
    for name, about, call, route in cell_pickles():
        yield _payload(
            f"cells, {name}",
            about,
            _with_cells(lambda data, case, a=call, r=route: b"\x80\x03" + body(a, r, case) + b"."),
            (call.module,),
        )
    for name, make in _PICKLES.items():
        yield _payload(
            f"cells, {name}", "issue 15.12: pickles that cost", _with_cells(lambda data, case, make=make: make())
        )
    for column in _COLUMNS:
        for name, value in TEXTS.items():
            yield _payload(f"{column}, {name}", "issue 15.15: names and markup", _cell(column, value))
    for value in _IDS:
        yield _payload(f"ids {value!r:.30}", "issue 15.13: 2^31 undeclared filters", _cell("filter_ids", value))
    for name in ("axis1_level", "axis1_label", "block0_values", "block1_values", "block2_values"):
        for value in (-1, 1 << 31, 1 << 62, 0.5, float("nan"), float("inf"), 1e300):
            yield _payload(f"{name} {value!r}", "numbers that contradict", _numbers(name, value))
    for place in ("filters", "meta/axis0", "meta/block0_values", "meta/axis1_level0"):
        for name, (about, _) in HARMS.items():
            yield _payload(f"{place}, {name}", about, lambda case, place=place, name=name: _harm(place, name, case))
    for name, about, change in damage(60, 3):
        yield _payload(
            name, about, lambda case, change=change: (case.folder / "m.h5").write_bytes(change(_good())) and None
        )


def _harm(place: str, name: str, case: Case) -> None:
    path = case.folder / "m.h5"
    path.write_bytes(_good())
    harmed(path, place, name, case)


def _payload(name: str, about: str, write: Callable[[Case], Any], modules: tuple[str, ...] = ()) -> Payload:
    return Payload("filterdb", name, about, write, "m.h5", ("filterdb",), modules)
