"""One file over HTTP(S): what the server declares is checked, no step of the transfer lasts or grows without end."""

from __future__ import annotations

import errno
import http.client
import io
import os
import shutil
import time
import urllib.error
import urllib.request
from email.message import Message
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import urlsplit

from filterlens.errors import DownloadError
from filterlens.process.printable import printable

__all__ = ["MAX_BYTES", "save_url", "shown_url"]

MAX_BYTES: Final = 1 << 40
"""No checkpoint is larger."""

_BLOCK: Final = 1 << 20
_SECONDS: Final = 60.0
#: what may come in `_SECONDS` at least, and for one block (or for all of a header) at most
_LEAST: Final = 6_000
_MOST: Final = 4 << 20


def shown_url(url: str) -> str:
    """Return an address without what may be secret in it: user, password, and the query.

    Examples
    --------
    >>> shown_url("https://me:secret@host/m.pt?token=1")
    'https://host/m.pt'
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return printable(url.rpartition("@")[2].partition("?")[0])
    return printable(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl())


def save_url(url: str, path: Path, *, limit: int = MAX_BYTES) -> None:
    """Fetch an address into a file.

    Parameters
    ----------
    url
        An `https:` or `http:` address; redirects lead from `https:` to `https:` only.
    path
        Written.
    limit
        The largest number of bytes that may come.

    Raises
    ------
    DownloadError
        The server declares nonsense, sends more than `limit`, or redirects elsewhere than to `https:`.
    OSError, http.client.HTTPException, EOFError
        It cannot be reached, answers an error, stalls or breaks off; or the disk is full.
    """
    request = urllib.request.Request(url, headers={"User-Agent": "filterlens"})  # noqa: S310 - the opener knows HTTP(S) only
    with _opener().open(request, timeout=_SECONDS) as answer, path.open("wb") as file:
        if answer.status != 200:
            raise DownloadError(
                f"{shown_url(url)} answers {answer.status} {printable(answer.reason[:500])} where 200 was "
                "expected: try again"
            )
        declared = _declared(answer, url)
        if declared > limit:
            raise DownloadError(f"{shown_url(url)} declares {declared} bytes where at most {limit} were expected")
        if declared > shutil.disk_usage(path.parent).free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        came = _copy(answer, file, limit, url)
    if declared and came != declared:
        raise EOFError(f"{came} of {declared} bytes came")


def _declared(answer: http.client.HTTPResponse, url: str) -> int:
    """Read the declared length; 0 where there is none."""
    text = answer.headers.get("Content-Length", "0").strip()
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise DownloadError(
            f"{shown_url(url)} declares a length of {printable(text):.40}, which no file has: try again"
        )
    return int(text)


def _copy(answer: http.client.HTTPResponse, file: IO[bytes], limit: int, url: str) -> int:
    came, mark, begun = 0, 0, time.monotonic()
    while True:
        if isinstance(answer, _Answer):
            answer.paced.allow()
        block = answer.read1(_BLOCK)
        if not block:
            return came
        file.write(block)
        came += len(block)
        if came > limit:
            raise DownloadError(f"{shown_url(url)} sends more than the {limit} bytes that were expected")
        if time.monotonic() - begun > _SECONDS:
            if came - mark < _LEAST:
                raise TimeoutError(f"it stalls: {came - mark} bytes came in {_SECONDS:.0f} seconds")
            mark, begun = came, time.monotonic()


class _Paced(io.RawIOBase):
    """A socket's bytes, of which one step may take so many and so long: a server may send headers without end."""

    def __init__(self, connection: Any) -> None:  # noqa: ANN401 - a socket, or what TLS puts around one
        self._raw: io.RawIOBase = connection.makefile("rb", buffering=0)
        self.allow()

    def allow(self) -> None:
        """Begin a step."""
        self._left, self._until = _MOST, time.monotonic() + _SECONDS

    def makefile(self, *_mode: object) -> io.BufferedReader:
        """Stand for the socket: `http.client` asks it for a file."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:  # noqa: ANN401 - anything that holds bytes
        if self._left <= 0 or time.monotonic() > self._until:
            raise TimeoutError("it stalls: headers or the ends of chunks come without end")
        count: int | None = self._raw.readinto(buffer)
        self._left -= count or 0
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Answer(http.client.HTTPResponse):
    """An answer whose socket is paced."""

    def __init__(self, sock: Any, *args: Any, **options: Any) -> None:  # noqa: ANN401 - as http.client calls it
        self.paced = _Paced(sock)
        super().__init__(self.paced, *args, **options)  # type: ignore[arg-type]  # asked for `makefile` only


class _Plain(http.client.HTTPConnection):
    response_class = _Answer


class _Secure(http.client.HTTPSConnection):
    response_class = _Answer


class _PlainHandler(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Plain, req)


class _SecureHandler(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Secure, req)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects that keep the protection of the address that was given."""

    def http_error_302(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message
    ) -> http.client.HTTPResponse | None:
        try:
            return super().http_error_302(req, fp, code, msg, headers)  # type: ignore[arg-type]  # as below
        except ValueError as error:
            fp.close()
            raise DownloadError(
                f"{shown_url(req.full_url)} redirects to no address ({printable(str(error)):.200}): give the address "
                "of the file itself"
            ) from error

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302

    def redirect_request(  # noqa: PLR0917 - urllib's own signature
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        scheme = urlsplit(newurl).scheme
        if scheme != "https" and not (scheme == req.type == "http"):
            fp.close()
            raise DownloadError(
                f"{shown_url(req.full_url)} redirects to {scheme}: ({shown_url(newurl)}), which is not followed: "
                "give the address of the file itself"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]  # typed as HTTPMessage


def _opener() -> urllib.request.OpenerDirector:
    """Make an opener that knows no protocol but HTTP and HTTPS."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        _PlainHandler(),
        _SecureHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        _Redirects(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener
