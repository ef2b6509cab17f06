"""The part of a file that has come so far: kept for the next attempt, and for the next run where that is safe.

It is safe where the server names the version of its file (a strong `ETag`, or `Last-Modified`): the rest is then asked
for on the condition that the version is the same (RFC 9110, section 13.1.5). Without, a part is for the next attempt
only, and is removed with it.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from email.message import Message
from pathlib import Path
from typing import Final

__all__ = ["Partial"]

_RANGE: Final = re.compile(r"bytes\s+([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", re.ASCII)
_MAX_NOTE: Final = 10_000
_LONGEST: Final = 1_000


class Partial:
    """Bytes that have come, and what the server said of the whole file.

    Parameters
    ----------
    path
        Where they are written, in a folder that is removed afterwards.
    kept
        Where they are written instead if they may be continued by another process; `None`: never.
    """

    def __init__(self, path: Path, kept: Path | None = None) -> None:
        self.path = path
        self.total: int | None = None
        self.resumed = False
        self._version = ""
        self._first = path
        self._kept = kept
        self._note = None if kept is None else kept.with_name(f"{kept.name}.json")
        self._read_note()

    @property
    def size(self) -> int:
        """How many bytes have come."""
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def headers(self) -> dict[str, str]:
        """Return what to ask for: the rest, if it is of the same version."""
        if not (size := self.size):
            return {}
        return {"Range": f"bytes={size}-"} | ({"If-Range": self._version} if self._version else {})

    def restart(self, headers: Message, declared: int) -> None:
        """Begin anew with a whole answer."""
        self.discard()
        self.total = declared or None
        self._version = _version(headers)
        if self._version and self._kept is not None and self._note is not None:
            self.path = self._kept
            note = {"version": self._version, "total": self.total, "boot": _boot()}
            self._note.write_text(json.dumps(note), encoding="utf-8")  # a torn one is not taken

    def refuse(self, headers: Message, declared: int) -> str:
        """Say why an answer of a range is not the rest of what is here; empty where it is."""
        text = headers.get("Content-Range", "")
        found = _RANGE.fullmatch(text.strip())
        if found is None:
            return "it sent a part of the file without saying which"
        first, last = int(found[1]), int(found[2])
        total = None if found[3] == "*" else int(found[3])
        if first != self.size or last < first or (declared and declared != last - first + 1):
            return f"it sent bytes {first} to {last} where those from {self.size} on were asked for"
        if total is not None and (last >= total or (self.total is not None and total != self.total)):
            return f"its file has {total} bytes now, where it had {self.total}"
        if self._version and (now := _version(headers)) and now != self._version:
            return "its file has changed meanwhile"
        self.total = total if total is not None else self.total
        self.resumed = True
        return ""

    def discard(self) -> None:
        """Remove what has come."""
        for path in (self.path, self._kept, self._note):
            if path is not None:
                path.unlink(missing_ok=True)
        self.path, self.total, self._version, self.resumed = self._first, None, "", False

    def finish(self) -> Path:
        """Return the file under its own name in the folder that is removed afterwards; nothing else is left."""
        if self.path != self._first:
            self.path.replace(self._first)
        if self._note is not None:
            self._note.unlink(missing_ok=True)
        return self._first

    def _read_note(self) -> None:
        """Find what an earlier process left."""
        if self._kept is None or self._note is None:
            return
        note: object = None
        with suppress(OSError, ValueError, RecursionError):
            if self._kept.is_file() and self._note.stat().st_size < _MAX_NOTE:
                note = json.loads(self._note.read_text(encoding="utf-8"))
        if (
            isinstance(note, dict)
            and isinstance(version := note.get("version"), str)
            and 0 < len(version) <= _LONGEST
            and version.isprintable()
            and isinstance(total := note.get("total"), int | None)
            and note.get("boot") == _boot()  # after a power cut, a file may be longer than what was written of it
            and (total is None or self._kept.stat().st_size < total)
        ):
            self.path, self.total, self._version = self._kept, total, version
        else:
            self.discard()


def _version(headers: Message) -> str:
    """Return what tells one version of the server's file from another, as `If-Range` takes it."""
    tag = headers.get("ETag", "").strip()
    if tag.startswith('"') and tag.isascii() and tag.isprintable() and len(tag) <= _LONGEST:
        return tag
    date = headers.get("Last-Modified", "").strip()
    return date if date.isascii() and date.isprintable() and len(date) <= _LONGEST else ""


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
