"""Fetch a file into the cache: it appears there whole and checked, or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.client
import json
import logging
import os
import re
import secrets
import shutil
import tempfile
import urllib.error
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from filterlens.errors import DownloadError
from filterlens.loaders.mirror import Mirror, mirror_of
from filterlens.loaders.opener import host_of, shown_url
from filterlens.loaders.partial import Partial
from filterlens.loaders.quick_check import quick_check
from filterlens.loaders.transfer import MAX_BYTES, Report, ask_size, save_url, stream_url
from filterlens.process.cache import cache_folder
from filterlens.process.files import commit_file
from filterlens.process.interruption import forget_temporary, make_temporary_folder, remove_on_interruption
from filterlens.process.printable import printable

__all__ = ["Origin", "fetch", "fetch_json", "obtain", "read_json", "share", "web"]

_BLOCK: Final = 1 << 20
_ANSWER: Final = 16 << 20
_PARTIAL: Final = ".partial-"
_POLL: Final = 0.2
_FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_CHECKSUM: Final = re.compile(r"sha256:[0-9a-f]{8,64}|md5:[0-9a-f]{32}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a file comes from.

    Parameters
    ----------
    name
        As errors call it; an address that a browser can open.
    save
        Called with the path to write.
    checksum
        `sha256:…` or `md5:…` in hexadecimal (a sha256 may be its first digits), or empty where nobody publishes one.
    size
        In bytes, or None where unknown.
    url
        Its address where it is one file on the web; empty otherwise.
    stream
        Instead of `save`: goes on where an earlier attempt broke off, and reports how much has come.
    sizer
        Asks for the size where it is not known.
    """

    name: str
    save: Callable[[Path], None]
    checksum: str = ""
    size: int | None = None
    url: str = ""
    stream: Callable[[Partial, Report], None] | None = None
    sizer: Callable[[], int | None] | None = None

    def ask_size(self) -> int | None:
        """Return the size in bytes, asked for where it is not known; None where nobody says."""
        return self.size if self.size is not None or self.sizer is None else self.sizer()


def web(url: str, *, checksum: str = "", size: int | None = None) -> Origin:
    """Name a file on the web.

    Raises
    ------
    DownloadError
        The address is neither `https:` nor, with a checksum, `http:`; it holds a password; or the checksum is none.
    """
    name = shown_url(url)
    try:
        parts = urlsplit(url)
    except ValueError:
        raise DownloadError(f"{name} is no address: give an https: address") from None
    if parts.scheme != "https" and not (parts.scheme == "http" and checksum):
        raise DownloadError(f"{name} is not fetched: give an https: address, or http: with a sha256 checksum")
    if "@" in parts.netloc:
        raise DownloadError(f"{name} is not fetched: its address holds a user's name or password, which is not sent")
    if checksum and not _CHECKSUM.fullmatch(checksum):
        raise DownloadError(f"{name} has the checksum {printable(checksum):.80}: sha256:… or md5:… was expected")
    limit = MAX_BYTES if size is None else size
    return Origin(
        name,
        lambda path: save_url(url, path, limit=limit),
        checksum,
        size,
        url,
        lambda partial, report: stream_url(url, partial, limit=limit, report=report),
        lambda: ask_size(url),
    )


def fetch(target: Path, origin: Origin, *, offline: bool = False) -> Path:
    """Return the target, fetched first where it is not there; see `obtain`."""
    obtain(target, origin, offline=offline)
    return target


