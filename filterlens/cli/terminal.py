"""Tables on a terminal, and the same when piped. Names are text, never commands.

A table is as wide as its cells need. Where the terminal is narrower, headings are broken and their long words are
shortened, then columns that are marked as spare are left out, and only then are cells folded: none is cut.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.progress import TextColumn
from rich.table import Table
from rich.text import Text

from filterlens.process.printable import printable

__all__ = [
    "Column", "describe_task", "fit", "make_console", "make_error_console", "make_table", "print_columns", "shortened",
    "table_width",
]  # fmt: skip

_PIPED_WIDTH: Final = 160
_GAP: Final = 2  # between two columns
_FOLDED: Final = 12  # no column of texts is made narrower
_LONG_WORD: Final = 10  # of a heading, beyond which it is shortened where there is no room


class _SafeConsole(Console):
    """A console that prints text of others as text: every string that rich draws, cells too, passes here."""

    def render_str(self, text: str, **how: Any) -> Text:  # noqa: ANN401 - rich's own signature
        return super().render_str(printable(text), **how)


def make_console() -> Console:
    """Return a console as wide as the terminal or as COLUMNS says, or wide enough for a file."""
    known = sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit()
    return _SafeConsole(highlight=False, emoji=False, width=None if known else _PIPED_WIDTH)


def make_error_console() -> Console:
    """Return a console for what is said beside a table that is printed for machines."""
    return _SafeConsole(highlight=False, emoji=False, stderr=True)


def make_table(title: str = "") -> Table:
    """Return an empty table in the house's look; the title is text, no markup."""
    return Table(
        title=escape(title) or None,
        title_justify="left",
        title_style="bold",
        header_style="bold",
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, _GAP - 1, 0, 0),
    )


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    Parameters
    ----------
    heading
        Text, broken between words where there is no room.
    cells
        Text with markup, one a row; those of others are escaped.
    right
        Whether they are aligned to the right, as numbers are.
    spare
        0: it stays. Otherwise it is left out where there is no room, the highest number first.
    """

    heading: str
    cells: Sequence[str]
    right: bool = False
    spare: int = 0

    @property
    def width(self) -> int:
        """What its longest cell and the longest word of its heading need."""
        words = [cell_len(word) for word in self.heading.split()]
        return max([1, *words, *(Text.from_markup(printable(cell)).cell_len for cell in self.cells)])


def table_width(columns: Sequence[Column]) -> int:
    """Return how wide a table of these columns is, without folding."""
    return sum(column.width + _GAP for column in columns) - _GAP + 1


def shortened(heading: str) -> str:
    """Shorten the long words of a heading: `Orthogonality` is `Orthogo.`."""
    words = [word if len(word) <= _LONG_WORD else f"{word[: _LONG_WORD - 3]}." for word in heading.split()]
    return " ".join(words)


def fit(columns: Sequence[Column], width: int) -> list[Column]:
    """Return the columns that a table of this width shows."""
    shown = list(columns)
    if table_width(shown) > width:
        shown = [replace(column, heading=shortened(column.heading)) for column in shown]
    while table_width(shown) > width and (spare := max(column.spare for column in shown)):
        shown = [column for column in shown if column.spare != spare]
    return shown


def print_columns(
    columns: Sequence[Column], title: str = "", *, console: Console | None = None, sections: Sequence[int] = ()
) -> list[str]:
    """Print columns as a table that fits, and return the headings of those that were left out.

    Parameters
    ----------
    columns
        Of equally many cells.
    title
        Above the table.
    console
        Where; standard output by default.
    sections
        Rows after which there is a line.
    """
    console = console or make_console()
    shown = fit(columns, console.width)
    drawn = make_table(title)
    for column, width in zip(shown, _widths(shown, console.width), strict=True):
        side: Literal["left", "right"] = "right" if column.right else "left"
        drawn.add_column(escape(column.heading), justify=side, overflow="fold", width=width)
    for place, cells in enumerate(zip(*(column.cells for column in shown), strict=True)):
        drawn.add_row(*cells, end_section=place in sections)
    console.print(drawn)
    console.print()
    kept = {shortened(column.heading) for column in shown}
    return [column.heading for column in columns if shortened(column.heading) not in kept]


def _widths(columns: Sequence[Column], width: int) -> list[int]:
    """Return each column's width: texts are folded where there is no room, headings on one line where there is."""
    found = [column.width for column in columns]
    room = width - table_width(columns)
    while room < 0:
        place = max(range(len(found)), key=lambda n: 0 if columns[n].right else found[n])
        if columns[place].right or found[place] <= _FOLDED:
            break
        found[place] -= 1
        room += 1
    for place, column in enumerate(columns):
        more = min(max(0, cell_len(column.heading) - found[place]), max(0, room))
        found[place] += more
        room -= more
    return found


def describe_task() -> TextColumn:
    """Return the column of a progress bar that says what is done: text, no markup."""
    return _Description("{task.description}", markup=False)


class _Description(TextColumn):
    def render(self, task: Any) -> Text:  # noqa: ANN401 - rich's own class of tasks
        return Text(printable(str(task.description)))
