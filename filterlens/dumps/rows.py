"""Arrays that are stored as plain rows, read past HDF5's filters: its loop over checksums takes longer than the disk.

HDF5 keeps Fletcher's checksum behind each chunk: over its n 16-bit words w_i, in big-endian order, the sum of all w_i
and of all (n − i) w_i, both modulo 65535.
"""

from __future__ import annotations

import math
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from filterlens.process.compiled import compiled

__all__ = ["fletcher32", "read_rows"]

_LANES = 128  # words side by side: sums of each lane are independent of the others, and fill vector registers
_MODULUS = 65535
_STORED = 4  # bytes of a checksum
_LARGEST = 1 << 30  # bytes of a chunk: sums stay within 64 bits


def read_rows(dataset: h5py.Dataset) -> NDArray[Any] | None:
    """Read an array whole if all its chunks are whole rows behind which the right checksum stands.

    Parameters
    ----------
    dataset
        Any.

    Returns
    -------
        The array; None where it is stored in another way or a checksum is wrong, for HDF5 to read or to refuse it.
    """
    dtype, chunks, pipeline = dataset.dtype, dataset.chunks, dataset.id.get_create_plist()
    if not chunks or chunks[1:] != dataset.shape[1:] or pipeline.get_nfilters() != 1 or not dataset.fletcher32:
        return None
    size = math.prod(chunks) * dtype.itemsize
    if not dtype.isnative or dtype.kind not in "fiu" or dtype.itemsize % 2 or size > _LARGEST:
        return None
    starts = range(0, dataset.shape[0], chunks[0])
    found = np.empty(len(starts) * size + _STORED, np.uint8)  # a chunk's checksum is overwritten by the next chunk
    for place, start in enumerate(starts):
        chunk = found[place * size : (place + 1) * size + _STORED]
        offset = (start, *(0 for _ in chunks[1:]))
        if dataset.id.get_chunk_info_by_coord(offset).size != len(chunk):
            return None
        skipped, _ = dataset.id.read_direct_chunk(offset, out=chunk)
        weighted, plain = divmod(int(chunk[size:].view("<u4")[0]), 1 << 16)
        if skipped or fletcher32(chunk[:size].view(np.uint16)) != (plain % _MODULUS, weighted % _MODULUS):
            return None
    array: NDArray[Any] = found[: dataset.size * dtype.itemsize].view(dtype).reshape(dataset.shape)
    return array


@compiled()
def fletcher32(words: NDArray[np.uint16]) -> tuple[int, int]:
    """Return the sums of Fletcher's checksum, the plain and the weighted one, below 65535; of at most 2^30 words."""
    n = len(words)
    full = n // _LANES
    plain = np.zeros(_LANES, np.int64)
    weighted = np.zeros(_LANES, np.int64)
    for block in range(full):
        for lane in range(_LANES):
            plain[lane] += words[block * _LANES + lane]
            weighted[lane] += plain[lane]
    first = second = np.int64(0)
    for lane in range(_LANES):  # a word's weight is _LANES · (full − block) and what its lane is from the rest
        own = plain[lane] % _MODULUS
        first += own
        second += weighted[lane] % _MODULUS * _LANES + own * (n - full * _LANES - lane)
    for place in range(full * _LANES, n):
        first += np.int64(words[place])
        second += np.int64(words[place]) * (n - place)
    # 256 times a word is, modulo 65535, the word with its bytes in the other order
    return int(256 * first % _MODULUS), int(256 * second % _MODULUS)
