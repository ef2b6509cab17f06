"""Loops compiled with Numba."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

__all__ = ["compiled"]

Loop = TypeVar("Loop", bound=Callable[..., Any])


def compiled(fastmath: set[str] | None = None) -> Callable[[Loop], Loop]:
    """Compile a loop when it is first called, and keep the machine code where there is a folder for it.

    Parameters
    ----------
    fastmath
        LLVM's flags for arithmetic that is not IEEE's; none by default.
    """

    def wrapped(loop: Loop) -> Loop:
        try:
            return cast("Loop", njit(cache=True, error_model="numpy", fastmath=fastmath or False)(loop))
        except RuntimeError:  # neither the package's folder nor a home can be written
            return cast("Loop", njit(error_model="numpy", fastmath=fastmath or False)(loop))

    return wrapped
