"""Check files of others in a process that can be ended, before this one reads them.

A C library hangs or crashes on damaged structure, and no signal is handled then. A program walks the file first; what
has passed holds nothing on which the same library would end this process.
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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

__all__ = ["IsolatedCheck"]

_SECONDS: Final = 2.0  # of processor time, and one more for each `_BYTES`: a dump of 6 MB takes 0.01
_BYTES: Final = 32 << 20
_PATIENCE: Final = 60.0  # seconds by the clock beyond that, for a slow disk or a busy machine
_LOOP: Final = Path(__file__).with_name("isolated_program.py")

Stamp = tuple[int, int, int, int, int]


class IsolatedCheck:
    """A process that checks files; started when it is first needed, and again after it was ended.

    Parameters
    ----------
    program
        A file with the functions `check(path, **options)`, which raises where a file is not to be read, and
        `is_spent()`: its process is not to be asked again. It imports nothing of filterlens.
    packages
        All that it imports beside Python's own.
    library
        What crashes, for the message.
    environment
        Variables of its process.
    """

    def __init__(self, program: Path, *, packages: Sequence[str], library: str, environment: Mapping[str, str]) -> None:
        self._program, self._packages, self._library, self._environment = program, packages, library, environment
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._passed: set[tuple[Stamp, str]] = set()
        atexit.register(self.end)

    def refusal(self, path: Path, **options: object) -> str:
        """Say why a file is refused; empty where it has passed, now or before it was last changed.

        Parameters
        ----------
        path
            The file.
        options
            Of the program, as JSON knows them.

        Raises
        ------
        OSError
            It cannot be read.
        """
        key = _stamp(path), json.dumps(options)
        if key in self._passed:
            return ""
        refused = self._ask(path, options, _SECONDS + key[0][2] / _BYTES)
        if not refused:
            self._passed.add(key)
        return refused

    def trust(self, path: Path, **options: object) -> None:
        """Spare a file the check, as this process has just written it."""
        with contextlib.suppress(OSError):
            self._passed.add((_stamp(path), json.dumps(options)))

    def _ask(self, path: Path, options: Mapping[str, object], seconds: float) -> str:
        asked = json.dumps({"path": str(path.absolute()), "options": options, "seconds": seconds}).encode() + b"\n"
        with self._lock:
            try:
                answer = self._exchange(asked, seconds + _PATIENCE)
            except BaseException:
                self.end()  # its answer to this question is not to be taken for one to the next
                raise
            if not answer:
                self.end()
                return (
                    f"its structure is damaged: {self._library} crashes on it, or takes longer than for any sound file"
                )
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
        self._process = subprocess.Popen(  # noqa: S603 - a program of ours; paths of others go through the pipe
            [sys.executable, "-I", "-S", "-X", "utf8", str(_LOOP), str(self._program), *_folders(self._packages)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for this process
            env=os.environ | self._environment,
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


def _stamp(path: Path) -> Stamp:
    """Return what changes with a file's content, whoever writes it."""
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _read_line(descriptor: int, seconds: float) -> bytes:
    line, until, waiting = b"", time.monotonic() + seconds, select.poll()
    waiting.register(descriptor, select.POLLIN)
    while not line.endswith(b"\n"):
        ready = waiting.poll(1000 * max(0.0, until - time.monotonic()))
        part = os.read(descriptor, 1 << 16) if ready else b""
        if not part:
            return b""
        line += part
    return line


def _folders(packages: Sequence[str]) -> list[str]:
    """Where packages are: all that the isolated process can import."""
    specs = [importlib.util.find_spec(name) for name in packages]
    return list(dict.fromkeys(str(Path(spec.origin).parents[1]) for spec in specs if spec and spec.origin))
