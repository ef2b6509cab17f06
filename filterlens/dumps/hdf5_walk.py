"""Walk everything of an HDF5 file except its data, for `filterlens.dumps.hdf5_check`.

It runs in `filterlens.process.isolated_program`, and imports nothing of filterlens.
"""

from __future__ import annotations

import contextlib
import math
import os
import zlib
from collections.abc import Sequence
from typing import Any, Final

import h5py
import numpy as np
from h5py import h5, h5a, h5d, h5f, h5g, h5l, h5o, h5p, h5s, h5t, h5z

RATIO: Final = 100  # LZF stores at most 264 bytes in 3: declared sizes beyond that are damage or malice
SMALL: Final = 64 << 20  # declared bytes that are harmless whatever the ratio: gzip reaches 1032
IMAGE: Final = 32 << 20  # bytes of a file that is read whole first, which saves thousands of small reads
DEPTH: Final = 32  # groups in groups; dumps have 2, pandas' tables 3
LZF: Final = 32000
COMPRESSIONS: Final = {h5z.FILTER_DEFLATE, LZF}
FILTERS: Final = COMPRESSIONS | {h5z.FILTER_SHUFFLE, h5z.FILTER_FLETCHER32}
NUMBERS: Final = {h5t.INTEGER, h5t.FLOAT, h5t.ENUM}
PLAIN: Final = NUMBERS | {h5t.STRING, h5t.BITFIELD}  # by which PyTables stores booleans
OPEN: Final = h5f.OBJ_FILE | h5f.OBJ_DATASET | h5f.OBJ_GROUP | h5f.OBJ_ATTR

h5py._errors.silence_errors()


class Refused(Exception):  # noqa: N818 - an answer
    """The file holds what no filterlens file holds."""


