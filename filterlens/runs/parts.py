"""`parts/`: scores and ledger rows of models that lie many to a file, two Parquet files a shard, no dump a model.

`NUMBER-scores.parquet` appears first and `NUMBER-ledger.parquet` after it, each whole or not at all: what the ledger
part names has its scores. A later part goes before an earlier one that has the same model.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from filterlens.errors import ReportError
from filterlens.process.files import write_atomically
from filterlens.process.parquet import TableFile
from filterlens.runs.rows import LedgerRow, checked_row
from filterlens.score import SCORES_FILE, arrow_schema, as_table

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = [
    "FOLDER",
    "left_out_of_pool",
    "list_parts",
    "next_part",
    "no_scores",
    "pack_scores",
    "part_facts",
    "part_paths",
    "read_part_keys",
    "read_part_parameters",
    "read_part_rows",
    "read_part_scores",
    "write_part",
]

FOLDER: Final = "parts"
_NAME: Final = re.compile(r"(\d{5,9})-ledger\.parquet")
_LISTS: Final = ("faults", "files", "notes")
_NUMBERS: Final = ("seconds",)
_COLUMNS: Final = tuple(found.name for found in fields(LedgerRow))
_LEDGER_FILE: Final = TableFile(_COLUMNS, tuple(name for name in _COLUMNS if name not in {*_LISTS, *_NUMBERS}))
_FACTS: Final = b"filterlens"


def part_paths(folder: Path, number: int) -> tuple[Path, Path]:
    """Name a part's files of scores and of ledger rows in a run's folder."""
    place = folder / FOLDER
    return place / f"{number:05d}-scores.parquet", place / f"{number:05d}-ledger.parquet"


def list_parts(folder: Path) -> list[int]:
    """Numbers of a run's parts, in order."""
    place = folder / FOLDER
    names = (_NAME.fullmatch(path.name) for path in place.iterdir()) if place.is_dir() else ()
    return sorted(int(found[1]) for found in names if found)


def next_part(folder: Path) -> int:
    """Return the number of the part that is written next."""
    return max(list_parts(folder), default=-1) + 1


def pack_scores(table: pd.DataFrame, facts: Mapping[str, object]) -> bytes:
    """Turn a score table into a Parquet file's bytes.

    Parameters
    ----------
    table
        See `filterlens.score`.
    facts
        How it was made, as plain values, for the file's header.
    """
    import pyarrow as pa
    from pyarrow import parquet

    schema = arrow_schema({_FACTS: json.dumps(facts, default=str)})
    out = io.BytesIO()
    parquet.write_table(pa.Table.from_pandas(table, schema, preserve_index=False), out)
    return out.getvalue()


def no_scores() -> bytes:
    """Return the file of a part without any score."""
    return pack_scores(as_table([]), {})


def left_out_of_pool(n: int) -> str:
    """Say that what is said of all models together is not said of those in parts."""
    return (
        f"distributions of all filters together, and shifts between models, leave out the {n} models that lie many to "
        "a file: no weights are stored of them"
    )


def write_part(folder: Path, number: int, scores: bytes, rows: Sequence[LedgerRow]) -> None:
    """Write a part, the scores before the rows that name them.

    Raises
    ------
    WriteError
        The disk is full or the folder cannot be written.
    """
    import pyarrow as pa

    scores_path, ledger_path = part_paths(folder, number)
    write_atomically(scores_path, scores)
    SCORES_FILE.trust(scores_path)
    columns: dict[str, list[Any]] = {name: [getattr(row, name) for row in rows] for name in _COLUMNS}
    columns["versions"] = [json.dumps(versions) for versions in columns["versions"]]
    types = {name: pa.list_(pa.string()) for name in _LISTS} | {name: pa.float64() for name in _NUMBERS}
    schema = pa.schema([(name, types.get(name, pa.string())) for name in _COLUMNS])
    _LEDGER_FILE.write(pa.table(columns, schema=schema), ledger_path)


def read_part_rows(folder: Path) -> Iterator[LedgerRow]:
    """Read the ledger rows of a run's parts, in order; those of a damaged file are passed over, as torn lines are."""
    for number in list_parts(folder):
        with suppress(ReportError, ValueError, TypeError, AttributeError, KeyError, RecursionError):
            for values in _read(_LEDGER_FILE, part_paths(folder, number)[1]).to_pylist():
                yield checked_row(values | {"versions": _versions(values["versions"])})


@lru_cache(maxsize=64)
def _versions(text: str) -> dict[str, str]:
    """Return the versions of a row; one object for all rows that say the same."""
    found = json.loads(text)
    return {str(name): str(version) for name, version in found.items()} if isinstance(found, dict) else {}


def read_part_keys(folder: Path, number: int) -> list[tuple[str, str, str, str, str]]:
    """Read `model_id`, `lens`, `status`, `key` and `started` of a part's rows.

    Raises
    ------
    ReportError
        They are damaged.
    """
    columns = ("model_id", "lens", "status", "key", "started")
    table = _read(_LEDGER_FILE, part_paths(folder, number)[1], columns)
    return list(zip(*(table[name].to_pylist() for name in columns), strict=True))


def read_part_scores(folder: Path, number: int) -> pa.Table:
    """Read a part's scores.

    Raises
    ------
    ReportError
        They are damaged or missing.
    """
    return _read(SCORES_FILE, part_paths(folder, number)[0])


def part_facts(folder: Path, number: int) -> dict[str, Any]:
    """Read how a part's scores were made; empty where nobody knows.

    Raises
    ------
    ReportError
        They are damaged or missing.
    """
    schema = _read(SCORES_FILE, part_paths(folder, number)[0], ("lens",)).schema
    try:
        found = json.loads((schema.metadata or {})[_FACTS])
    except (KeyError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def read_part_parameters(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Return how each lens looked at each model of a run's parts; a damaged part has none."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for number in list_parts(folder):
        with suppress(ReportError):
            parameters = part_facts(folder, number).get("parameters", {})
            for model_id, lens, status, *_ in read_part_keys(folder, number):
                found.pop((model_id, lens), None)
                if status == "ok":
                    found[model_id, lens] = parameters.get(lens, {})
    return found


def _read(kind: TableFile, path: Path, columns: Sequence[str] = ()) -> pa.Table:
    try:
        return kind.read(path, columns)
    except (ValueError, OSError) as error:
        said = " ".join(str(error).split())
        raise ReportError(
            f"{path} is missing or damaged ({said:.200}): run the same `filterlens audit` again"
        ) from error