def obtain(target: Path, origin: Origin, *, offline: bool = False, report: Report = lambda *_: None) -> bool:
    """Fetch the target where it is not there.

    One download at a time from a host: the others wait, then find the file or take their turn.

    Parameters
    ----------
    target
        Where the file belongs in the cache.
    origin
        Where it comes from.
    offline
        Fetch nothing.
    report
        Told how much has come.

    Returns
    -------
        Whether it was fetched now.

    Raises
    ------
    DownloadError
        It is not there and cannot be fetched whole; nothing half-written is left, but for a `.part` that the next
        attempt can continue.
    """
    wrong = _damage(target)
    if wrong == "":
        return False
    mirror = mirror_of(target, checksum=origin.checksum)
    if offline and mirror is not None and mirror.is_folder and _from_mirror(mirror, origin, target, report):
        return True
    if offline:
        there = f" (there is {wrong})" if wrong else ""
        raise DownloadError(
            f"{target} is not in the cache{there}, and the network is not to be used: run once without --offline, or "
            f"put the file from {origin.name} there"
        )
    if mirror is not None and _from_mirror(mirror, origin, target, report):
        return True
    try:
        with _turn(host_of(origin.url), target, report) as is_ours:
            wrong = _damage(target)
            if wrong == "" or not is_ours:
                return False
            if wrong:
                logging.getLogger(__name__).warning("%s in the cache is %s: it is fetched anew", target, wrong)
            with _place(target, host_of(origin.url)) as work:
                commit_file(_fetched(origin, target, work, report), target)
            return True
    except OSError as error:
        raise _disk_full(target, error) from error