class Walk:
    """One file, walked from its root.

    Parameters
    ----------
    path
        The file.
    cells
        Allow arrays of text and of rows of differing length, as pandas writes them; such rows are read.
    """

    def __init__(self, path: str, *, cells: bool) -> None:
        self.cells = cells
        self.raw = os.open(path, os.O_RDONLY)
        self.size = os.fstat(self.raw).st_size
        self.declared = 0
        self.seen: set[int] = set()
        access = h5p.create(h5p.FILE_ACCESS)
        access.set_fclose_degree(h5f.CLOSE_STRONG)
        if self.size <= IMAGE:
            access.set_fapl_core(block_size=1 << 16, backing_store=False)
        self.file = h5f.open(os.fsencode(path), h5f.ACC_RDONLY, fapl=access)

    def close(self) -> None:
        """Close the file and every object of it."""
        os.close(self.raw)
        self.file.close()

    def run(self) -> None:
        """Walk it all."""
        self._group(h5g.open(self.file, b"/"), "", 0)

    def _group(self, group: Any, name: str, depth: int) -> None:  # noqa: ANN401 - h5py has no types
        if depth > DEPTH:
            raise Refused(f"{name:.80} lies more than {DEPTH} groups deep")
        self._attributes(group, name or "/", group.get_create_plist())
        for link in self._links(group):
            shown = f"{name}/{link.decode('utf-8', 'backslashreplace')}"
            if group.links.get_info(link).type != h5l.TYPE_HARD:
                raise Refused(f"{shown} is a link, which dumps never hold; it is not followed")
            item = h5o.open(group, link)
            self._once(item, shown)
            if isinstance(item, h5g.GroupID):
                self._group(item, shown, depth + 1)
            elif isinstance(item, h5d.DatasetID):
                self._array(item, shown)
            else:
                raise Refused(f"{shown} is neither a group nor an array")

    def _links(self, group: Any) -> list[bytes]:  # noqa: ANN401 - as above
        """Names by every index that readers may use, which must agree."""
        names: list[bytes] = []
        group.links.iterate(names.append, idx_type=h5.INDEX_NAME)
        if group.get_create_plist().get_link_creation_order() & h5p.CRT_ORDER_INDEXED:
            ordered: list[bytes] = []
            group.links.iterate(ordered.append, idx_type=h5.INDEX_CRT_ORDER)
            if sorted(ordered) != sorted(names):
                raise Refused("the indices of a group disagree")
        return names

    def _once(self, item: Any, name: str) -> None:  # noqa: ANN401 - as above
        address = h5o.get_info(item).addr
        if address in self.seen:
            raise Refused(f"{name} is a second name of another object")
        self.seen.add(address)

    def _attributes(self, item: Any, name: str, made: Any) -> None:  # noqa: ANN401 - as above
        names: list[bytes] = []
        h5a.iterate(item, names.append, index_type=h5.INDEX_NAME)
        if made.get_attr_creation_order() & h5p.CRT_ORDER_INDEXED:
            h5a.iterate(item, lambda _: None, index_type=h5.INDEX_CRT_ORDER)
        for key in names:
            attribute = h5a.open(item, key)
            kind = attribute.get_type()
            if kind.get_class() == h5t.STRING and kind.is_variable_str():  # it lies in a heap of its own
                if attribute.get_space().get_simple_extent_type() != h5s.NULL:
                    attribute.read(np.empty(attribute.shape, dtype=attribute.dtype))
            elif kind.get_class() not in PLAIN:
                shown = key.decode("utf-8", "backslashreplace")
                raise Refused(f"{name} has the attribute {shown}, which is neither numbers nor text")

    def _array(self, array: Any, name: str) -> None:  # noqa: ANN401 - as above
        made = array.get_create_plist()
        layout = made.get_layout()
        if made.get_external_count() or layout == h5d.VIRTUAL:
            raise Refused(f"{name} keeps its data in another file, which dumps never do")
        self._attributes(array, name, made)
        kind, dtype = array.get_type(), array.dtype
        varying = kind.get_class() == h5t.VLEN or (kind.get_class() == h5t.STRING and kind.is_variable_str())
        if not (kind.get_class() in NUMBERS and dtype.itemsize <= 8) and not (self.cells and self._is_cell(kind)):
            raise Refused(f"{name} is of type {dtype}, but dumps hold plain numbers only")
        declared = math.prod(array.shape or (0,)) * kind.get_size()
        if layout == h5d.CHUNKED:
            declared = max(declared, self._chunks(array, made, kind.get_size(), name))
        place = array.get_offset() if layout == h5d.CONTIGUOUS else None
        if place is not None and place + declared > self.size:
            raise Refused(f"{name} ends beyond the end of the file")
        self.declared += declared
        if self.declared > RATIO * self.size + SMALL:
            raise Refused(
                f"{name} declares {declared} bytes but holds {array.get_storage_size()}; arrays that declare more than "
                f"{RATIO} times their file's {self.size} bytes are not read"
            )
        if varying:
            array.read(h5s.ALL, h5s.ALL, np.empty(array.shape, dtype=dtype))

    def _is_cell(self, kind: Any) -> bool:  # noqa: ANN401 - as above
        if kind.get_class() == h5t.VLEN:
            return bool(kind.get_super().get_class() == h5t.INTEGER)
        return kind.get_class() in {h5t.STRING, h5t.BITFIELD}

    def _chunks(self, array: Any, made: Any, itemsize: int, name: str) -> int:  # noqa: ANN401 - as above
        """Return the bytes that the array's chunks hold once they are unpacked."""
        pipeline = [made.get_filter(i) for i in range(made.get_nfilters())]
        codes = [code for code, *_ in pipeline]
        if set(codes) - FILTERS or len(set(codes) & COMPRESSIONS) > 1 or len(set(codes)) < len(codes):
            raise Refused(f"{name} is packed by the filters {codes}, which dumps do not use")
        chunk: int = math.prod(made.get_chunk()) * itemsize
        if any(code == LZF and (len(values) < 3 or values[2] != chunk) for code, _, values, _ in pipeline):
            raise Refused(f"{name} has chunks of {chunk} bytes, but its LZF filter expects another size")
        found: list[Any] = []
        array.chunk_iter(found.append)
        for stored in found:
            active = [code for place, code in enumerate(codes) if not stored.filter_mask >> place & 1]
            self._chunk(stored, active, chunk, name)
        return len(found) * chunk

    def _chunk(self, stored: Any, active: Sequence[int], chunk: int, name: str) -> None:  # noqa: ANN401 - as above
        """Hold a chunk to its size: libhdf5 unpacks whatever comes, and copies a whole chunk from it."""
        start, size = stored.byte_offset, stored.size
        if start is None or start + size > self.size:
            raise Refused(f"{name} has a chunk that ends beyond the end of the file")
        packed = next((place for place, code in enumerate(active) if code in COMPRESSIONS), None)
        checksum = 4 if h5z.FILTER_FLETCHER32 in active else 0
        if packed is None:
            fits = size == chunk + checksum
        elif active[packed] == LZF:
            fits = size <= chunk + checksum
        else:
            inside = checksum if h5z.FILTER_FLETCHER32 in active[:packed] else 0
            fits = self._inflates(start, size - checksum + inside, chunk + inside)
        if not fits:
            raise Refused(f"{name} has a chunk of {size} bytes that does not unpack to {chunk}")

    def _inflates(self, start: int, size: int, expected: int) -> bool:
        """Whether gzip's stream unpacks to the expected bytes, without ever holding more of them."""
        unpacker, unpacked, end = zlib.decompressobj(), 0, start + size
        rest = b""
        while not unpacker.eof and unpacked <= expected and (rest or start < end):
            if not rest:
                rest = os.pread(self.raw, min(1 << 18, end - start), start)
                start += len(rest)
                if not rest:
                    return False
            unpacked += len(unpacker.decompress(rest, 1 << 20))
            rest = unpacker.unconsumed_tail
        return unpacker.eof and unpacked == expected


def check(path: str, *, cells: bool) -> None:
    """Walk a file; whatever is raised says why it is not to be opened."""
    walk = Walk(path, cells=cells)
    try:
        walk.run()
    finally:
        with contextlib.suppress(Exception):
            walk.close()


def is_spent() -> bool:
    """Whether a file is still open: HDF5 would answer from memory the next time."""
    return bool(h5f.get_obj_count(h5f.OBJ_ALL, OPEN) > 0)
