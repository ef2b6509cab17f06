"""What a process does while it reads a file, by Python's audit events and the file system's own.

Events go to a file that forked children share, not to memory. What benign files cause is learnt first; what they
never caused, and is none of a reader's business, is a violation.
"""

from __future__ import annotations

import ast
import ctypes
import json
import os
import re
import socket
import struct
import sys
import types
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hostile.payload import TOKEN

__all__ = ["Watch", "tree"]

_PROCESSES = {
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.fork",
    "os.forkpty",
    "pty.spawn",
    "ctypes.dlopen",
    "webbrowser.open",
}
_SOCKETS = {
    "socket.connect",
    "socket.bind",
    "socket.getaddrinfo",
    "socket.gethostbyname",
    "socket.sendto",
    "socket.sendmsg",
    "urllib.Request",
    "ftplib.connect",
    "smtplib.connect",
}
#: Events that change a file: the places of paths among their arguments, each with that of its folder's descriptor.
_CHANGES: dict[str, tuple[tuple[int, int], ...]] = {
    "os.rename": ((0, 2), (1, 3)),
    "os.remove": ((0, 1),),
    "os.rmdir": ((0, 1),),
    "os.mkdir": ((0, 2),),
    "os.symlink": ((1, 2),),
    "os.link": ((1, 3),),
    "os.truncate": ((0, 9),),
    "os.chmod": ((0, 2),),
    "os.chown": ((0, 3),),
    "os.utime": ((0, 3),),
    "sqlite3.connect": ((0, 9),),
}
#: Libraries that write methods of their own classes as source, whenever they are first imported.
_GENERATORS = ("dataclasses.py", "collections/__init__.py", "attr/_make.py")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_OWN = str(Path(__file__).parent)
_SOURCES = tuple({str(Path(p).resolve()) for p in (sys.prefix, sys.base_prefix, *sys.path) if p and Path(p).is_dir()})