def share(source: Path, target: Path) -> None:
    """Let a file of the cache appear in another place of it too: as a link, or a copy where there are none.

    Raises
    ------
    DownloadError
        The disk is full or the folder cannot be written.
    """
    work = remove_on_interruption(target.parent / f".{target.name}-{secrets.token_hex(4)}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source.resolve(), work)  # a link to a link may lead nowhere from another folder
        except OSError:
            shutil.copyfile(source, work)
        commit_file(work, target)
    except OSError as error:
        raise _disk_full(target, error) from error
    finally:
        work.unlink(missing_ok=True)
        forget_temporary(work)


def _from_mirror(mirror: Mirror, origin: Origin, target: Path, report: Report) -> bool:
    """Fetch from the mirror; False, and a warning, where it does not have the file or has another one."""
    own = replace(
        origin,
        name=mirror.name,
        url=mirror.url or f"file:{mirror.path}",
        stream=lambda partial, report: mirror.save(partial, report, size=origin.size),
    )
    if mirror.path is not None and not mirror.path.is_file():
        return False
    try:
        with _turn(host_of(own.url), target, report) as is_ours:
            if is_ours:
                with _place(target, host_of(own.url)) as work:
                    commit_file(_fetched(own, target, work, report), target)
            return True
    except DownloadError as error:
        if not isinstance(cause := error.__cause__, urllib.error.HTTPError) or cause.code != 404:
            logging.getLogger(__name__).warning("the mirror is passed over: %s", error)
        return False
    except OSError as error:
        raise _disk_full(target, error) from error


def _fetched(origin: Origin, target: Path, work: Path, report: Report) -> Path:
    """Bring a checked file into the working folder."""
    if origin.stream is None:
        path = work / target.name
        _guarded(origin.name, lambda: origin.save(path))
        _check(origin, path)
        return path
    stream = origin.stream
    key = hashlib.sha256(origin.url.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    while True:
        partial = Partial(work / target.name, target.with_name(f"{target.name}.{key}.part"))
        _guarded(origin.name, lambda partial=partial: stream(partial, report))  # type: ignore[misc]
        path = partial.finish()
        try:
            _check(origin, path)
        except DownloadError:
            path.unlink(missing_ok=True)
            if not partial.resumed:
                raise
            logging.getLogger(__name__).warning("%s: its parts do not fit together: fetched anew", origin.name)
        else:
            return path


def _damage(target: Path) -> str | None:
    """Say what is wrong with a file of the cache; empty where nothing is, None where it is not there."""
    try:
        return quick_check(target) if target.is_file() else None
    except OSError as error:
        raise DownloadError(f"{target} in the cache cannot be read ({error.strerror}): make it readable") from error


@contextlib.contextmanager
def _turn(host: str, target: Path, report: Report) -> Iterator[bool]:
    """Wait for one's turn with a host, among all processes of this machine; False where the target is there before."""
    cache = cache_folder()
    target.parent.mkdir(parents=True, exist_ok=True)
    cache.mkdir(parents=True, exist_ok=True)
    lock = FileLock(cache / f".download{_key(host)}.lock")
    while True:
        try:
            lock.acquire(timeout=_POLL)
            break
        except Timeout:
            report(0, None)
            if _damage(target) == "":
                yield False
                return
    try:
        yield True
    finally:
        lock.release()


def _key(host: str) -> str:
    """Return a part of a file's name that stands for a host."""
    return f"-{re.sub(r'[^a-z0-9.-]', '_', host)[:80]}" if host else ""


@contextlib.contextmanager
def _place(target: Path, host: str) -> Iterator[Path]:
    """Give a folder beside the target to work in, removed afterwards; only who holds the host's lock has one."""
    for left in cache_folder().rglob(f"{_PARTIAL}*"):
        # only a killed process leaves one, and we hold the lock
        if left.name.startswith(f"{_PARTIAL}{_key(host)}-") or not left.name.startswith(f"{_PARTIAL}-"):
            shutil.rmtree(left, ignore_errors=True)
    work = target.parent / f"{_PARTIAL}{_key(host)}-{secrets.token_hex(4)}"
    try:
        yield make_temporary_folder(work)
    finally:
        shutil.rmtree(work, ignore_errors=True)
        forget_temporary(work)


def _disk_full(target: Path, error: OSError) -> DownloadError:
    if error.errno in _FULL:
        return DownloadError(
            f"the disk is full: {target} could not be written; make room, or set FILTERLENS_CACHE to another disk"
        )
    return DownloadError(
        f"the cache cannot be written ({target.parent}: {error.strerror or error}): make it writable, or set "
        "FILTERLENS_CACHE to another folder"
    )


def _guarded(name: str, save: Callable[[], None]) -> None:
    """Say what went wrong with a transfer."""
    try:
        save()
    except urllib.error.HTTPError as error:
        error.close()
        raise DownloadError(
            f"{name} answers {error.code} {printable(str(error.reason)[:500])}{_tried(error)}: check the address, or "
            "try again later"
        ) from error
    except (http.client.HTTPException, EOFError) as error:
        raise DownloadError(f"{name} broke off ({printable(str(error)[:500])}{_tried(error)}): try again") from error
    except UnicodeError as error:
        raise DownloadError(
            f"{name} is no address ({printable(str(error)[:500])}): give it as a browser shows it"
        ) from error
    except OSError as error:
        if error.errno in _FULL or isinstance(error, PermissionError):
            raise
        reason = getattr(error, "reason", None) or error
        raise DownloadError(
            f"{name} cannot be reached ({printable(str(reason)[:500])}{_tried(error)}): check the network, or put the "
            "file into the cache yourself and run with --offline"
        ) from error


def _tried(error: BaseException) -> str:
    return "".join(f", {note}" for note in getattr(error, "__notes__", ()))


def _check(origin: Origin, path: Path) -> None:
    """Refuse what is not the file that was asked for."""
    if wrong := quick_check(path):
        raise DownloadError(f"{origin.name} sent {wrong}: try again later, or fetch it with a browser")
    size = path.stat().st_size
    if origin.size is not None and size != origin.size:
        raise DownloadError(f"{origin.name} sent {size} bytes where {origin.size} were expected: try again")
    if origin.checksum:
        kind, _, expected = origin.checksum.partition(":")
        found = _digest(path, kind)
        if not found.startswith(expected.lower()):
            raise DownloadError(
                f"{origin.name} has the {kind} {found} where {expected} was expected: it changed, or came damaged"
            )


def _digest(path: Path, kind: str) -> str:
    digest = hashlib.new(kind, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def fetch_json(url: str) -> object:
    """Ask a web service.

    Raises
    ------
    DownloadError
        It does not answer, or not in JSON.
    """
    with tempfile.TemporaryDirectory() as work:
        path = Path(work) / "answer.json"
        origin = web(url)
        _guarded(origin.name, lambda: save_url(url, path, limit=_ANSWER))
        return read_json(path, origin.name)


def read_json(path: Path, name: str) -> object:
    """Read a small JSON file from elsewhere.

    Raises
    ------
    DownloadError
        It is larger than an answer or a description is, or no JSON; `name` says whose it is.
    """
    if path.stat().st_size > _ANSWER:
        raise DownloadError(f"{name} sends {path.stat().st_size} bytes where at most {_ANSWER} of JSON were expected")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DownloadError(f"{name} answers with something that is no JSON: try again later") from error
