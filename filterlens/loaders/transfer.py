"""One file over HTTP(S): what the server declares is checked, no step of the transfer lasts or grows without end.

A break, a stall and a busy server are met by trying again after growing waits, from the byte where it broke off where
the server can do that. `requests`, urllib3's `Retry` and pooch do part of this; none of them bounds how slowly headers
and bodies may come, keeps redirects within https, and continues a file only where it is the same one still.
"""

from __future__ import annotations

import email.utils
import errno
import http.client
import logging
import os
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final
from urllib.parse import urlsplit

from filterlens.errors import DownloadError
from filterlens.loaders import opener
from filterlens.loaders.opener import host_of, shown_url
from filterlens.loaders.partial import Partial
from filterlens.process.printable import printable

__all__ = ["MAX_BYTES", "Report", "Retries", "ask", "ask_size", "save_url", "stream_url"]

MAX_BYTES: Final = 1 << 40
"""No checkpoint is larger."""

Report = Callable[[int, int | None], None]
"""Called as `report(bytes, of_so_many)` while a file comes; what it raises ends the transfer."""
Find = Callable[[http.client.HTTPResponse], str]
"""Looks at an answer and returns the address where the file is really, or nothing where it is this answer."""


@dataclass(frozen=True, slots=True)
class Retries:
    """How often and when a transfer is tried again.

    Parameters
    ----------
    attempts
        In a row that bring nothing; one that brings a megabyte more begins the count anew.
    first, longest
        Seconds before the second attempt, which double from there on, and their bound.
    obeyed
        The longest `Retry-After` that is waited for, in seconds.
    """

    attempts: int = 6
    first: float = 1.0
    longest: float = 60.0
    obeyed: float = 600.0


RETRIES = Retries()
_BLOCK: Final = 1 << 20
_RATE: Final = 1_000  # bytes a second, over as long as no byte may come
_BRINGS: Final = 1 << 20
_BUSY: Final = {408, 425, 429, 500, 502, 503, 504}
_SLICE: Final = 0.2
_reached: set[str] = set()


def save_url(url: str, path: Path, *, limit: int = MAX_BYTES) -> None:
    """Fetch an address into a file, as `stream_url` does."""
    stream_url(url, Partial(path), limit=limit)


def stream_url(
    url: str,
    partial: Partial,
    *,
    limit: int = MAX_BYTES,
    report: Report = lambda *_: None,
    find: Find | None = None,
    cookies: bool = False,
) -> None:
    """Fetch an address, and go on where an earlier attempt broke off.

    Parameters
    ----------
    url
        An `https:` or `http:` address; redirects lead from `https:` to `https:` only.
    partial
        What has come so far, and where the rest goes.
    limit
        The largest number of bytes that the file may have.
    report
        Told how much has come.
    find
        Of a service that may answer with a page that leads to the file.
    cookies
        Send back, within one attempt, what the server sets.

    Raises
    ------
    DownloadError
        The server declares nonsense, sends more than `limit`, redirects elsewhere than to `https:`, or asks for a wait
        that is too long.
    OSError, http.client.HTTPException, EOFError
        It cannot be reached, answers an error, stalls or breaks off, several times in a row; or the disk is full.
    """
    failures, retries = 0, RETRIES
    while True:
        before = partial.size
        try:
            _attempt(url, partial, limit, report, find, cookies=cookies)
        except (OSError, http.client.HTTPException, EOFError) as error:
            failures = 1 if partial.size - before >= _BRINGS else failures + 1
            wait = _wait_after(error, url, failures, retries)
            if wait is None or failures >= retries.attempts:
                if failures > 1:
                    error.add_note(f"after {failures} attempts")
                raise
            logging.getLogger(__name__).warning(
                "%s: %s: tried again in %.0f s from byte %d",
                shown_url(url), printable(str(error))[:200], wait, partial.size,
            )  # fmt: skip
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            _sleep(wait, partial, report)
        else:
            return


def _wait_after(error: Exception, url: str, failures: int, retries: Retries) -> float | None:
    """Return how long to wait before the next attempt; None where another one would be no better.

    A host that cannot be reached is tried again where it has answered this process before: otherwise the network, or
    the name, is wrong.
    """
    growing = min(retries.first * 2 ** (failures - 1), retries.longest)
    if isinstance(error, urllib.error.HTTPError):
        return _wait_for(error, url, growing, retries)
    if isinstance(error, urllib.error.URLError):
        reason = error.reason
        known = host_of(url) in _reached and not isinstance(reason, ssl.SSLCertVerificationError)
        return growing if known and isinstance(reason, OSError) else None
    broke = http.client.HTTPException | EOFError | ConnectionError | TimeoutError | ssl.SSLError
    return growing if isinstance(error, broke) else None  # others are the disk's


def _wait_for(error: urllib.error.HTTPError, url: str, growing: float, retries: Retries) -> float | None:
    """Return how long to wait after an answer that is an error; None where it will be the same."""
    if error.code == 416:  # the range begins at the file's end or beyond
        return 0.0
    if error.code not in _BUSY:
        return None
    asked = _retry_after(error.headers.get("Retry-After", ""))
    if asked > retries.obeyed:
        raise DownloadError(
            f"{shown_url(url)} answers {error.code} and asks to wait {asked:.0f} seconds: try again then"
        ) from error
    return max(growing, asked)


