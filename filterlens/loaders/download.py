"""Fetch a file into the cache: it appears there whole and checked, or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.client
import json
import logging
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

from filelock import FileLock

from filterlens.errors import DownloadError
from filterlens.loaders.quick_check import quick_check
from filterlens.loaders.transfer import MAX_BYTES, save_url, shown_url
from filterlens.process.cache import cache_folder
from filterlens.process.files import commit_file
from filterlens.process.interruption import forget_temporary, remove_on_interruption
from filterlens.process.printable import printable

__all__ = ["Origin", "drive", "fetch", "fetch_json", "place", "read_json", "web"]

_BLOCK: Final = 1 << 20
_ANSWER: Final = 16 << 20
_PARTIAL: Final = ".partial-"
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
    """

    name: str
    save: Callable[[Path], None]
    checksum: str = ""
    size: int | None = None


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
    return Origin(name, lambda path: save_url(url, path, limit=limit), checksum, size)


def drive(identifier: str) -> Origin:
    """Name a public file on Google Drive, fetched with gdown as RobustBench does."""
    return Origin(f"https://drive.google.com/uc?id={identifier}", lambda path: _save_drive(identifier, path))


def fetch(target: Path, origin: Origin, *, offline: bool = False) -> Path:
    """Return the target, fetched first where it is not there.

    One download at a time on a host: the others wait, then find the file or take their turn.

    Parameters
    ----------
    target
        Where the file belongs in the cache.
    origin
        Where it comes from.
    offline
        Fetch nothing.

    Raises
    ------
    DownloadError
        It is not there and cannot be fetched whole; nothing half-written is left.
    """
    wrong = _damage(target)
    if wrong == "":
        return target
    if offline:
        there = f" (there is {wrong})" if wrong else ""
        raise DownloadError(
            f"{target} is not in the cache{there}, and the network is not to be used: run once without --offline, or "
            f"put the file from {origin.name} there"
        )
    with place(target) as work:
        if wrong := _damage(target):
            logging.getLogger(__name__).warning("%s in the cache is %s: it is fetched anew", target, wrong)
        if wrong != "":
            fresh = work / target.name
            _save(origin, fresh)
            _check(origin, fresh)
            commit_file(fresh, target)
    return target


def _damage(target: Path) -> str | None:
    """Say what is wrong with a file of the cache; empty where nothing is, None where it is not there."""
    try:
        return quick_check(target) if target.is_file() else None
    except OSError as error:
        raise DownloadError(f"{target} in the cache cannot be read ({error.strerror}): make it readable") from error


@contextlib.contextmanager
def place(target: Path) -> Iterator[Path]:
    """Give a folder beside the target to work in, locked on this host; it is removed afterwards.

    Raises
    ------
    DownloadError
        The cache cannot be written.
    """
    cache = cache_folder()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(cache / ".download.lock"):
            for left in cache.rglob(f"{_PARTIAL}*"):
                # only a killed process leaves one, and we hold the lock
                shutil.rmtree(left, ignore_errors=True)
            work = remove_on_interruption(target.parent / f"{_PARTIAL}{secrets.token_hex(4)}")
            try:
                work.mkdir()
                yield work
            finally:
                shutil.rmtree(work, ignore_errors=True)
                forget_temporary(work)
    except OSError as error:
        raise _disk_full(target, error) from error


def _disk_full(target: Path, error: OSError) -> DownloadError:
    if error.errno in _FULL:
        return DownloadError(
            f"the disk is full: {target} could not be written; make room, or set FILTERLENS_CACHE to another disk"
        )
    return DownloadError(
        f"the cache cannot be written ({target.parent}: {error.strerror or error}): make it writable, or set "
        "FILTERLENS_CACHE to another folder"
    )


def _save(origin: Origin, path: Path) -> None:
    try:
        origin.save(path)
    except urllib.error.HTTPError as error:
        error.close()
        raise DownloadError(
            f"{origin.name} answers {error.code} {printable(str(error.reason)[:500])}: check the address, or try "
            "again later"
        ) from error
    except (http.client.HTTPException, EOFError) as error:
        raise DownloadError(f"{origin.name} broke off ({printable(str(error)[:500])}): try again") from error
    except UnicodeError as error:
        raise DownloadError(
            f"{origin.name} is no address ({printable(str(error)[:500])}): give it as a browser shows it"
        ) from error
    except OSError as error:
        if error.errno in _FULL or isinstance(error, PermissionError):
            raise
        reason = getattr(error, "reason", None) or error
        raise DownloadError(
            f"{origin.name} cannot be reached ({printable(str(reason)[:500])}): check the network, or put the file "
            "into the cache yourself and run with --offline"
        ) from error


def _save_drive(identifier: str, path: Path) -> None:
    import gdown
    from gdown.exceptions import FileURLRetrievalError

    try:
        saved = gdown.download(id=identifier, output=str(path), quiet=True)
    except FileURLRetrievalError as error:
        raise _refused(identifier) from error
    if saved is None or not path.is_file():
        raise _refused(identifier)


def _refused(identifier: str) -> DownloadError:
    return DownloadError(
        f"Google Drive refuses https://drive.google.com/uc?id={identifier}, mostly because it was fetched too often "
        "today: try again tomorrow, or fetch it with a browser and put it into the cache"
    )


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
        _save(replace(origin, save=lambda path: save_url(url, path, limit=_ANSWER)), path)
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
