"""Tables on a terminal, and the same tables when piped: wide enough that no cell is cut."""

from __future__ import annotations

import sys

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

__all__ = ["make_console", "make_table"]

_PIPED_WIDTH = 160


def make_console() -> Console:
    """Return a console as wide as the terminal, or wide enough for a file."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else _PIPED_WIDTH)


def make_table(title: str = "") -> Table:
    """Return an empty table in the house's look."""
    bold = "bold"
    return Table(title=title or None, title_justify="left", title_style=bold, header_style=bold, box=SIMPLE_HEAD)
