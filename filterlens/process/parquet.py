"""Tables in Parquet files, checked in a process of their own before this one reads them, and written whole or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from filterlens.process.files import atomic_write
from filterlens.process.isolated import IsolatedCheck

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["TableFile"]

_check: Final = IsolatedCheck(
    Path(__file__).with_name("parquet_walk.py"),
    packages=("pyarrow", "numpy"),
    library="pyarrow",
    environment={"ARROW_DEFAULT_MEMORY_POOL": "system", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
)


@dataclass(frozen=True, slots=True)
class TableFile:
    """What files of one kind hold.

    Parameters
    ----------
    columns
        Those that are read; others are passed over, missing ones too.
    texts
        Those of them that hold text: read as dictionaries, of which pandas shares one object a text.
    """

    columns: tuple[str, ...]
    texts: tuple[str, ...]

    def read(self, path: Path, columns: Sequence[str] = ()) -> pa.Table:
        """Read a file that has passed the check.

        Parameters
        ----------
        path
            The file.
        columns
            Some of the columns; empty: all.

        Raises
        ------
        ValueError, OSError
            It is damaged, or of another kind.
        """
        from pyarrow import parquet

        if refused := _check.refusal(path, columns=list(self.columns), texts=list(self.texts)):
            raise ValueError(refused)
        wanted = columns or self.columns
        with parquet.ParquetFile(path, read_dictionary=list(self.texts)) as file:
            found = [name for name in wanted if name in file.schema_arrow.names]
            return file.read(columns=found, use_threads=False)

    def trust(self, path: Path) -> None:
        """Let a file pass that was just written here."""
        _check.trust(path, columns=list(self.columns), texts=list(self.texts))

    def write(self, table: pa.Table, path: Path) -> None:
        """Write a table, whole or not at all.

        Raises
        ------
        WriteError
            The disk is full or the folder cannot be written.
        """
        from pyarrow import parquet

        with atomic_write(path) as temporary:
            parquet.write_table(table, temporary)
        self.trust(path)
