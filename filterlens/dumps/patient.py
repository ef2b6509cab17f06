"""Files that let HDF5 finish: a full disk and Ctrl-C are heard when it is done."""

from __future__ import annotations

import io
import os
import signal
import threading
from collections.abc import Callable
from types import CodeType, FrameType, FunctionType
from typing import Any, TypeVar, cast

__all__ = ["PatientFile", "careful", "hold_off_interrupts"]

Function = TypeVar("Function", bound=Callable[..., Any])
_CAREFUL: set[CodeType] = set()


def careful(function: Function) -> Function:
    """Mark a function that Ctrl-C must not break off."""
    _CAREFUL.add(cast("FunctionType", function).__code__)
    return function


def hold_off_interrupts() -> Callable[[], object]:
    """Let Ctrl-C wait for functions marked `careful` from now on, until what is returned is called.

    HDF5 calls back into Python to write. An exception raised there is lost, or leaves the library half-closed.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        return lambda: None

    def hear(number: int, frame: FrameType | None) -> None:
        running = frame
        while running is not None:
            if running.f_code in _CAREFUL:
                again = threading.Timer(0.01, os.kill, (os.getpid(), number))
                again.daemon = True
                again.start()
                return
            running = running.f_back
        before(number, frame)

    signal.signal(signal.SIGINT, hear)
    return lambda: signal.signal(signal.SIGINT, before)


class PatientFile(io.FileIO):
    """A file that remembers its first write error and swallows what follows.

    HDF5 keeps its tables in memory and writes them when a file is closed; where that fails (a full disk) it fails
    again and again and takes the process down at exit. So it closes in peace, and the error is raised afterwards.
    """

    failure: OSError | None = None

    @careful
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

    @careful
    def truncate(self, size: int | None = None) -> int:
        """Set the size, or remember why not."""
        try:
            return super().truncate(size) if self.failure is None else size or 0
        except OSError as error:
            self.failure = error
            return size or 0
