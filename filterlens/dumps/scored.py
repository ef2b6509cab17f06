"""What a dump keeps of a lens whose arrays are not stored: its scores, and what they are pooled and shown from.

`/scored/LENS` holds `table` (columns of the score table: texts as JSON, numbers as arrays), `summary` (of a lens that
pools) and `arrays` (a few of the lens's own, for the report's figures).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from filterlens.dumps.reading import DumpGroup, DumpReader
from filterlens.dumps.writing import DumpWriter, WritableGroup
from filterlens.errors import DumpError

__all__ = ["StoredScores", "read_stored", "write_stored"]

_TEXTS: Final = "texts"
Column = list[str] | NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class StoredScores:
    """Scores of one lens of one model, computed where the model was loaded.

    Parameters
    ----------
    table
        Columns of the score table by name: texts, or numbers of shape (rows,).
    summary
        What `analyze` of a lens that pools returns beside its rows; empty of one that does not.
    made_by
        What decides which scores there are, and their numbers: versions.
    sha256
        Of the checkpoint, or of the weights themselves where they came from no file.
    folder
        Where the source was looked up: the catalog's folder.
    """

    table: Mapping[str, Column]
    summary: Mapping[str, NDArray[np.float64]]
    made_by: str
    sha256: str
    folder: str


def write_stored(dump: DumpWriter, lens: str, parameters: Mapping[str, object], scores: StoredScores) -> WritableGroup:
    """Write scores in place of a lens's arrays.

    Returns
    -------
        Where a few of the arrays are to be kept.
    """
    dump.discard(lens)
    table = dump.part(lens, "table")
    table.set_attributes(made_by=scores.made_by, sha256=scores.sha256, folder=scores.folder)
    texts = {name: column for name, column in scores.table.items() if isinstance(column, list)}
    for name, column in scores.table.items():
        if not isinstance(column, list):
            table.write(name, np.asarray(column, dtype=np.float64))
    table.write(_TEXTS, np.frombuffer(json.dumps(texts).encode(), dtype=np.uint8))
    summary = dump.part(lens, "summary")
    for name, array in scores.summary.items():
        summary.write(name, array)
    arrays = dump.part(lens, "arrays")
    arrays.set_attributes(parameters=json.dumps(parameters, sort_keys=True, default=str))
    return arrays


def read_stored(dump: DumpReader, lens: str) -> StoredScores:
    """Read what `write_stored` has written.

    Raises
    ------
    DumpError
        It is damaged.
    """
    group, summary = dump.part(lens, "table"), dump.part(lens, "summary")
    facts = group.attributes
    return StoredScores(
        table=_table(group),
        summary={name: summary.read(name) for name in summary.names()},
        made_by=str(facts.get("made_by", "")),
        sha256=str(facts.get("sha256", "")),
        folder=str(facts.get("folder", "")),
    )


def _table(group: DumpGroup) -> dict[str, Column]:
    try:
        texts = json.loads(group.read(_TEXTS).tobytes())
    except (ValueError, RecursionError) as error:
        raise _damaged(group) from error
    table: dict[str, Column] = {name: group.read(name) for name in group.names() if name != _TEXTS}
    if not isinstance(texts, dict):
        raise _damaged(group)
    table |= texts
    if not all(_is_column(column) for column in table.values()) or len({len(found) for found in table.values()}) != 1:
        raise _damaged(group)
    return table


def _damaged(group: DumpGroup) -> DumpError:
    return DumpError(f"{group.path}: the scores that it keeps are damaged; extract again")


def _is_column(column: object) -> bool:
    if isinstance(column, list):
        return all(isinstance(text, str) for text in column)
    return isinstance(column, np.ndarray) and column.ndim == 1 and column.dtype == np.float64
