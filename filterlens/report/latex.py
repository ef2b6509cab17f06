"""Tables for papers, in LaTeX: they fit one column or the page, by the widths of their letters. Hostile text is safe.

What does not fit side by side comes in parts that repeat the first column. Widths are taken from the wider of Times and
Computer Modern, letter by letter, so that they hold in the papers of `filterlens.report.style` and in a plain article.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from filterlens.errors import InputError
from filterlens.report.formats import Column, Table, one_line
from filterlens.report.style import find_style

__all__ = ["Width", "chosen_columns", "escape_latex", "text_width", "to_latex"]

Width = Literal["page", "column"]
"""How wide a table may be: the whole text, or one of its columns."""

_LONG = 40  # rows above which a table breaks over pages
_POINT = 72.27  # TeX's points an inch
_SIZE = 8.0  # \footnotesize of a text of ten points
_GAP = 8.0  # between two columns: twice \tabcolsep, which tables set to 4pt
_TEXT = 130.0  # points of a column of prose, which is broken into lines
_NARROWEST = 60.0  # points of a column of names or words
_NAME = 150.0  # points after which a name is cut in the middle
#: thousandths of an em of the letters from space to ~: the wider of STIX and Computer Modern of 8 points
_LETTERS = (
    *(354, 333, 531, 885, 531, 885, 825, 294, 412, 412, 531, 825, 294, 354, 294, 531, 531, 531, 531, 531, 531, 531),
    *(531, 531, 531, 531, 294, 294, 685, 825, 685, 501, 921, 796, 752, 767, 810, 722, 692, 833, 796, 383, 545, 825),
    *(664, 973, 796, 825, 722, 825, 782, 589, 767, 796, 796, 1091, 796, 796, 649, 333, 531, 333, 531, 531, 333, 531),
    *(589, 472, 589, 472, 333, 531, 589, 294, 324, 560, 294, 885, 589, 531, 589, 560, 415, 418, 412, 589, 560, 767),
    *(560, 560, 472, 531, 531, 531, 541),
)
_RAISED = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")


@dataclass(frozen=True, slots=True)
class _Set:
    """One column, set: its heading in lines, its cells, and how wide they are in points."""

    column: Column
    head: list[str]
    cells: list[str]
    width: float


def text_width(text: str, size: float = _SIZE) -> float:
    """Return how many points a line takes in LaTeX, at most; text as people read it, not escaped.

    Examples
    --------
    >>> round(text_width("0.776 ± 0.011"), 1)
    51.7
    """
    raised = text.translate(_RAISED)
    return sum(_LETTERS[ord(c) - 32] if 32 <= ord(c) < 127 else 1500 if c == "…" else 800 for c in raised) * size / 1000


def chosen_columns(table: Table, names: Sequence[str] = ()) -> Table:
    """Return a table with some of its columns, or with those that say something of each row.

    Parameters
    ----------
    table
        Any.
    names
        Keys of columns, in the order wanted. Without any, details are left out, and so are columns that are empty or
        say the same in every row, which the note then says once.

    Raises
    ------
    InputError
        A column is unknown.
    """
    known = {column.key: column for column in table.columns}
    if names:
        unknown = [name for name in names if name not in known]
        if unknown:
            raise InputError(f"table {table.name!r} has no column {unknown[0]!r}; there are {', '.join(known)}")
        return replace(table, columns=tuple(known[name] for name in names))
    kept, same = [], []
    for number, (column, cells) in enumerate(zip(table.columns, zip(*table.rows(), strict=True), strict=False)):
        if column.detail or not any(cells):
            continue
        if number and len(cells) > 1 and len(set(cells)) == 1 and not column.is_measured:
            same.append(f"{column.label}: {cells[0]}")
        else:
            kept.append(column)
    note = " ".join(filter(None, [table.note, f"All rows: {'; '.join(same)}." if same else ""]))
    return replace(table, note=note, columns=tuple(kept or table.columns[:1]))


def to_latex(table: Table, *, style: str = "", width: Width = "page", whole: bool = False) -> str:
    r"""Write a booktabs table that fits; a wide one in parts that repeat the first column, a long one over pages.

    Needs `\usepackage{booktabs,longtable,array,textcomp}` and `\usepackage[T1]{fontenc}`.

    Parameters
    ----------
    table
        Its columns are set in their order (see `chosen_columns`).
    style
        One of `filterlens.report.style.STYLES`, for the widths of page and column.
    width
        Of the page, as `table*`, or of one column.
    whole
        Refuse a table that would need parts.

    Raises
    ------
    InputError
        A column alone is too wide, or, with `whole`, all together; the message says how wide they are.
    """
    where = find_style(style)
    room = (where.page if width == "page" else where.text_column) * _POINT
    columns = [_set(column, cells, room) for column, cells in zip(table.columns, _cells(table), strict=True)]
    total = sum(one.width for one in columns) + _GAP * (len(columns) - 1)
    if whole and total > room:
        columns = [_narrowed(columns[0], columns[0].width - (total - room)), *columns[1:]]
        total = sum(one.width for one in columns) + _GAP * (len(columns) - 1)
    parts = _parts(columns, room)
    if whole and len(parts) > 1:
        widths = ", ".join(f"{one.column.key} {one.width:.0f}" for one in columns)
        raise InputError(
            f"table {table.name!r} is {total:.0f} points wide and a {width} of {where.name} {room:.0f}: leave out "
            f"columns ({widths}){', or take the width of the page' if width == 'column' else ''}"
        )
    out = [r"% \usepackage{booktabs,longtable,array,textcomp} \usepackage[T1]{fontenc}"]
    for number, part in enumerate(parts, start=1):
        of = f" (part {number} of {len(parts)})" if len(parts) > 1 else ""
        label = f"tab:{table.name.replace('_', '-')}" + (f"-{number}" if len(parts) > 1 else "")
        caption = rf"\caption{{{escape_latex(table.title + of)}. {escape_latex(table.notes)}}}\label{{{label}}}"
        out.append(_environment(part, caption, width))
    return "\n".join(out)


def _cells(table: Table) -> list[list[str]]:
    return [list(cells) for cells in zip(*table.rows(), strict=True)] or [[] for _ in table.columns]


def _set(column: Column, cells: Sequence[str], room: float) -> _Set:
    if column.kind == "text":
        limit = min(_TEXT, 0.5 * room)
        most = int(6 * limit / _SIZE * 2)  # six lines of letters of half an em
        shown = [text if len(text) <= most else text[: most - 1] + "…" for text in map(one_line, cells)]
        shown = [" ".join(_cut(word, limit) for word in text.split(" ")) for text in shown]  # TeX breaks no word
        return _Set(column, _broken(_head(column), limit), shown, limit)
    longest = min(_NAME, 0.42 * room)
    shown = [_cut(one_line(text), longest) for text in cells]
    widest = max(map(text_width, shown), default=0.0)
    head = _broken(_head(column), max(widest, 24.0))
    return _Set(column, head, shown, max(widest, *map(text_width, head)))


def _narrowed(one: _Set, width: float) -> _Set:
    """Break a column of words over lines, or cut its names, down to a width, but not below what can be read."""
    width = max(width, _NARROWEST)
    if width >= one.width or one.column.is_numeric:
        return one
    longest_word = max((text_width(word) for cell in one.cells for word in cell.split()), default=0.0)
    if longest_word <= width:
        return replace(
            one, column=replace(one.column, kind="text"), head=_broken(_head(one.column), width), width=width
        )
    return replace(one, cells=[_cut(cell, width) for cell in one.cells], width=width)


def _head(column: Column) -> str:
    unit = f" ({column.unit})" if column.unit not in {"", "share"} else ""
    return f"{column.head}{unit}{' ' + column.better if column.better else ''}"


def _broken(text: str, width: float) -> list[str]:
    """Break a heading at its spaces into lines no wider than that, where a word is not."""
    lines: list[str] = []
    for word in one_line(text).split() or [""]:
        if lines and text_width(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _cut(text: str, width: float) -> str:
    """Cut a name to a width, its middle left out."""
    if text_width(text) <= width:
        return text
    half = len(text) // 2
    while half and text_width(shortened := f"{text[:half]}…{text[-half:]}") > width:
        half -= 1
    return shortened


def _parts(columns: Sequence[_Set], room: float) -> list[list[_Set]]:
    """Divide columns over as few parts as fit, about equally wide, the first column in each."""
    first, rest = columns[0], columns[1:]
    left = room - first.width

    def divided(limit: float) -> list[list[_Set]]:
        parts: list[list[_Set]] = [[]]
        used = 0.0
        for one in rest:
            if parts[-1] and used + _GAP + one.width > limit:
                parts.append([])
                used = 0.0
            parts[-1].append(one)
            used += _GAP + one.width
        return parts

    n = len(divided(left))
    limits = [left * share / 100 for share in range(40, 101, 3)]
    best = next((limit for limit in [*limits, left] if len(divided(limit)) == n), left)
    return [[first, *part] for part in divided(best)]


def _environment(part: Sequence[_Set], caption: str, width: Width) -> str:
    specification = "@{}" + "".join(_align(one) for one in part) + "@{}"
    head = " & ".join(_stacked(one) for one in part) + r" \\"
    body = [" & ".join(map(escape_latex, row)) + r" \\" for row in zip(*(one.cells for one in part), strict=True)]
    if len(body) > _LONG:
        lines = [r"{\footnotesize\setlength{\tabcolsep}{4pt}", rf"\begin{{longtable}}{{{specification}}}"]
        lines += [rf"{caption}\\", r"\toprule", head, r"\midrule\endfirsthead", r"\toprule", head, r"\midrule\endhead"]
        return "\n".join([*lines, r"\bottomrule\endfoot", *body, r"\end{longtable}}", ""])
    kind = "table*" if width == "page" else "table"
    lines = [rf"\begin{{{kind}}}\centering\footnotesize\setlength{{\tabcolsep}}{{4pt}}", caption]
    lines += [
        r"\par\vspace{4pt}",
        rf"\begin{{tabular}}{{{specification}}}",
        r"\toprule",
        head,
        r"\midrule",
        *body,
        r"\bottomrule",
    ]
    return "\n".join([*lines, rf"\end{{tabular}}\end{{{kind}}}", ""])


def _align(one: _Set) -> str:
    if one.column.kind == "text":
        return rf">{{\raggedright\arraybackslash}}p{{{one.width:.0f}pt}}"
    return "r" if one.column.is_numeric else "l"


def _stacked(one: _Set) -> str:
    if len(one.head) == 1:
        return escape_latex(one.head[0])
    side = "r" if one.column.is_numeric else "l"
    lines = r" \\ ".join(map(escape_latex, one.head))
    return rf"\begin{{tabular}}[b]{{@{{}}{side}@{{}}}}{lines}\end{{tabular}}"


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
    "`": r"\textasciigrave{}",
    "[": "{[}",
    "]": "{]}",
    "‖": r"$\Vert$",
    "°": r"\textdegree{}",
    "ν": r"$\nu$",
    "μ": r"$\mu$",
    "λ": r"$\lambda$",
    "Σ": r"$\Sigma$",
    "Δ": r"$\Delta$",
    "√": r"$\surd$",
    "∈": r"$\in$",
    "₁": r"$_1$",
    "₀": r"$_0$",
    "³": r"$^3$",
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
    "–": r"\textendash{}",
    "—": r"\textemdash{}",
    "…": r"\ldots{}",
    "’": "'",
    "‘": "`",
    "“": "``",
    "”": "''",
    "≈": r"$\approx$",
}


_POWER = re.compile("(×?)10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)")
_HYPHENS = re.compile("-(?=-)")


def escape_latex(text: str) -> str:
    r"""Make any text safe for pdflatex; characters that it cannot set become their closest letters or `?`.

    Examples
    --------
    >>> print(escape_latex("100% of R&D_x"), escape_latex("2.4×10⁻⁷"))
    100\% of R\&D\_x 2.4$\times10^{-7}$
    """
    out, end = [], 0
    text = one_line(text)
    for power in _POWER.finditer(text):
        out.append(_escaped(text[end : power.start()]))
        times = r"\times" if power[1] else ""
        out.append(f"${times}10^{{{power[2].translate(_RAISED)}}}$")
        end = power.end()
    return _HYPHENS.sub("-{}", "".join([*out, _escaped(text[end:])]))


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(character) or _latin(character) for character in text)


def _latin(character: str) -> str:
    if character.isascii() or (character.isalpha() and ord(character) < 0x180):
        return character
    return "".join(_LATEX.get(c, c) for c in unicodedata.normalize("NFKD", character) if c.isascii()) or "?"
