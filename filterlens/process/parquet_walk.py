"""Read a Parquet file of a score table whole, within bounds, for `filterlens.score`.

It runs in `filterlens.process.isolated_program`, and imports nothing of filterlens: pyarrow ends the process where a
footer is damaged in one of many ways.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from pyarrow import parquet

ROWS: Final = 1_000_000  # that any file may have; beyond them one a byte: a table of ours takes four
COLUMNS: Final = 10  # times the columns that a table has
SNAPPY: Final = 21  # bytes that Snappy unpacks from one
SMALL: Final = 1 << 20
THRIFT: Final = 16 << 20


def check(path: str, *, columns: Sequence[str], texts: Sequence[str]) -> None:
    """Read a file; whatever is raised says why it is not to be read.

    Parameters
    ----------
    path
        The file.
    columns
        The columns that are read; others are passed over, missing ones too.
    texts
        Those of them that hold text.
    """
    size = Path(path).stat().st_size
    with parquet.ParquetFile(
        path, read_dictionary=texts, thrift_string_size_limit=THRIFT, thrift_container_size_limit=THRIFT
    ) as file:
        check_sizes(file.metadata, size, len(columns))
        table = file.read(columns=[name for name in columns if name in file.schema_arrow.names], use_threads=False)
    table.validate(full=True)
    for name in texts:
        if name in table.column_names and not is_text(table.schema.field(name).type):
            raise ValueError(f"column {name} holds no text")


def check_sizes(found: Any, size: int, columns: int) -> None:  # noqa: ANN401 - pyarrow has no types
    """Refuse a file that declares more than its bytes can hold."""
    if found.num_rows > max(ROWS, size) or found.num_columns > COLUMNS * columns:
        raise ValueError(f"it declares {found.num_rows} rows and {found.num_columns} columns in {size} bytes")
    chunks = [found.row_group(i).column(j) for i in range(found.num_row_groups) for j in range(found.num_columns)]
    packed = {chunk.compression for chunk in chunks} - {"SNAPPY", "UNCOMPRESSED"}
    if packed:
        raise ValueError(f"it is packed by {', '.join(sorted(packed))}, score tables by Snappy")
    if sum(max(0, chunk.total_uncompressed_size) for chunk in chunks) > SNAPPY * size + SMALL:
        raise ValueError(f"it declares more than {SNAPPY} times its {size} bytes")


def is_text(kind: Any) -> bool:  # noqa: ANN401 - as above
    """Whether a column's type is text, as a dictionary or not, or nothing at all."""
    inner = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(inner) or pa.types.is_large_string(inner) or pa.types.is_null(inner))


def is_spent() -> bool:
    """Whether this process is not to be asked again: files leave nothing behind."""
    return False
