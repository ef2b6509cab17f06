"""Reading dumps, from anywhere and from anyone."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from filterlens.dumps.hdf5_check import check_hdf5
from filterlens.dumps.layout import SCHEMA, SCORED, decode_name, encode_name
from filterlens.errors import DumpError

__all__ = ["DumpGroup", "DumpReader", "number", "open_lens", "plain"]

_LARGE = 1 << 20  # bytes


class DumpReader:
    """Read one model's dump, from anywhere and from anyone; use as a context manager.

    Raises
    ------
    DumpError
        The file is missing, truncated, no dump of a known schema, or holds links to other files.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise DumpError(f"{path} does not exist: run `filterlens extract` first")
        check_hdf5(path)
        try:
            self._file = h5py.File(path, "r")
            self.attributes: dict[str, Any] = {key: plain(value) for key, value in self._file.attrs.items()}
        except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
            raise DumpError(
                f"{path} cannot be read as HDF5 ({error}): it is damaged or not a dump; delete it and extract again"
            ) from error
        if self.attributes.get("schema") != SCHEMA:
            found = self.attributes.get("schema", "none")
            self.close()
            raise DumpError(f"{path} has dump schema {found}, this filterlens reads {SCHEMA}: extract again")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @property
    def model_id(self) -> str:
        """The catalog's id of the model."""
        return str(self.attributes.get("model_id", self.path.stem))

    @property
    def lenses(self) -> list[str]:
        """Names of the lenses that the dump holds."""
        return [name for name in self._groups("/") if name != SCORED]

    @property
    def scored(self) -> list[str]:
        """Names of the lenses of which it holds scores instead of arrays (`--dumps none`)."""
        return self._groups(SCORED) if SCORED in self._groups("/") else []

    @property
    def held(self) -> list[str]:
        """Names of both kinds, in the order in which they were written."""
        found = [[name] if name != SCORED else self.scored for name in self._groups("/")]
        return list(dict.fromkeys(name for names in found for name in names))

    def _groups(self, place: str) -> list[str]:
        with _guarded(self.path):
            return [str(name) for name, item in self._file[place].items() if isinstance(item, h5py.Group)]

    def lens(self, name: str) -> DumpGroup:
        """Return one lens's part.

        Raises
        ------
        DumpError
            The dump does not hold it.
        """
        with _guarded(self.path):
            group = self._file.get(name)
        if not isinstance(group, h5py.Group):
            if name in self.scored:
                raise DumpError(
                    f"{self.path} holds scores of the {name} lens and not its arrays: extract again with --dumps all"
                )
            raise DumpError(f"{self.path} holds no lens {name!r}, only {', '.join(self.lenses) or 'none'}")
        return DumpGroup(group, self.path)

    def kept(self, name: str) -> DumpGroup:
        """Return what figures read of a lens: its part, or of one that was scored without, the few arrays it keeps.

        Raises
        ------
        DumpError
            The dump does not hold it.
        """
        return self.part(name, "arrays") if name in self.scored and name not in self.lenses else self.lens(name)

    def row(self, name: str) -> str:
        """Return a lens's row of the ledger as the dump holds it; empty where it holds none."""
        with _guarded(self.path):
            group = self._file.get(name) or self._file.get(f"{SCORED}/{name}")
        found = DumpGroup(group, self.path).attributes if isinstance(group, h5py.Group) else {}
        return str(found.get("ledger_row", ""))

    def part(self, name: str, part: str) -> DumpGroup:
        """Return a part of what is kept of a lens in `scored`: `arrays`, `table` or `summary`.

        Raises
        ------
        DumpError
            The dump does not hold it.
        """
        with _guarded(self.path):
            group = self._file.get(f"{SCORED}/{name}/{part}")
        if not isinstance(group, h5py.Group):
            raise DumpError(f"{self.path} holds no {part} of scores of the {name} lens: extract again")
        return DumpGroup(group, self.path)


