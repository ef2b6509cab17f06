"""Check an HDF5 file of others in a process of its own, before this one opens it.

libhdf5 hangs or crashes on damaged metadata, and no signal is handled then. `hdf5_walk.py` walks the whole file first
(every object, attribute, type, filter and chunk, not the data) in a process that can be ended; what has passed holds
nothing that would hang this one. Data may be damaged still: reading them raises, as their checksums fail.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import json
import os
import select
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Final

from filterlens.errors import DumpError

__all__ = ["check_hdf5", "trust_hdf5"]

_SECONDS: Final = 2.0  # of processor time, and one more for each `_BYTES`: a dump of 6 MB takes 0.01
_BYTES: Final = 32 << 20
_PATIENCE: Final = 60.0  # seconds by the clock beyond that, for a slow disk or a busy machine
_ADVICE: Final = "it is damaged or not a dump; extract again, by the same `filterlens audit` or `extract`"

Stamp = tuple[int, int, int, int, int]


def check_hdf5(path: Path, *, cells: bool = False, error: type[Exception] = DumpError, advice: str = _ADVICE) -> None:
    """Refuse a file that libhdf5 cannot walk, or that holds what a dump never holds.

    Parameters
    ----------
    path
        The file. One that has passed, and has not changed since, is not walked again.
    cells
        Allow arrays of text and of rows of differing length, as pandas writes them; the rows are read once, too.
    error, advice
        Class of what is raised, and how its message ends.

    Raises
    ------
    DumpError
        Or `error`. The file hangs or crashes libhdf5; holds links, data in other files, virtual arrays, types that are
        no plain numbers, or filters other than gzip, LZF, shuffle and Fletcher-32; or declares more than 64 MB and 100
        times its own size: LZF, which dumps use, stores at most 264 bytes in 3.
    """
    try:
        stamp = _stamp(path)
        if stamp in _trusted and (not cells or stamp in _trusted_cells):
            return
        refused = _worker.ask(path, stamp[2], cells=cells)
    except OSError as failure:
        raise error(f"{path} cannot be read as HDF5 ({failure}): {advice}") from failure
    if refused:
        raise error(f"{path} cannot be read as HDF5 ({refused}): {advice}")
    (_trusted_cells if cells else _trusted).add(stamp)


def trust_hdf5(path: Path) -> None:
    """Spare a file the check, as this process has just written it."""
    with contextlib.suppress(OSError):
        _trusted.add(_stamp(path))


def _stamp(path: Path) -> Stamp:
    """Return what changes with a file's content, whoever writes it."""
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


class _Worker:
    """The process that walks; started when it is first needed, and again after it was ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def ask(self, path: Path, size: int, *, cells: bool) -> str:
        """Return why a file is refused, or nothing."""
        seconds = _SECONDS + size / _BYTES
        asked = json.dumps({"path": str(path.absolute()), "cells": cells, "seconds": seconds}).encode() + b"\n"
        with self._lock:
            try:
                answer = self._exchange(asked, seconds + _PATIENCE)
            except BaseException:
                self.end()  # its answer to this question is not to be taken for one to the next
                raise
            if not answer:
                self.end()
                return "its structure is damaged: libhdf5 crashes on it, or takes longer than for any sound file"
            found = json.loads(answer)
            if found["last"]:
                self.end()
        return str(found["refused"])

    def _exchange(self, asked: bytes, seconds: float) -> bytes:
        """Send a question and return the line that answers it, or nothing where the process ended or hangs."""
        for _ in range(2):  # the process may have ended since the last question, as after damage
            process = self._start()
            if process.stdin is None or process.stdout is None:
                break
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(asked)
                process.stdin.flush()
                return _read_line(process.stdout.fileno(), seconds)
            self.end()
        return b""

    def _start(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._owner == os.getpid() and self._process.poll() is None:
            return self._process
        self.end()
        program = Path(__file__).with_name("hdf5_walk.py")
        self._process = subprocess.Popen(  # noqa: S603 - a program of ours; paths of others go through the pipe
            [sys.executable, "-I", "-S", "-X", "utf8", str(program), *_folders()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for this process
            env=os.environ
            | {"HDF5_PLUGIN_PRELOAD": "::", "HDF5_USE_FILE_LOCKING": "BEST_EFFORT", "OPENBLAS_NUM_THREADS": "1"},
        )
        self._owner = os.getpid()
        return self._process

    def end(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None or self._owner != os.getpid():  # a fork of ours leaves the process to its parent
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def _read_line(descriptor: int, seconds: float) -> bytes:
    line, until = b"", time.monotonic() + seconds
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([descriptor], [], [], max(0.0, until - time.monotonic()))
        part = os.read(descriptor, 1 << 16) if ready else b""
        if not part:
            return b""
        line += part
    return line


def _folders() -> list[str]:
    """Where h5py and NumPy are: all that the isolated process imports."""
    specs = [importlib.util.find_spec(name) for name in ("h5py", "numpy")]
    return list(dict.fromkeys(str(Path(spec.origin).parents[1]) for spec in specs if spec and spec.origin))


_worker = _Worker()
_trusted: set[Stamp] = set()
_trusted_cells: set[Stamp] = set()
atexit.register(_worker.end)
