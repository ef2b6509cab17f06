"""SIGINT, SIGTERM and SIGHUP end the process: temporary files are removed, worker processes ended, one line said.

No exception is raised for them. One that comes at any moment is lost where a destructor or a callback of a C library
happens to run, and leaves that library half-way. Every file of ours appears whole or not at all, so that a process may
end between any two instructions, as it does when it is killed.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

__all__ = [
    "announce",
    "deferred_signals",
    "end_on_signals",
    "ends_on_signals",
    "forget_temporary",
    "handle_signals",
    "make_temporary_folder",
    "on_interruption",
    "remove_on_interruption",
    "wait_for_the_end",
]

Action = Callable[[bool], object]
_MAKING = 1.0  # seconds in which another thread has made a folder


class _State:
    """What this process does when a signal comes."""

    process = 0
    signals: tuple[signal.Signals, ...] = ()
    announce: Callable[[int], object] = staticmethod(lambda _: None)
    deferrals = 0
    waiting = 0  # the signal that came meanwhile
    ending = False
    making = threading.RLock()  # held while a temporary folder appears: none does once the process is ending
    actions: list[Action] = []  # noqa: RUF012 - one process, one state
    temporary: set[Path] = set()  # noqa: RUF012


def announce(why: str) -> None:
    """Say in one line on standard error that what is done is kept, and which command goes on."""
    command = shlex.join(["filterlens", *sys.argv[1:]])
    line = f"filterlens: {why}: what is done is kept; the same command goes on from here: {command}"
    os.write(2, ("".join(c if c.isprintable() else "\ufffd" for c in line) + "\n").encode(errors="replace"))


def end_on_signals(
    signals: Iterable[signal.Signals], *, announce: Callable[[int], object] = lambda _: None, patience: float
) -> None:
    """End this process with exit code 128 + number when one of the signals comes, whatever it is doing.

    A second signal ends it faster: worker processes are killed instead of asked.

    Parameters
    ----------
    signals
        Their numbers; also those that the process inherited as ignored or blocked.
    announce
        Called with the number last of all.
    patience
        Seconds after which another thread ends the process where the main thread is in a C function, or cleans up.
    """
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    _State.process = os.getpid()
    _State.announce = staticmethod(announce)
    _State.signals = tuple(signals)
    handle_signals()
    signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(readable, patience), daemon=True).start()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _State.signals)


def handle_signals() -> None:
    """Handle again what `end_on_signals` was given, after a library has put its own handlers in place."""
    if threading.current_thread() is threading.main_thread():
        for number in _State.signals:
            signal.signal(number, _handle)


def ends_on_signals() -> bool:
    """Whether `end_on_signals` was called in this process."""
    return _State.process == os.getpid()


@contextmanager
def on_interruption(action: Action) -> Iterator[None]:
    """Have an action called when a signal ends the process inside the block; with whether there is time to wait."""
    _State.actions.append(action)
    try:
        yield
    finally:
        _State.actions.remove(action)


@contextmanager
def deferred_signals() -> Iterator[None]:
    """Let a signal wait until the block has ended: it makes something that could not be cleaned up half-way."""
    _State.deferrals += 1
    try:
        yield
    finally:
        _State.deferrals -= 1
        if _State.waiting and not _State.deferrals:
            _end(_State.waiting, wait=True)


def remove_on_interruption(path: Path) -> Path:
    """Have a file or folder removed when a signal ends the process; return it."""
    _State.temporary.add(path)
    return path


def make_temporary_folder(path: Path) -> Path:
    """Make a folder that is removed when a signal ends the process, in any thread; return it.

    Raises
    ------
    OSError
        It cannot be made.
    """
    with _State.making:
        if not _State.ending:
            remove_on_interruption(path).mkdir()
            return path
    wait_for_the_end()
    return path


def wait_for_the_end() -> None:
    """Go no further in a thread of a process that a signal is ending: what it works with is being removed."""
    if _State.ending and threading.current_thread() is not threading.main_thread():
        threading.Event().wait()


def forget_temporary(path: Path) -> None:
    """Take back `remove_on_interruption`: the path is gone, or has its own name."""
    _State.temporary.discard(path)


def _handle(number: int, _: FrameType | None) -> None:
    if _State.deferrals and not _State.waiting:
        _State.waiting = number
    else:
        _end(number, wait=not _State.ending)


def _watch(readable: int, patience: float) -> None:
    number = os.read(readable, 1)[0]
    time.sleep(patience)
    _end(number, wait=False)


def _end(number: int, *, wait: bool) -> None:
    held = _State.making.acquire(timeout=_MAKING)
    _State.ending = True
    if held:
        _State.making.release()
    if _State.process == os.getpid():  # not a fork of it
        for action in reversed(_State.actions):
            with suppress(Exception):  # whatever was interrupted may be half-made: the others still have their turn
                action(wait)
        for path in list(_State.temporary):
            with suppress(OSError):
                path.unlink() if path.is_symlink() or not path.is_dir() else shutil.rmtree(path, ignore_errors=True)
        with suppress(Exception):
            _State.announce(number)
    os._exit(128 + number)
