"""One table, as CSV for machines and Markdown for people; `latex` has that for papers. Hostile text is safe."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from filterlens.process.printable import printable

__all__ = ["Column", "Table", "cell", "one_line", "plus_minus", "to_csv", "to_markdown"]

Kind = Literal["text", "name", "number", "value", "count", "p", "flag"]
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    Parameters
    ----------
    key
        Column of the frame and of the CSV file; stable.
    head
        Heading for people.
    kind
        `number`: the same decimals all the way down; `value`: three significant digits each; `count`, `p`, `flag`,
        `name` (an id), `text`.
    unit
        Behind the heading, in brackets.
    better
        `↑` or `↓` where it is known which way goes with robustness.
    about
        What it is, in one sentence; for the code book and the heading's tooltip.
    detail
        Left out of LaTeX tables unless it is asked for.
    beside, joint
        Another column of the frame that people read in the same cell (`0.2 ± 0.1`), and what stands between; the
        CSV file keeps it apart.
    """

    key: str
    head: str
    kind: Kind = "text"
    unit: str = ""
    better: str = ""
    about: str = ""
    beside: str = ""
    joint: str = " ± "
    detail: bool = False

    @property
    def keys(self) -> tuple[str, ...]:
        """Columns of the frame, and so of the CSV file, that this column shows."""
        return (self.key, self.beside) if self.beside else (self.key,)

    @property
    def label(self) -> str:
        """Heading with unit and direction."""
        unit = f" [{self.unit}]" if self.unit else ""
        return f"{self.head}{unit}{' ' + self.better if self.better else ''}"

    @property
    def is_numeric(self) -> bool:
        """Whether cells are set flush right."""
        return self.kind in {"number", "value", "count", "p"}

    @property
    def is_measured(self) -> bool:
        """Whether a cell holds a measurement, and so says something where all rows are equal, too."""
        return self.kind in {"number", "value", "p"}


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """One table of a report: file name, heading, what it shows, and its rows.

    What `general` says holds for other tables too: a file repeats it, for it stands alone; the page says it once.
    """

    name: str
    title: str
    note: str
    frame: pd.DataFrame
    columns: tuple[Column, ...]
    lens: str = ""
    general: tuple[str, ...] = ()

    @property
    def notes(self) -> str:
        """Everything to be said of the table, as its files say it."""
        return " ".join(filter(None, [self.note, *self.general]))

    def rows(self) -> list[list[str]]:
        """Every cell as text, with numbers rounded for people."""
        formatted = []
        for column in self.columns:
            values = self.frame[column.key].tolist()
            digits = _digits(values) if column.kind == "number" else None
            if column.beside and column.joint == " ± ":
                seconds = self.frame[column.beside].tolist()
                formatted.append([plus_minus(a, b) for a, b in zip(values, seconds, strict=True)])
                continue
            texts = [cell(value, column.kind, digits) for value in values]
            if column.beside:
                others = [cell(value, column.kind, digits) for value in self.frame[column.beside].tolist()]
                texts = [a + column.joint + b if b else a for a, b in zip(texts, others, strict=True)]
            formatted.append(texts)
        return [list(row) for row in zip(*formatted, strict=True)]


def cell(value: object, kind: Kind = "value", digits: int | None = None) -> str:
    """One value as text for people; nothing known is an empty cell.

    Examples
    --------
    >>> cell(0.012345), cell(0.0004, "p"), cell(12.0, "count"), cell(True, "flag")
    ('0.0123', '< 0.001', '12', 'yes')
    """
    if value is None or (isinstance(value, float) and math.isnan(value)) or value is pd.NA:
        return ""
    if kind == "flag":
        return "yes" if value else "no"
    if isinstance(value, str) or kind in {"text", "name"}:
        return str(value)
    return _signed(_number(float(value), kind, digits))  # type: ignore[arg-type] # other kinds hold numbers


