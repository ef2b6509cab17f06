"""The command line: parse, one library call, print. No logic."""

from __future__ import annotations

from filterlens.cli.entry import main

__all__ = ["main"]