class Watch:
    """Listens from its making to the end of the process, and records while it is on.

    Parameters
    ----------
    log
        Where events are written.
    """

    def __init__(self, log: Path) -> None:
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_TRUNC, 0o600)
        self._read = log.open("rb")
        self._on = False
        self._writable: tuple[str, ...] = ()
        self._ports: tuple[str, ...] = ()
        self._busy = False
        self.known: set[str] = set()
        self._listed: set[str] = set()
        sys.addaudithook(self._hear)

    def start(self, writable: Iterable[Path], ports: Iterable[int] = ()) -> None:
        """Begin to record; below `writable` anything may be written."""
        self._writable = tuple(str(path.resolve()) for path in writable)
        self._ports = tuple(map(str, ports))
        self._modules = set(sys.modules)
        self._read.seek(0, os.SEEK_END)
        self._on = True

    def stop(self, named: Iterable[str] = ()) -> list[tuple[str, str]]:
        """Stop, and return what was seen: (sort, what), each once; `named` are modules nobody should import."""
        self._on = False
        found = [tuple(json.loads(line)) for line in self._read.read().splitlines()]
        fresh = set(sys.modules) - self._modules
        found += [("import", name) for name in named if name in fresh]
        return list(dict.fromkeys((str(sort), str(what)) for sort, what in found))

    def _tell(self, sort: str, what: str) -> None:
        os.write(self._log, json.dumps([sort, what[:300]]).encode() + b"\n")

    def _hear(self, event: str, args: tuple[Any, ...]) -> None:
        if not self._on or self._busy:
            return
        self._busy = True
        try:
            self._sort(event, args)
        finally:
            self._busy = False

    def _sort(self, event: str, args: tuple[Any, ...]) -> None:
        if event in {"exec", "compile"}:
            self._code(event, args)
        elif event in _PROCESSES:
            self._tell("process", f"{event} {_short(args)}")
        elif event in _SOCKETS:
            if not self._is_own(args) and getattr(args[0], "family", None) != socket.AF_UNIX:
                self._tell("socket", f"{event} {_short(args)}")
        elif event == "pickle.find_class":
            self._tell("find_class", f"{args[0]}.{args[1]}")
        elif event == "open":
            path, mode, flags = args
            if (isinstance(mode, str) and mode != "r") or (isinstance(flags, int) and flags & _WRITING):
                writes = bool(set(mode or "") & set("wax+")) or (isinstance(flags, int) and flags & _WRITING)
                if writes:
                    self._written(event, path)
        elif event in _CHANGES:
            for place, folder in _CHANGES[event]:
                path = args[place]
                at = args[folder] if folder < len(args) else -1
                if isinstance(at, int) and at >= 0 and isinstance(path, str | bytes):
                    path = os.path.join(os.readlink(f"/proc/self/fd/{at}"), os.fsdecode(path))
                self._written(event, path, followed=False)

    def _code(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "exec":
            code = args[0]
            name, text = code.co_filename, _texts(code)
        else:
            source, name = args
            name = name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
            text = (
                source.decode("utf-8", "replace")
                if isinstance(source, bytes)
                else source
                if isinstance(source, str)
                else ""
            )
        if name.startswith(_OWN):
            return
        if event == "compile" and _caller() == f"{Path(ast.__file__).parent.name}/ast.py":
            return  # parsed, as a literal is: what is then run is an event of its own
        if TOKEN in text:
            self._tell("executed", f"{event} of text from the file: {text[max(0, text.find(TOKEN) - 60) :][:160]!r}")
            return
        if name.startswith("<frozen") or (name.startswith(_SOURCES) and name.endswith(".py")):
            return
        if _caller().endswith(_GENERATORS):
            return
        self._tell("code", f"{event} {_caller()} {re.sub(r'[0-9]+', '#', name)}")

    def _is_own(self, args: tuple[Any, ...]) -> bool:
        text = _short(args)
        return any(port in text for port in self._ports) and ("127.0.0.1" in text or "localhost" in text)

    def _written(self, event: str, path: object, *, followed: bool = True) -> None:
        if isinstance(path, int) or path is None:
            return
        text = os.fsdecode(path)  # type: ignore[arg-type]
        if text.startswith(("/dev/null", "/dev/tty", "/proc/self", "/dev/shm/")):
            return
        real = (
            os.path.realpath(text)
            if followed
            else os.path.join(os.path.realpath(os.path.dirname(text)), os.path.basename(text))
        )
        if not any(real == place or real.startswith(f"{place}/") for place in self._writable):
            self._tell("write", f"{event} {text}")


def _short(args: tuple[Any, ...]) -> str:
    return " ".join(repr(part) for part in args if not isinstance(part, dict) and "object at" not in repr(part))[:260]


def _texts(code: types.CodeType) -> str:
    """Every word of compiled code."""
    words = [*code.co_names, *code.co_varnames]
    for constant in code.co_consts:
        if isinstance(constant, str):
            words.append(constant)
        elif isinstance(constant, bytes):
            words.append(constant.decode("latin1"))
        elif isinstance(constant, types.CodeType):
            words.append(_texts(constant))
    return " ".join(words)


def _caller() -> str:
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back  # type: ignore[assignment]
    name = frame.f_code.co_filename if frame else "?"
    return "/".join(Path(name).parts[-2:])


def tree(*roots: Path) -> dict[str, tuple[object, ...]]:
    """Every file below the roots, by size, time, kind and target."""
    found: dict[str, tuple[object, ...]] = {}
    for root in roots:
        for folder, folders, files in os.walk(root):
            for name in (*folders, *files):
                path = os.path.join(folder, name)
                state = os.lstat(path)
                link = os.readlink(path) if os.path.islink(path) else ""
                size = 0 if os.path.isdir(path) else (state.st_size, state.st_mtime_ns)
                found[path] = (size, state.st_mode, link)
    return found


class Opened:
    """Says whether anything opened files of a folder, from whatever language (Linux's inotify)."""

    def __init__(self, folder: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if (
            self._descriptor < 0
            or libc.inotify_add_watch(self._descriptor, os.fsencode(folder), 0x20 | 0x2 | 0x100) < 0
        ):
            raise OSError(ctypes.get_errno(), "inotify")

    def seen(self) -> list[str]:
        """Names opened or changed since the last call."""
        names: list[str] = []
        while True:
            try:
                data = os.read(self._descriptor, 65536)
            except BlockingIOError:
                return list(dict.fromkeys(names))
            place = 0
            while place < len(data):
                _, _, _, length = struct.unpack_from("iIII", data, place)
                names.append(data[place + 16 : place + 16 + length].rstrip(b"\0").decode("utf-8", "replace"))
                place += 16 + length