def plus_minus(mean: float | None, deviation: float | None) -> str:
    """Write a mean with its standard deviation: two digits of the deviation, and the mean to the same decimals.

    Examples
    --------
    >>> plus_minus(0.7761, 0.0113), plus_minus(123.4, 36.1), plus_minus(2.4e-7, 3.1e-8), plus_minus(0.5, None)
    ('0.776 ± 0.011', '123 ± 36', '(2.40 ± 0.31)×10⁻⁷', '0.500')
    """
    if mean is None or deviation is None or not math.isfinite(mean) or not math.isfinite(deviation) or not deviation:
        rest = cell(deviation)
        return cell(mean) + (f" ± {rest}" if rest else "")
    exponent = math.floor(math.log10(max(abs(mean), deviation)))
    if -4 < exponent < 6:
        exponent = 0
    mean, deviation = mean / 10.0**exponent, deviation / 10.0**exponent
    decimals = min(4, max(0, 1 - math.floor(math.log10(deviation))))
    text = _signed(f"{mean:.{decimals}f}") + f" ± {deviation:.{decimals}f}"
    return f"({text}){_power(exponent)}" if exponent else text


def _signed(text: str) -> str:
    """Write a minus as one, and none before zero."""
    return (text.removeprefix("-") if not text.strip("-0.") else text).replace("-", "−")


def _power(exponent: int) -> str:
    return f"×10{str(exponent).translate(_RAISED)}"


def _number(number: float, kind: Kind, digits: int | None) -> str:
    if math.isinf(number):
        return "∞" if number > 0 else "-∞"
    if kind == "count":
        return f"{number:.0f}"
    if kind == "p":
        return "< 0.001" if number < 0.001 else f"{number:.3f}"
    return _significant(number) if digits is None else f"{number:.{digits}f}"


def _significant(number: float) -> str:
    magnitude = math.floor(math.log10(abs(number))) if number else 0
    if number and (magnitude < -3 or magnitude > 6):
        mantissa, exponent = f"{number:.1e}".split("e")
        return mantissa + _power(int(exponent))
    return f"{number:.{max(0, 2 - magnitude)}f}"


def _digits(values: list[object]) -> int:
    """Decimals that give the column's middle value three significant digits, four at most."""
    sizes = sorted(abs(v) for v in values if isinstance(v, (int, float)) and v and math.isfinite(v))
    if not sizes:
        return 2
    return min(4, max(0, 2 - math.floor(math.log10(sizes[len(sizes) // 2]))))


def one_line(text: str) -> str:
    """Text on one line, with control characters made visible."""
    return " ".join(printable(text).split())


def to_csv(table: Table) -> str:
    """Every value in full precision under its stable key; text that a spreadsheet would run is quoted with `'`."""
    out = io.StringIO()
    keys = [key for column in table.columns for key in column.keys]
    rows = list(zip(*(map(_csv_cell, table.frame[key].tolist()) for key in keys), strict=True))
    returns = any("\r" in text for row in rows for text in row)  # which the writer leaves bare, to end a row
    writer = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL if returns else csv.QUOTE_MINIMAL)
    writer.writerow(keys)
    writer.writerows(rows)
    return out.getvalue()


def frame_to_csv(frame: pd.DataFrame) -> str:
    """Write a frame as CSV, as safely as `to_csv`."""
    return to_csv(Table("", "", "", frame, tuple(Column(str(name), str(name)) for name in frame.columns)))


def _csv_cell(value: object) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, str):
        value = value.replace("\0", "")
        return (
            f"'{value}" if value.lstrip().startswith(("=", "+", "-", "@")) or value.startswith(("\t", "\r")) else value
        )
    return repr(float(value)) if isinstance(value, float) else str(value)


def to_markdown(table: Table) -> str:
    """Write a Markdown table with title and note."""
    head = "| " + " | ".join(_markdown_cell(column.label) for column in table.columns) + " |"
    rule = "|" + "|".join("---:" if column.is_numeric else "---" for column in table.columns) + "|"
    body = ["| " + " | ".join(map(_markdown_cell, row)) + " |" for row in table.rows()]
    return "\n".join([f"## {table.title}", "", table.notes, "", head, rule, *body, ""])


def _markdown_cell(text: str) -> str:
    text = one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for character in "\\`*_[]|~":
        text = text.replace(character, "\\" + character)
    return text
