"""HDF5 dumps: the only module that knows their layout.

One file a model. Its root attributes say what it is; each lens has one group with plain datasets and attributes:
no pickles, no object arrays, no links, so that h5py, HDFView, MATLAB and Julia read it without filterlens. Every
dataset carries HDF5's own Fletcher-32 checksum. A dump is written beside its place and renamed: it is there whole,
or not there.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from filterlens.errors import DumpError
from filterlens.files import beside, explain_failure, publish

__all__ = ["SCHEMA", "DumpGroup", "DumpReader", "DumpWriter", "WritableGroup"]

SCHEMA = 1
_MAX_BYTES = 1 << 40  # a dataset that declares more than a terabyte is damage or malice
_MAX_RATIO = 2000  # HDF5's compressions reach about 1000 on zeros: more means that chunks are missing
_KINDS = "fiub"
_CHUNK = 1 << 20
Attribute = str | int | float | bool | NDArray[Any]


def encode_name(name: str) -> str:
    """Turn a layer's name into one HDF5 link name (ONNX names hold slashes)."""
    encoded = name.replace("%", "%25").replace("/", "%2F").replace("\0", "%00")
    return {"": "%", ".": "%2E"}.get(encoded, encoded)


def decode_name(link: str) -> str:
    """Undo `encode_name`."""
    if link == "%":
        return ""
    return link.replace("%2E", ".").replace("%00", "\0").replace("%2F", "/").replace("%25", "%")


def _hold_off_interrupts() -> Callable[[], object]:
    """Let Ctrl-C wait for what `_CAREFUL` names from now on, until what is returned is called.

    HDF5 calls back into Python to write. An exception raised there is lost, or leaves the library half-closed.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        return lambda: None

    def hear(number: int, frame: FrameType | None) -> None:
        running = frame
        while running is not None:
            if running.f_code in _CAREFUL:
                again = threading.Timer(0.01, os.kill, (os.getpid(), number))
                again.daemon = True
                again.start()
                return
            running = running.f_back
        before(number, frame)

    signal.signal(signal.SIGINT, hear)
    return lambda: signal.signal(signal.SIGINT, before)


class _PatientFile(io.FileIO):
    """A file that remembers its first write error and swallows what follows.

    HDF5 keeps its tables in memory and writes them when a file is closed; where that fails (a full disk) it fails
    again and again and takes the process down at exit. So it closes in peace, and the error is raised afterwards.
    """

    failure: OSError | None = None

    def write(self, data: Any) -> int:  # noqa: ANN401 - any buffer
        """Write all of it, or remember why not."""
        view = memoryview(data).cast("B")
        try:
            written = 0
            while self.failure is None and written < len(view):
                written += super().write(view[written:]) or 0
        except OSError as error:
            self.failure = error
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Set the size, or remember why not."""
        try:
            return super().truncate(size) if self.failure is None else size or 0
        except OSError as error:
            self.failure = error
            return size or 0


class DumpWriter:
    """Write one model's dump; use as a context manager.

    Lenses that an existing dump already holds are kept unless they are written again. Nothing is seen at `path`
    before the `with` block ends without an exception.

    Parameters
    ----------
    path
        Where the dump is to appear.
    attributes
        Root attributes: `model_id`, `source`, `sha256`, `catalog_row` (JSON), `torch_version`, …

    Raises
    ------
    DumpError
        The folder cannot be written, or the disk is full.
    """

    def __init__(self, path: Path, attributes: Mapping[str, Attribute]) -> None:
        self.path = path
        self._temporary = beside(path)
        self._attributes = dict(attributes)
        self._file: h5py.File | None = None
        self._raw: _PatientFile | None = None
        self._cancelled = False
        self._resume_interrupts: Callable[[], object] = lambda: None

    def __enter__(self) -> Self:
        from filterlens import __version__

        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self.path.exists():
                shutil.copyfile(self.path, self._temporary)
            mode = "r+" if self._temporary.exists() else "w"
            self._resume_interrupts = _hold_off_interrupts()
            self._raw = _PatientFile(self._temporary, f"{mode[0]}b+")
            self._file = h5py.File(self._raw, mode, track_order=True)
            own = {
                "filterlens_version": __version__,
                "schema": SCHEMA,
                "created": datetime.now(UTC).isoformat(),
            }
            self._file.attrs.update(own | self._attributes)
        except BaseException as error:
            self._abandon()
            if isinstance(error, OSError):
                raise DumpError(explain_failure(self.path, error)) from error
            raise
        return self

    def lens(self, name: str, parameters: Mapping[str, object]) -> WritableGroup:
        """Start a lens's group anew; `parameters` (settings, seed, versions) are stored as JSON beside the data."""
        if self._file is None:
            raise DumpError(f"{self.path} is not open for writing")
        if name in self._file:
            del self._file[name]
        group = self._file.create_group(name, track_order=True)
        group.attrs["parameters"] = json.dumps(parameters, sort_keys=True, default=str)
        return WritableGroup(group, self._check_disk)

    def discard(self, name: str) -> None:
        """Take a lens's group out again (its extractor failed half-way)."""
        if self._file is not None and name in self._file:
            del self._file[name]

    @property
    def lenses(self) -> list[str]:
        """Names of the lenses that the dump holds by now."""
        return [] if self._file is None else [str(name) for name in self._file]

    def cancel(self) -> None:
        """Leave the place as it was when the `with` block ends."""
        self._cancelled = True

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
            publish(self._temporary, self.path)
            self._resume_interrupts()
        except BaseException as failure:
            self._abandon()
            if isinstance(failure, OSError | RuntimeError):
                raise DumpError(explain_failure(self.path, failure)) from failure
            raise

    def _check_disk(self) -> None:
        if self._raw is not None and self._raw.failure is not None:
            raise DumpError(explain_failure(self.path, self._raw.failure)) from self._raw.failure

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
        self._resume_interrupts()


