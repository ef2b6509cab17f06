"""HDF5 dumps: the only room that knows their layout.

One file a model. Its root attributes say what it is; each lens has one group with plain datasets and attributes:
no pickles, no object arrays, no links, so that h5py, HDFView, MATLAB and Julia read it without filterlens. Every
dataset carries HDF5's own Fletcher-32 checksum. A dump is written beside its place and renamed: it is there whole,
or not there.
"""

from __future__ import annotations

from filterlens.dumps.in_memory import InMemoryGroup
from filterlens.dumps.layout import SCHEMA, decode_name, encode_name
from filterlens.dumps.reading import DumpGroup, DumpReader, number, open_lens
from filterlens.dumps.receiving import receive_dump
from filterlens.dumps.scored import StoredScores, read_stored, write_stored
from filterlens.dumps.streaming import FloatStream
from filterlens.dumps.writing import DumpWriter, WritableGroup

__all__ = [
    "SCHEMA",
    "DumpGroup",
    "DumpReader",
    "DumpWriter",
    "FloatStream",
    "InMemoryGroup",
    "StoredScores",
    "WritableGroup",
    "decode_name",
    "encode_name",
    "number",
    "open_lens",
    "read_stored",
    "receive_dump",
    "write_stored",
]
