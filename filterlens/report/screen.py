"""A table as the page shows it: what a reader of the screen needs, each note once, and no column for what repeats.

The files keep every column; here a score's unit stands beside its title, its key is left to the files, and notes of
rows are numbered below the table.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import pandas as pd

from filterlens.report.formats import Column, Table, cell

__all__ = ["ScreenCell", "ScreenTable", "numbered", "screen_table", "without_paths"]

_MOST_ROWS = 1000
#: columns that stand in one cell of the page with another
_HEADS = {"n_pairs": "pairs / normal models", "robust_is": "claimed, pairs as claimed"}
_POSIX = re.compile(r"(?<![\w/.~])/(?![/\s])(?:[^\s/:;,'\"<>|()\[\]{}]+/)+([^\s/:;,'\"<>|()\[\]{}]*)")
_WINDOWS = re.compile(r"(?<!\w)[A-Za-z]:(?:\\\\?[^\s\\:;,'\"<>|()\[\]{}]+)*\\\\?([^\s\\:;,'\"<>|()\[\]{}]+)")


@dataclass(frozen=True, slots=True)
class ScreenCell:
    """One cell: text, class (`n` number, `t` prose, `m` model, or none), unit, and the number of its note."""

    text: str
    kind: str = ""
    unit: str = ""
    note: int = 0


@dataclass(frozen=True, slots=True)
class ScreenTable:
    """A table's name, heading, note, columns, rows, and the notes that cells refer to by number, from 1."""

    name: str
    title: str
    note: str
    columns: tuple[Column, ...]
    rows: list[list[ScreenCell]]
    footnotes: list[str]


def without_paths(text: str) -> str:
    """Leave of each absolute path the last part: a page is passed on, and where files lay is nobody's business.

    Examples
    --------
    >>> without_paths("/home/ada/zoo/net.pt: no such file; see https://example.org/a/b, ./c/d")
    '…/net.pt: no such file; see https://example.org/a/b, ./c/d'
    """
    return _WINDOWS.sub(r"…/\1", _POSIX.sub(r"…/\1", text.replace("file:///", "/")))


def numbered(notes: Collection[str]) -> dict[str, int]:
    """Give each different note a number, from 1; an empty one has 0."""
    told = dict.fromkeys(note for note in notes if note)
    return {"": 0} | {note: number for number, note in enumerate(told, start=1)}


def screen_table(table: Table, models: Mapping[str, object], said: set[str]) -> ScreenTable:
    """Make what the page shows of a table.

    Parameters
    ----------
    table
        The table.
    models
        Ids of the run's models; cells that hold one are marked.
    said
        General notes that the page has said already; those of this table are added.
    """
    is_of_scores = any(column.key == "title" for column in table.columns)
    left_out = {"note", "n_normal", "n_expected"} | ({"unit", "metric"} if is_of_scores else set())
    columns = tuple(
        replace(column, head=_HEADS.get(column.key, column.head))
        for column in table.columns
        if column.key not in left_out
    )
    notes = [without_paths(cell(note)) for note in _column(table, "note")]
    units = _column(table, "unit") if is_of_scores else [""] * len(table.frame)
    numbers = numbered(notes)
    of_all = notes[0] if len(numbers) == 2 and all(notes) else ""  # the note of every row is said above them
    rows = [
        [
            ScreenCell(
                without_paths(text) if column.kind == "text" else text,
                _kind(column, text, models),
                str(units[i]) if column.key == "title" and units[i] != "share" else "",
                numbers[notes[i]] if place == 0 and not of_all else 0,
            )
            for place, (column, text) in enumerate(zip(columns, row, strict=True))
        ]
        for i, row in enumerate(_rows(table, columns))
    ]
    general = [note for note in table.general if note not in said]
    said.update(general)
    cut = (
        f"The first {_MOST_ROWS} of {len(table.frame)} rows; all are in the files."
        if len(rows) < len(table.frame)
        else ""
    )
    note = without_paths(
        " ".join(filter(None, [table.note, *general, f"{of_all[:1].upper()}{of_all[1:]}." if of_all else "", cut]))
    )
    footnotes = [] if of_all else [note for note in numbers if note]
    return ScreenTable(table.name, table.title, note, columns, rows, footnotes)


def _column(table: Table, key: str) -> list[object]:
    """Values of a column that the table shows; as many empty texts where it shows none."""
    is_shown = any(column.key == key for column in table.columns)
    return table.frame[key].tolist() if is_shown else [""] * len(table.frame)


def _rows(table: Table, columns: tuple[Column, ...]) -> list[list[str]]:
    known = {column.key: column for column in table.columns}
    frame = table.frame.head(_MOST_ROWS)
    rows = Table("", "", "", frame, tuple(known[column.key] for column in columns)).rows()
    for row, facts in zip(rows, frame.to_dict("records"), strict=True):
        for place, column in enumerate(columns):
            if column.key == "n_pairs" and "n_normal" in known:
                row[place] += f" / {cell(facts['n_normal'], 'count')}"
            if column.key == "robust_is" and row[place]:
                row[place] += f", {cell(facts['n_expected'], 'count')} of {cell(facts['n_pairs'], 'count')}"
    return rows


def _kind(column: Column, text: str, models: Mapping[str, object]) -> str:
    if column.kind == "name" and column.key in {"model_id", "robust", "normal"} and text in models:
        return "m"
    return "n" if column.is_numeric else "t" if column.kind == "text" else ""


def gathered(frame: pd.DataFrame, of: str, into: str) -> pd.DataFrame:
    """Put rows that differ in one column only into one, which counts and lists its values there.

    Parameters
    ----------
    frame
        Rows of text.
    of
        The column whose values are gathered: of `n` values the first eight are listed.
    into
        Name of the column of counts.
    """
    others = [str(name) for name in frame.columns if name != of]
    rows = []
    for key, part in frame.groupby(others, sort=False, dropna=False):
        values = [str(value) for value in dict.fromkeys(part[of])]
        more = f" and {len(values) - 8} more" if len(values) > 8 else ""
        rows.append({**dict(zip(others, key, strict=True)), into: len(values), of: ", ".join(values[:8]) + more})
    return pd.DataFrame(rows, columns=[*others, into, of])