_CAREFUL = {
    function.__code__
    for function in (_PatientFile.write, _PatientFile.truncate, DumpWriter.__exit__, DumpWriter._abandon)
}


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
        if dtype.kind not in _KINDS:
            raise DumpError(f"{name!r} is of type {dtype}, but dumps hold plain numbers only")
        if encode_name(name) in self._group:
            raise DumpError(f"{self._group.name} already holds an array {name!r}")


def _chunks(data: NDArray[Any]) -> tuple[int, ...] | bool:
    """Whole rows, about `_CHUNK` bytes of them: h5py's own small chunks take more than twice as long to write."""
    row = data[0].nbytes
    return (min(len(data), _CHUNK // row), *data.shape[1:]) if row <= _CHUNK else True


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
        try:
            self._file = h5py.File(path, "r")
            self.attributes: dict[str, Any] = {key: _plain(value) for key, value in self._file.attrs.items()}
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
        with _guarded(self.path):
            return [str(name) for name in self._file if isinstance(_hard_get(self._file, name, self.path), h5py.Group)]

    def lens(self, name: str) -> DumpGroup:
        """Return one lens's part.

        Raises
        ------
        DumpError
            The dump does not hold it.
        """
        with _guarded(self.path):
            group = _hard_get(self._file, name, self.path) if name in self._file else None
        if not isinstance(group, h5py.Group):
            raise DumpError(f"{self.path} holds no lens {name!r}, only {', '.join(self.lenses) or 'none'}")
        return DumpGroup(group, self.path)


class DumpGroup:
    """One lens's part of a dump: named arrays in the order in which they were written."""

    def __init__(self, group: h5py.Group, path: Path) -> None:
        self._group = group
        self.path = path

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
        found = _attributes(self._dataset(link), self.path).get("order", 0)
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
        with _guarded(self.path):
            dataset = _hard_get(self._group, link, self.path) if link in self._group else None
        if not isinstance(dataset, h5py.Dataset):
            raise DumpError(f"{self.path}: {self._group.name} holds no array {decode_name(link)!r}")
        try:
            dtype, external, virtual = dataset.dtype, dataset.external, dataset.is_virtual
        except (TypeError, OSError, RuntimeError, ValueError) as error:
            raise DumpError(f"{self.path}: {dataset.name} has no readable type ({error})") from error
        if external or virtual:
            raise DumpError(f"{self.path}: {dataset.name} keeps its data in another file, which dumps never do")
        if dtype.kind not in _KINDS or dtype.itemsize > 8:
            raise DumpError(f"{self.path}: {dataset.name} is of type {dtype}, but dumps hold plain numbers only")
        with _guarded(self.path):
            declared = math.prod(dataset.shape) * dtype.itemsize
            stored = dataset.id.get_storage_size()
        if declared > min(_MAX_BYTES, _MAX_RATIO * stored):
            raise DumpError(f"{self.path}: {dataset.name} declares {declared} bytes but holds {stored}; extract again")
        return dataset


def _hard_get(group: h5py.Group, link: str, path: Path) -> h5py.HLObject:
    """Follow hard links only: a dump never points into another file."""
    if not isinstance(group.get(link, getlink=True), h5py.HardLink):
        raise DumpError(f"{path}: {group.name}/{link} is a link, which dumps never hold; it is not followed")
    try:
        return group[link]
    except (KeyError, OSError, RuntimeError) as error:
        raise DumpError(f"{path}: {group.name}/{link} cannot be opened ({error}); extract again") from error


@contextlib.contextmanager
def _guarded(path: Path) -> Iterator[None]:
    """Turn what h5py raises on a damaged file into an error of ours."""
    try:
        yield
    except (KeyError, MemoryError, OSError, OverflowError, RuntimeError, TypeError, ValueError) as error:
        raise DumpError(f"{path} is damaged ({error}): delete it and extract again") from error


def _attributes(item: h5py.HLObject, path: Path) -> dict[str, Any]:
    """Attributes of a group or an array as plain Python."""
    with _guarded(path):
        return {key: _plain(value) for key, value in item.attrs.items()}


def _plain(value: Any) -> Any:  # noqa: ANN401 - HDF5 attributes are of many types
    """Turn an HDF5 attribute into plain Python."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.ndim:
        return value.tolist()
    return value