class DumpGroup:
    """One lens's part of a dump: named arrays in the order in which they were written."""

    def __init__(self, group: h5py.Group, path: Path) -> None:
        self._group = group
        self.path = path
        self._opened: tuple[str, h5py.Dataset] | None = None  # the last one: it is asked for its shape, then read
        self.current = ""  # name of the array that was asked for last: an error is most often its

    @property
    def attributes(self) -> dict[str, Any]:
        """Attributes of the group."""
        return _attributes(self._group, self.path)

    @property
    def parameters(self) -> dict[str, Any]:
        """The settings under which the lens was extracted."""
        try:
            found = json.loads(str(self.attributes.get("parameters", "{}")))
        except (ValueError, RecursionError) as error:
            raise DumpError(f"{self.path}: the parameters of {self._group.name} are not JSON") from error
        if not isinstance(found, dict):
            raise DumpError(f"{self.path}: the parameters of {self._group.name} are not a JSON object")
        return found

    def names(self) -> list[str]:
        """Names of the arrays, in order."""
        with _guarded(self.path):
            links = list(self._group)
        return [decode_name(link) for link in sorted(links, key=self._order)]

    def _order(self, link: str) -> int:
        dataset = self._dataset(link)
        with _guarded(self.path):  # this one alone: a network of 20,000 layers has 120,000 attributes
            found = plain(dataset.attrs.get("order", 0))
        if not isinstance(found, int):
            raise DumpError(f"{self.path}: {self._group.name}/{link} has the order {found!r:.40}, which is no integer")
        return found

    def __contains__(self, name: str) -> bool:
        with _guarded(self.path):
            return encode_name(name) in self._group

    def attributes_of(self, name: str) -> dict[str, Any]:
        """Attributes of one array."""
        return _attributes(self._dataset(encode_name(name)), self.path)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of one array, without reading it."""
        return tuple(self._dataset(encode_name(name)).shape)

    def read(self, name: str) -> NDArray[Any]:
        """Read one array whole.

        Raises
        ------
        DumpError
            It is not there, fails its checksum, or is of a type that dumps do not hold.
        """
        dataset = self._dataset(encode_name(name))
        try:
            if dataset.nbytes >= _LARGE:
                from filterlens.dumps.rows import read_rows  # Numba: only where there is much to read

                with contextlib.suppress(OSError, RuntimeError, ValueError):  # HDF5 then says what is wrong
                    if (found := read_rows(dataset)) is not None:
                        return found
            return np.asarray(dataset[()])
        except (OSError, RuntimeError, MemoryError, ValueError) as error:
            raise DumpError(f"{self.path}: {dataset.name} cannot be read ({error}); extract again") from error

    def batches(self, name: str, size: int) -> Iterator[NDArray[Any]]:
        """Read one array in pieces of `size` along its first axis."""
        dataset = self._dataset(encode_name(name))
        for start in range(0, dataset.shape[0], size):
            try:
                yield np.asarray(dataset[start : start + size])
            except (OSError, RuntimeError, MemoryError, ValueError) as error:
                raise DumpError(f"{self.path}: {dataset.name} cannot be read ({error}); extract again") from error

    def _dataset(self, link: str) -> h5py.Dataset:
        self.current = decode_name(link)
        if self._opened and self._opened[0] == link:
            return self._opened[1]
        with _guarded(self.path):
            dataset = self._group.get(link)
        if not isinstance(dataset, h5py.Dataset):
            raise DumpError(f"{self.path}: {self._group.name} holds no array {decode_name(link)!r}")
        self._opened = link, dataset
        return dataset


@contextlib.contextmanager
def open_lens(path: Path, name: str) -> Iterator[DumpGroup]:
    """Open one lens's part of a dump.

    Raises
    ------
    DumpError
        The dump cannot be read, or does not hold it.
    """
    with DumpReader(path) as reader:
        yield reader.lens(name)


def number(attributes: Mapping[str, Any], name: str, default: float | None = None) -> float:
    """Return an array's attribute that is a number in sound dumps.

    Raises
    ------
    DumpError
        It is something else, or is missing and there is no default.
    """
    value = attributes.get(name, default)
    if not isinstance(value, int | float):
        raise DumpError(f"its {name} was expected to be a number, got {value!r:.40}: extract again")
    return float(value)


@contextlib.contextmanager
def _guarded(path: Path) -> Iterator[None]:
    """Turn what h5py raises on a damaged file into a DumpError."""
    try:
        yield
    except Exception as error:  # h5py raises anything on a damaged file
        raise DumpError(f"{path} is damaged ({error}): delete it and extract again") from error


def _attributes(item: h5py.HLObject, path: Path) -> dict[str, Any]:
    """Attributes of a group or an array as plain Python."""
    with _guarded(path):
        return {key: plain(value) for key, value in item.attrs.items()}


def plain(value: Any) -> Any:  # noqa: ANN401 - HDF5 attributes are of many types
    """Turn an HDF5 attribute into plain Python."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.ndim:
        return value.tolist()
    return value
