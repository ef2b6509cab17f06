"""Fetch the files of many models: one download a host, a few hosts at once, no further ahead than is asked for."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from filterlens.errors import DownloadError, FilterlensError
from filterlens.fetching.needs import Needs
from filterlens.process.interruption import wait_for_the_end

if TYPE_CHECKING:
    from filterlens.loaders.remote import RemoteFile

__all__ = ["Fetcher", "Transfer"]

_HOSTS: Final = 4
_EVERY: Final = 0.1  # seconds between two reports of one file
_PATIENCE: Final = 2.0
_LOOK: Final = 0.2


@dataclass(frozen=True, slots=True)
class Transfer:
    """How far a file is.

    Parameters
    ----------
    model_id, name
        The model that needs it, and its address.
    done, total
        Bytes; the total is None where it is not known.
    state
        `begun`, `coming`, or how it ended: `fetched`, `cached` (another process brought it), `failed`.
    reason
        Why it failed.
    """

    model_id: str
    name: str
    done: int = 0
    total: int | None = None
    state: str = "coming"
    reason: str = ""


class _Stopped(Exception):  # noqa: N818 - no error
    """The fetcher was closed."""


class _File:
    """A file that one or several models need, each perhaps in a place of its own."""

    def __init__(self, file: RemoteFile, model_id: str, source: RemoteFile | None) -> None:
        self.file = file
        self.others: dict[str, RemoteFile] = {}  # by place
        self.source = source  # another place where it is already
        self.model_id = model_id
        self.users: set[int] = set()
        self.state = "waiting"
        self.error: FilterlensError | None = None


class Fetcher:
    """Fetches in threads of this process; use as a context manager.

    Parameters
    ----------
    needs
        Of the models, in the order in which they will be asked for.
    listener
        Called with each `Transfer`, from the threads.
    ahead
        How many models that are not released may have been fetched for; None: all.
    evict
        Remove a file that was fetched here once every model that needs it is released.
    hosts
        From how many hosts at once.
    """

    def __init__(
        self,
        needs: Sequence[Needs],
        *,
        listener: Callable[[Transfer], None] = lambda _: None,
        ahead: int | None = None,
        evict: bool = False,
        hosts: int = _HOSTS,
    ) -> None:
        self._listener = listener
        self._ahead = len(needs) if ahead is None else max(1, ahead)
        self._evict = evict
        self._changed = threading.Condition()
        self._stopped = False
        self._released: set[int] = set()
        self._files: dict[str, _File] = {}
        self._of: list[list[_File]] = []
        self._errors = [found.error for found in needs]
        here = {file.name: file for found in needs for file in found.files if file not in found.missing}
        for number, found in enumerate(needs):
            own = []
            for file in found.missing:
                first = _File(file, found.entry.model_id, here.get(file.name))
                one = self._files.setdefault(file.name, first)
                one.users.add(number)
                if file.place != one.file.place:
                    one.others[file.place] = file
                own.append(one)
            self._of.append(own)
        self._wanted = -1
        self._busy: set[str] = set()
        count = min(hosts, len({one.file.host for one in self._files.values()}))
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(count)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop fetching; a file that has begun can be continued by the next run."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(_PATIENCE)

    def is_ready(self, number: int) -> bool:
        """Whether nothing of a model is still to be waited for."""
        with self._changed:
            return self._is_ready(number)

    def wait(self, number: int, *, until: float = math.inf) -> FilterlensError | None:
        """Wait until the files of a model are here, however far `ahead`, or for the time; return what went wrong."""
        with self._changed:
            self._wanted = number
            self._changed.notify_all()
            while not self._is_ready(number) and time.time() < until:
                self._changed.wait(_LOOK)  # signals are handled meanwhile
            return next((one.error for one in self._of[number] if one.error is not None), None)

    def failure(self, number: int) -> FilterlensError | None:
        """Return why a model's files could not be named or fetched."""
        with self._changed:
            return self._errors[number] or next((one.error for one in self._of[number] if one.error is not None), None)

    def was_fetched(self, number: int) -> bool:
        """Whether a file of a model was fetched here."""
        return any(one.state == "fetched" for one in self._of[number])

    def release(self, number: int) -> None:
        """Say that a model is done: others may be fetched for, and its files removed where that is asked for."""
        with self._changed:
            self._released.add(number)
            self._changed.notify_all()
            gone = [one for one in self._of[number] if one.state == "fetched" and one.users <= self._released]
            for one in gone if self._evict else ():
                one.state = "evicted"
                for file in (one.file, *one.others.values()):
                    with suppress(OSError):
                        file.remove()

    def _is_ready(self, number: int) -> bool:
        return self._stopped or all(one.state not in {"waiting", "coming"} for one in self._of[number])

    def _next(self) -> _File | None:
        """Return the first file whose host is free and whose model is near enough; None at the end."""
        with self._changed:
            while not self._stopped:
                if not any(one.state == "waiting" for one in self._files.values()):
                    return None
                if (one := self._choose()) is not None:
                    one.state = "coming"
                    self._busy.add(one.file.host)
                    return one
                self._changed.wait()
            return None

    def _choose(self) -> _File | None:
        begun = {number for number, own in enumerate(self._of) if any(one.state != "waiting" for one in own)}
        may_begin = len(begun - self._released) < self._ahead
        for number, own in enumerate(self._of):
            if number in begun or may_begin or number == self._wanted:
                for one in own:
                    if one.state == "waiting" and one.file.host not in self._busy:
                        return one
        return None

    def _work(self) -> None:
        while (one := self._next()) is not None:
            state = "failed"
            error: FilterlensError | None = None
            try:
                state = "fetched" if self._obtain(one) else "cached"
            except _Stopped:
                error = DownloadError(f"{one.file.name}: the audit ended before it was fetched")
            except FilterlensError as found:
                error = found
            except Exception as found:  # noqa: BLE001 - a library's; one file's failure leaves the others
                error = DownloadError(f"{one.file.name} cannot be fetched ({type(found).__name__}: {found}): try again")
            wait_for_the_end()  # which failed it
            if error is not None:
                error = DownloadError(f"{one.model_id}: {error}") if one.model_id not in str(error) else error
            with self._changed:
                one.state, one.error = state, error
                self._busy.discard(one.file.host)
                self._changed.notify_all()
            if not self._stopped:
                self._listener(Transfer(one.model_id, one.file.name, state=state, reason=str(error or "")))

    def _obtain(self, one: _File) -> bool:
        told = 0.0

        def report(done: int, total: int | None) -> None:
            nonlocal told
            if self._stopped:
                raise _Stopped
            now = time.monotonic()
            if now - told >= _EVERY or done == total:
                told = now
                self._listener(Transfer(one.model_id, one.file.name, done, total))

        self._listener(Transfer(one.model_id, one.file.name, state="begun"))
        if one.source is not None:
            one.file.copy_from(one.source)
        came = one.file.obtain(report)
        for other in one.others.values():
            other.copy_from(one.file)
        return came or one.source is not None
