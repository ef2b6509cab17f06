"""HTTP(S) without surprises: no step of an answer lasts or grows without end, no redirect leaves https."""

from __future__ import annotations

import http.client
import io
import time
import urllib.request
from email.message import Message
from typing import IO, Any, Final
from urllib.parse import urlsplit

from filterlens.errors import DownloadError
from filterlens.process.printable import printable

__all__ = ["MOST", "SECONDS", "PacedAnswer", "check_scheme", "host_of", "make_opener", "shown_url"]

SECONDS: Final = 30.0
"""No byte for so long is a break."""
MOST: Final = 4 << 20
"""What may come for one block, or for all of a header, at most."""


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


def host_of(url: str) -> str:
    """Return the host of an address, empty where it has none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


class _Paced(io.RawIOBase):
    """A socket's bytes, of which one step may take so many and so long: a server may send headers without end."""

    def __init__(self, connection: Any) -> None:  # noqa: ANN401 - a socket, or what TLS puts around one
        self._raw: io.RawIOBase = connection.makefile("rb", buffering=0)
        self.seen = 0
        self.allow()

    def allow(self) -> None:
        """Begin a step."""
        self._left, self._until = MOST, time.monotonic() + SECONDS

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
        self.seen += count or 0
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class PacedAnswer(http.client.HTTPResponse):
    """An answer whose socket is paced."""

    def __init__(self, sock: Any, *args: Any, **options: Any) -> None:  # noqa: ANN401 - as http.client calls it
        self.paced = _Paced(sock)
        super().__init__(self.paced, *args, **options)  # type: ignore[arg-type]  # asked for `makefile` only


class _Plain(http.client.HTTPConnection):
    response_class = PacedAnswer


class _Secure(http.client.HTTPSConnection):
    response_class = PacedAnswer


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
        try:
            check_scheme(newurl, req.full_url, req.type)
        except DownloadError:
            fp.close()
            raise
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]  # typed as HTTPMessage


def check_scheme(url: str, given: str, protocol: str) -> None:
    """Refuse to be led to another protocol, above all from https to http."""
    try:
        scheme = urlsplit(url).scheme
    except ValueError:
        scheme = ""
    if scheme != "https" and not (scheme == protocol == "http"):
        raise DownloadError(
            f"{shown_url(given)} redirects to {scheme}: ({shown_url(url)}), which is not followed: "
            "give the address of the file itself"
        )


def make_opener(*, cookies: bool = False) -> urllib.request.OpenerDirector:
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
        *((urllib.request.HTTPCookieProcessor(),) if cookies else ()),
    ):
        opener.add_handler(handler)
    return opener
