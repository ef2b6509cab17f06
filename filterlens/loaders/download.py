"""Fetch a file into the cache: it appears there whole and checked, or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.client
import json
import os
import secrets
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from filelock import FileLock

from filterlens.errors import DownloadError
from filterlens.files import publish
from filterlens.interruption import forget_temporary, temporary
from filterlens.loaders.cache import cache_folder
from filterlens.loaders.kinds import impostor, is_whole_zip, is_zip

__all__ = ["Origin", "drive", "fetch", "fetch_json", "place", "web"]

_BLOCK: Final = 1 << 20
_SECONDS: Final = 60
_PARTIAL: Final = ".partial-"
_FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


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
        The address is neither `https:` nor, with a checksum, `http:`.
    """
    scheme = urlsplit(url).scheme
    if scheme != "https" and not (scheme == "http" and checksum):
        raise DownloadError(f"{url} is not fetched: give an https: address, or http: with a sha256 checksum")
    return Origin(url, lambda path: _save_web(url, path), checksum, size)


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
    if target.is_file():
        return target
    if offline:
        raise DownloadError(
            f"{target} is not in the cache, and the network is not to be used: run once without --offline, "
            f"or put the file from {origin.name} there"
        )
    with place(target) as work:
        if not target.is_file():
            fresh = work / target.name
            _save(origin, fresh)
            _check(origin, fresh)
            publish(fresh, target)
    return target


@contextlib.contextmanager
def place(target: Path) -> Iterator[Path]:
    """Give a folder beside the target to work in, alone on this host; it is gone afterwards.

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
            work = temporary(target.parent / f"{_PARTIAL}{secrets.token_hex(4)}")
            try:
                work.mkdir()
                yield work
            finally:
                shutil.rmtree(work, ignore_errors=True)
                forget_temporary(work)
    except OSError as error:
        raise _no_room(target, error) from error


def _no_room(target: Path, error: OSError) -> DownloadError:
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
        raise DownloadError(
            f"{origin.name} answers {error.code} {error.reason}: check the address, or try again later"
        ) from error
    except (http.client.HTTPException, EOFError) as error:
        raise DownloadError(f"{origin.name} broke off ({error}): try again") from error
    except OSError as error:
        if error.errno in _FULL or isinstance(error, PermissionError):
            raise
        reason = getattr(error, "reason", None) or error
        raise DownloadError(
            f"{origin.name} cannot be reached ({reason}): check the network, or put the file into the cache yourself "
            f"and run with --offline"
        ) from error


def _save_web(url: str, path: Path) -> None:
    request = urllib.request.Request(url, headers={"User-Agent": "filterlens"})  # noqa: S310 - web() checked the scheme
    with urllib.request.urlopen(request, timeout=_SECONDS) as answer, path.open("wb") as file:  # noqa: S310 - likewise
        declared = int(answer.headers.get("Content-Length") or 0)
        if declared > shutil.disk_usage(path.parent).free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        shutil.copyfileobj(answer, file, _BLOCK)
    if declared and path.stat().st_size != declared:
        raise EOFError(f"{path.stat().st_size} of {declared} bytes came")


def _save_drive(identifier: str, path: Path) -> None:
    import gdown  # type: ignore[import-untyped]
    from gdown.exceptions import FileURLRetrievalError  # type: ignore[import-untyped]

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
    if what := impostor(path):
        raise DownloadError(f"{origin.name} sent {what}: try again later, or fetch it with a browser")
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
    if is_zip(path) and not is_whole_zip(path):
        raise DownloadError(f"{origin.name} came truncated ({size} bytes, the zip's end is missing): try again")


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
        _save(web(url), path)
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DownloadError(f"{url} answers with something that is no JSON: try again later") from error
