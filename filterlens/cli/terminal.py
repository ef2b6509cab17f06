"""Tables on a terminal, and the same when piped: wide enough that no cell is cut. Names are text, never commands."""

from __future__ import annotations

import sys
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import TextColumn
from rich.table import Table
from rich.text import Text

from filterlens.process.printable import printable

__all__ = ["describe_task", "make_console", "make_error_console", "make_table"]

_PIPED_WIDTH = 160


class _SafeConsole(Console):
    """A console that prints text of others as text: every string that rich draws, cells too, passes here."""

    def render_str(self, text: str, **how: Any) -> Text:  # noqa: ANN401 - rich's own signature
        return super().render_str(printable(text), **how)


def make_console() -> Console:
    """Return a console as wide as the terminal, or wide enough for a file."""
    return _SafeConsole(highlight=False, emoji=False, width=None if sys.stdout.isatty() else _PIPED_WIDTH)


def make_error_console() -> Console:
    """Return a console for what is said beside a table that is printed for machines."""
    return _SafeConsole(highlight=False, emoji=False, stderr=True)


def make_table(title: str = "") -> Table:
    """Return an empty table in the house's look; the title is text, no markup."""
    bold = "bold"
    return Table(
        title=escape(title) or None, title_justify="left", title_style=bold, header_style=bold, box=SIMPLE_HEAD
    )


def describe_task() -> TextColumn:
    """Return the column of a progress bar that says what is done: text, no markup."""
    return _Description("{task.description}", markup=False)


class _Description(TextColumn):
    def render(self, task: Any) -> Text:  # noqa: ANN401 - rich's own class of tasks
        return Text(printable(str(task.description)))
