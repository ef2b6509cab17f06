"""Return freed heap memory to the operating system.

The allocator of Linux keeps what programs free, in pieces between what is still used. From model to model the pieces
fit badly, and an audit of many models would grow without holding anything.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import cache

__all__ = ["return_freed_memory"]


def return_freed_memory() -> None:
    """Return free memory to the system: milliseconds, worth it between two models. Nothing where it cannot be asked."""
    trim = _trim()
    if trim is not None:
        trim(0)


@cache
def _trim() -> Callable[[int], int] | None:
    if not sys.platform.startswith("linux"):
        return None
    found: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it, musl not
    return found
