"""Writing dumps: whole or not at all."""

from __future__ import annotations

import contextlib
import json
import math
import shutil
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from filterlens.dumps.deferred import DeferredErrorFile, defer_sigint, defers_sigint
from filterlens.dumps.hdf5_check import check_hdf5, trust_hdf5
from filterlens.dumps.layout import NUMBERS, SCHEMA, SCORED, encode_name
from filterlens.errors import DumpError
from filterlens.process.files import commit_file, explain_failure, temporary_path
from filterlens.process.interruption import forget_temporary
from filterlens.version import __version__

__all__ = ["Attribute", "DumpWriter", "WritableGroup"]

_CHUNK = 1 << 20
_MAX_ATTRIBUTE = 60_000  # bytes; HDF5 takes 64 KB
Attribute = str | int | float | bool | NDArray[Any]


class DumpWriter:
    """Write one model's dump; use as a context manager.

    Lenses that an existing dump already holds are kept unless they are written again; a damaged dump is replaced.
    Nothing is seen at `path` before the `with` block ends without an exception.

    Parameters
    ----------
    path
        Where the dump is to appear.
    attributes
        Root attributes: `model_id`, `source`, `sha256`, `catalog_row` (JSON), `torch_version`, …
    keep
        Keep what an existing dump holds.

    Raises
    ------
    DumpError
        The folder cannot be written, or the disk is full.
    """

    def __init__(self, path: Path, attributes: Mapping[str, Attribute], *, keep: bool = True) -> None:
        self.path = path
        self._keep = keep
        self._temporary = temporary_path(path)
        self._attributes = dict(attributes)
        self._file: h5py.File | None = None
        self._raw: DeferredErrorFile | None = None
        self._cancelled = False
        self._resume_sigint: Callable[[], object] = lambda: None

    def __enter__(self) -> Self:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            mode = "w"
            if self._keep and self.path.exists():
                with contextlib.suppress(DumpError):  # a damaged one holds nothing to keep
                    check_hdf5(self.path)
                    shutil.copyfile(self.path, self._temporary)
                    mode = "r+"
            self._resume_sigint = defer_sigint()
            file = self._open(mode)
            own = {
                "filterlens_version": __version__,
                "schema": SCHEMA,
                "created": datetime.now(UTC).isoformat(),
            }
            file.attrs.update(own | self._attributes)
        except BaseException as error:
            self._abandon()
            if isinstance(error, OSError):
                raise DumpError(explain_failure(self.path, error)) from error
            raise
        return self

    @defers_sigint
    def _open(self, mode: str) -> h5py.File:
        self._raw = DeferredErrorFile(self._temporary, f"{mode[0]}b+")
        self._file = h5py.File(self._raw, mode, track_order=True)
        return self._file

    def lens(self, name: str, parameters: Mapping[str, object]) -> WritableGroup:
        """Start a lens's group anew; `parameters` (settings, seed, versions) are stored as JSON beside the data."""
        self.discard(name)
        group = self._group(name)
        group.set_attributes(parameters=json.dumps(parameters, sort_keys=True, default=str))
        return group

    def part(self, name: str, part: str) -> WritableGroup:
        """Start a part of what is kept of a lens without its arrays: see `filterlens.dumps.scored`."""
        return self._group(f"{SCORED}/{name}/{part}")

    def _group(self, place: str) -> WritableGroup:
        if self._file is None:
            raise DumpError(f"{self.path} is not open for writing")
        return WritableGroup(self._file.create_group(place, track_order=True), self._check_disk)

    def take(self, other: h5py.File) -> None:
        """Copy the lenses of another dump, in the place of those that this one holds."""
        if self._file is None:
            raise DumpError(f"{self.path} is not open for writing")
        for name in other:
            lenses = list(other[SCORED]) if name == SCORED else [name]
            for lens in lenses:
                self.discard(lens)
                into = self._file.require_group(SCORED) if name == SCORED else self._file
                other.copy(other[name][lens] if name == SCORED else other[name], into, lens)
        self._check_disk()

    def discard(self, name: str) -> None:
        """Take a lens out, whole or scored (its extractor failed half-way)."""
        for place in (name, f"{SCORED}/{name}"):
            if self._file is not None and place in self._file:
                del self._file[place]

    def record(self, name: str, row: str) -> None:
        """Store a lens's row of the ledger beside its data, unless it is longer than an attribute may be."""
        if self._file is not None and len(row.encode()) < _MAX_ATTRIBUTE:
            place = name if name in self._file else f"{SCORED}/{name}"
            self._file[place].attrs["ledger_row"] = row

    @property
    def lenses(self) -> list[str]:
        """Names of the lenses that the dump holds by now, whole or scored."""
        if self._file is None:
            return []
        return [str(name) for name in (*self._file, *self._file.get(SCORED, ())) if name != SCORED]

    def cancel(self) -> None:
        """Leave the place as it was when the `with` block ends."""
        self._cancelled = True

    @defers_sigint
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is None:
            return
        if kind is not None or self._cancelled:
            self._abandon()
            return
        try:
            self._file.close()
            self._check_disk()
            if self._raw is not None:
                self._raw.close()
            commit_file(self._temporary, self.path)
            trust_hdf5(self.path)
            self._resume_sigint()
        except BaseException as failure:
            self._abandon()
            if isinstance(failure, OSError | RuntimeError):
                raise DumpError(explain_failure(self.path, failure)) from failure
            raise

    def _check_disk(self) -> None:
        if self._raw is not None and self._raw.failure is not None:
            raise DumpError(explain_failure(self.path, self._raw.failure)) from self._raw.failure

    @defers_sigint
    def _abandon(self) -> None:
        if self._raw is not None and self._raw.failure is None:
            self._raw.failure = InterruptedError()  # nothing more is written
        if self._file is not None:
            with contextlib.suppress(OSError, RuntimeError):
                self._file.close()
        if self._raw is not None:
            self._raw.close()
        with contextlib.suppress(OSError):  # such as a parent that is no folder
            self._temporary.unlink(missing_ok=True)
        forget_temporary(self._temporary)
        self._resume_sigint()