def _retry_after(text: str) -> float:
    """Seconds that a server asks for: a number, or a date."""
    text = text.strip()
    if text.isascii() and text.isdecimal() and len(text) < 12:
        return float(text)
    try:
        then = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError):
        return 0.0
    return max(0.0, (then.replace(tzinfo=then.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def _sleep(seconds: float, partial: Partial, report: Report) -> None:
    """Wait, while `report` may end it."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        report(partial.size, partial.total)
        time.sleep(min(left, _SLICE))


def _request(url: str, headers: dict[str, str], method: str = "GET") -> urllib.request.Request:
    return urllib.request.Request(url, headers={"User-Agent": "filterlens", **headers}, method=method)  # noqa: S310 - the opener knows HTTP(S) only


def _attempt(url: str, partial: Partial, limit: int, report: Report, find: Find | None, *, cookies: bool) -> None:
    known = opener.make_opener(cookies=cookies)
    try:
        with known.open(_request(url, partial.headers()), timeout=opener.SECONDS) as answer:
            _reached.add(host_of(url))
            found = "" if find is None else find(answer)
            if not found:
                return _receive(answer, url, partial, limit, report)
        opener.check_scheme(found, url, urlsplit(url).scheme)
        with known.open(_request(found, partial.headers()), timeout=opener.SECONDS) as answer:
            if find is not None and find(answer):
                raise DownloadError(f"{shown_url(url)} leads to one page after the other: fetch it with a browser")
            return _receive(answer, url, partial, limit, report)
    except urllib.error.HTTPError as error:
        _reached.add(host_of(url))
        if error.code == 416:
            partial.discard()
        raise


def _receive(answer: http.client.HTTPResponse, url: str, partial: Partial, limit: int, report: Report) -> None:
    """Take the bytes of one answer."""
    declared = _declared(answer, url)
    start = partial.size
    if answer.status == 206 and start:
        if wrong := partial.refuse(answer.headers, declared):
            partial.discard()
            raise EOFError(wrong)
    elif answer.status == 200:
        start = 0
        partial.restart(answer.headers, declared)
    else:
        raise DownloadError(
            f"{shown_url(url)} answers {answer.status} {printable(answer.reason[:500])} where 200 was "
            "expected: try again"
        )
    if start + declared > limit:
        raise DownloadError(f"{shown_url(url)} declares {start + declared} bytes where at most {limit} were expected")
    if declared > shutil.disk_usage(partial.path.parent).free:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with partial.path.open("ab") as file:
        came = _copy(answer, file, start, limit, url, partial.total, report)
    if declared and came != declared:
        raise EOFError(f"{start + came} of {start + declared} bytes came")
    if partial.total is not None and partial.size < partial.total:
        raise EOFError(f"{partial.size} of {partial.total} bytes came")


def ask_size(url: str) -> int | None:
    """Ask a server how large a file is; None where it does not say."""
    return _asked(url, "HEAD", lambda answer: None if _is_page(answer) else _declared(answer, url) or None)


def ask(url: str, find: Callable[[http.client.HTTPResponse], int | None]) -> int | None:
    """Look at the beginning of an answer; None where there is none."""
    return _asked(url, "GET", find)


def _asked(url: str, method: str, find: Callable[[http.client.HTTPResponse], int | None]) -> int | None:
    try:
        with opener.make_opener().open(_request(url, {}, method), timeout=min(opener.SECONDS, 10.0)) as answer:
            _reached.add(host_of(url))
            return find(answer)
    except (OSError, http.client.HTTPException, EOFError, UnicodeError, DownloadError):
        return None


def _is_page(answer: http.client.HTTPResponse) -> bool:
    return answer.headers.get("Content-Type", "").lower().startswith("text/html")


def _declared(answer: http.client.HTTPResponse, url: str) -> int:
    """Read the declared length; 0 where there is none."""
    text = answer.headers.get("Content-Length", "0").strip()
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise DownloadError(
            f"{shown_url(url)} declares a length of {printable(text):.40}, which no file has: try again"
        )
    return int(text)


def _copy(  # noqa: PLR0917 - one caller
    answer: http.client.HTTPResponse,
    file: IO[bytes],
    start: int,
    limit: int,
    url: str,
    total: int | None,
    report: Report,
) -> int:
    came, mark, begun = 0, 0, time.monotonic()
    while True:
        if isinstance(answer, opener.PacedAnswer):
            answer.paced.allow()
        block = answer.read1(_BLOCK)
        if not block:
            return came
        file.write(block)
        came += len(block)
        if isinstance(answer, opener.PacedAnswer) and answer.paced.seen > 2 * came + opener.MOST:
            raise TimeoutError("it stalls: what surrounds the chunks is larger than they are")
        if start + came > limit:
            raise DownloadError(f"{shown_url(url)} sends more than the {limit} bytes that were expected")
        report(start + came, total)
        if (now := time.monotonic()) - begun > opener.SECONDS:
            if came - mark < _RATE * opener.SECONDS:
                raise TimeoutError(f"it stalls: {came - mark} bytes came in {opener.SECONDS:.0f} seconds")
            mark, begun = came, now
