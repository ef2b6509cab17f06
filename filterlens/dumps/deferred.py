"""A full disk, and SIGINT in a program that uses the library, are raised when HDF5 is done.

The command line needs no deferral: signals end it without an exception (`filterlens.process.interruption`).
"""

from __future__ import annotations

import io
import os
import signal
import threading
from collections.abc import Callable
from types import CodeType, FrameType, FunctionType
from typing import Any, TypeVar, cast

from filterlens.process.interruption import ends_on_signals

__all__ = ["DeferredErrorFile", "defer_sigint", "defers_sigint"]

Function = TypeVar("Function", bound=Callable[..., Any])
_DEFERRING: set[CodeType] = set()


def defers_sigint(function: Function) -> Function:
    """Mark a function in which SIGINT is deferred."""
    _DEFERRING.add(cast("FunctionType", function).__code__)
    return function


def defer_sigint() -> Callable[[], object]:
    """Defer SIGINT in functions marked `defers_sigint` from now on, until what is returned is called.

    HDF5 calls back into Python to write. An exception raised there is lost, or leaves the library half-closed.
    """
    before = signal.getsignal(signal.SIGINT)
    if ends_on_signals() or threading.current_thread() is not threading.main_thread() or not callable(before):
        return lambda: None

    def defer(number: int, frame: FrameType | None) -> None:
        running = frame
        while running is not None:
            if running.f_code in _DEFERRING:
                again = threading.Timer(0.01, os.kill, (os.getpid(), number))
                again.daemon = True
                again.start()
                return
            running = running.f_back
        before(number, frame)

    signal.signal(signal.SIGINT, defer)
    return lambda: signal.signal(signal.SIGINT, before)


class DeferredErrorFile(io.FileIO):
    """A file that keeps its first write error for later and ignores all writes that follow.

    HDF5 keeps its tables in memory and writes them when a file is closed; where that fails (a full disk) it fails
    again and again and takes the process down at exit. So it is let close, and the error is raised afterwards.
    """

    failure: OSError | None = None

    @defers_sigint
    def write(self, data: Any) -> int:  # noqa: ANN401 - any buffer
        """Write all of it, or remember why not."""
        view = memoryview(data).cast("B")
        try:
            written = 0
            while self.failure is None and written < len(view):
                written += super().write(view[written:]) or 0
        except OSError as error:
            self.failure = error
        return len(view)

    @defers_sigint
    def truncate(self, size: int | None = None) -> int:
        """Set the size, or remember why not."""
        try:
            return super().truncate(size) if self.failure is None else size or 0
        except OSError as error:
            self.failure = error
            return size or 0