class WritableGroup:
    """One lens's part of a dump, open for writing."""

    def __init__(self, group: h5py.Group, check_disk: Callable[[], None]) -> None:
        self._group = group
        self._check_disk = check_disk

    def set_attributes(self, **attributes: Attribute) -> None:
        """Store attributes on the group itself."""
        self._group.attrs.update(attributes)

    def write(self, name: str, array: NDArray[Any], *, compression: str | None = None, **attributes: Attribute) -> None:
        """Write one array whole; it gets an `order` attribute that counts the datasets of this group."""
        data = np.asarray(array, order="C")
        self._check(name, data.dtype)
        chunked: dict[str, Any] = {}
        if data.ndim and data.size:
            chunked = {"chunks": _chunks(data), "fletcher32": True, "compression": compression}
        dataset = self._group.create_dataset(encode_name(name), data=data, **chunked)
        dataset.attrs.update({"order": len(self._group) - 1, **attributes})
        self._check_disk()

    def stream(
        self,
        name: str,
        shape: tuple[int, ...],
        dtype: str,
        *,
        compression: str | None = "lzf",
        **attributes: Attribute,
    ) -> h5py.Dataset:
        """Create an array to be filled along its first axis, one row a chunk: `dataset[i:j] = batch`."""
        self._check(name, np.dtype(dtype))
        dataset = self._group.create_dataset(
            encode_name(name),
            shape=shape,
            dtype=dtype,
            chunks=(1, *shape[1:]) if math.prod(shape) else None,
            compression=compression if math.prod(shape) else None,
            fletcher32=bool(math.prod(shape)),
        )
        dataset.attrs.update({"order": len(self._group) - 1, **attributes})
        return dataset

    def widen(self, name: str, dtype: str) -> h5py.Dataset:
        """Replace a streamed array by one of a wider type, rows and attributes kept, and return it."""
        narrow = self._group[encode_name(name)]
        attributes = dict(narrow.attrs)
        del self._group[encode_name(name)]  # the open handle keeps its rows readable
        wide = self.stream(name, narrow.shape, dtype, compression=narrow.compression)
        wide.attrs.update(attributes)
        for row in range(narrow.shape[0]):
            wide[row] = narrow[row]
        return wide

    def _check(self, name: str, dtype: np.dtype[Any]) -> None:
        if dtype.kind not in NUMBERS:
            raise DumpError(f"{name!r} is of type {dtype}, but dumps hold plain numbers only")
        if encode_name(name) in self._group:
            raise DumpError(f"{self._group.name} already holds an array {name!r}")


def _chunks(data: NDArray[Any]) -> tuple[int, ...] | bool:
    """Whole rows, about `_CHUNK` bytes of them: h5py's own small chunks take more than twice as long to write."""
    row = data[0].nbytes
    return (min(len(data), _CHUNK // row), *data.shape[1:]) if row <= _CHUNK else True
