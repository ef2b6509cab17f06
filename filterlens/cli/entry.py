"""Where the command line starts: signals are handled before anything that takes long is imported."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress

from filterlens.process.interruption import announce, end_on_signals

__all__ = ["main"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PATIENCE = 5.0
_SHOW_CURSOR = b"\x1b[?25h\n"


def main() -> None:
    """Run the command line: exit code 0 all well, 1 something failed, 2 bad usage, 128 + number on a signal."""
    handled = [number for number in _SIGNALS if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN]
    end_on_signals(handled, announce=_announce, patience=_PATIENCE)
    # `python -c` and empty parts of PYTHONPATH stand for the working folder: nothing is imported from there, neither
    # here nor by the processes that are started
    sys.path[:] = [folder for folder in sys.path if folder]
    os.environ["PYTHONSAFEPATH"] = "1"
    from filterlens.cli.temporary import use_temporary_folder

    use_temporary_folder()  # before others register what they do at exit: they may have files there
    from filterlens.cli.app import run

    try:
        run()
    finally:
        for number in handled:  # the work is done: its own exit code stands while Python winds up
            signal.signal(number, signal.SIG_IGN)


def _announce(_: int) -> None:
    with suppress(OSError, RuntimeError, ValueError):  # a pipe that is closed, or was being written to
        sys.stdout.flush()
        if sys.stdout.isatty():
            os.write(sys.stdout.fileno(), _SHOW_CURSOR)  # a progress bar hides it
    announce("interrupted")
