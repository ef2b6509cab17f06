"""One table, three files: CSV for machines, LaTeX (booktabs) for papers, Markdown for people. Hostile text is safe."""

from __future__ import annotations

import csv
import io
import math
import unicodedata
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from filterlens.process.printable import printable

__all__ = ["Column", "Table", "cell", "escape_latex", "to_csv", "to_latex", "to_markdown"]

Kind = Literal["text", "name", "number", "value", "count", "p", "flag"]
_PART = 8  # columns of a LaTeX table beside the first
_LONG = 40  # rows above which a LaTeX table breaks over pages
_NAME_LENGTH = 60
_TEXT_LENGTH = 160


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
            texts = [cell(value, column.kind, digits) for value in values]
            if column.beside:
                seconds = [cell(value, column.kind, digits) for value in self.frame[column.beside].tolist()]
                texts = [a + column.joint + b if b else a for a, b in zip(texts, seconds, strict=True)]
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
    return _number(float(value), kind, digits).replace("-", "−")  # type: ignore[arg-type] # other kinds hold numbers


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
        return f"{number:.1e}"
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


_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "'": r"\textquotesingle{}",
    "`": r"\textasciigrave{}",
    "[": "{[}",
    "]": "{]}",
    "-": "{-}",
    "−": r"$-$",
    "×": r"$\times$",
    "±": r"$\pm$",
    "∞": r"$\infty$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "ε": r"$\varepsilon$",
    "ξ": r"$\xi$",
    "ρ": r"$\rho$",
    "σ": r"$\sigma$",
    "α": r"$\alpha$",
    "β": r"$\beta$",
    "η": r"$\eta$",
    "δ": r"$\delta$",
    "₂": r"$_2$",
    "²": r"$^2$",
    "·": r"$\cdot$",
    "–": "--",
    "—": "---",
    "…": r"\ldots{}",
    "’": "'",
    "‘": "`",
    "“": "``",
    "”": "''",
    "≈": r"$\approx$",
}


def escape_latex(text: str) -> str:
    r"""Make any text safe for pdflatex; characters that it cannot set become their closest letters or `?`.

    Examples
    --------
    >>> print(escape_latex("100% of R&D_x"))
    100\% of R\&D\_x
    """
    return "".join(_LATEX.get(character) or _latin(character) for character in one_line(text))


def _latin(character: str) -> str:
    if character.isascii() or (character.isalpha() and ord(character) < 0x180):
        return character
    return "".join(_LATEX.get(c, c) for c in unicodedata.normalize("NFKD", character) if c.isascii()) or "?"


def to_latex(table: Table) -> str:
    r"""Write a booktabs table; wide ones are split into parts that repeat the first column, long ones break over pages.

    Needs `\usepackage{booktabs,longtable,array,textcomp}` and `\usepackage[T1]{fontenc}`.
    """
    first, rest = table.columns[0], table.columns[1:]
    rows = table.rows()
    n_parts = max(1, -(-len(rest) // _PART))
    size = -(-len(rest) // n_parts) if rest else 1
    parts = [list(range(start + 1, min(start + size, len(rest)) + 1)) for start in range(0, max(1, len(rest)), size)]
    preamble = r"% \usepackage{booktabs,longtable,array,textcomp} \usepackage[T1]{fontenc}"
    out = [preamble]
    for number, places in enumerate(parts, start=1):
        columns = [first, *(table.columns[i] for i in places)]
        of = f" (part {number} of {len(parts)})" if len(parts) > 1 else ""
        body = [_latex_row([_shorten(row[i], table.columns[i].kind) for i in [0, *places]]) for row in rows]
        label = f"tab:{table.name.replace('_', '-')}" + (f"-{number}" if len(parts) > 1 else "")
        caption = rf"\caption{{{escape_latex(table.title + of)}. {escape_latex(table.notes)}}}\label{{{label}}}"
        out.append(_latex_part(columns, body, caption))
    return "\n".join(out)


def _latex_part(columns: list[Column], body: list[str], caption: str) -> str:
    specification = "".join(_latex_align(column) for column in columns)
    head = _latex_row([column.label for column in columns])
    if len(body) > _LONG:
        lines = [rf"{{\footnotesize\begin{{longtable}}{{{specification}}}", rf"{caption}\\", r"\toprule", head]
        lines += [r"\midrule\endfirsthead", r"\toprule", head, r"\midrule\endhead", r"\bottomrule\endfoot"]
        return "\n".join([*lines, *body, r"\end{longtable}}", ""])
    lines = [r"\begin{table*}\centering\footnotesize", caption, rf"\begin{{tabular}}{{{specification}}}", r"\toprule"]
    return "\n".join([*lines, head, r"\midrule", *body, r"\bottomrule", r"\end{tabular}\end{table*}", ""])


def _latex_align(column: Column) -> str:
    return "r" if column.is_numeric else r">{\raggedright\arraybackslash}p{4.5cm}" if column.kind == "text" else "l"


def _latex_row(cells: list[str]) -> str:
    return " & ".join(escape_latex(text) for text in cells) + r" \\"


def _shorten(text: str, kind: Kind) -> str:
    longest = _TEXT_LENGTH if kind == "text" else _NAME_LENGTH
    return text if len(text) <= longest else text[: longest - 1] + "…"
