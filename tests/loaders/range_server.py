"""A server on 127.0.0.1 that knows ranges, and misbehaves request by request as a test says."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

__all__ = ["Answer", "RangeServer", "breaks_off", "busy", "running"]

Answer = Callable[["Handler"], None]
#: what a server may leave out of its answers
Left = frozenset[str]


class RangeServer(ThreadingHTTPServer):
    """Serves `files` by path; `script` holds what is done instead with the next requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.script: list[Answer] = []
        self.asked: list[tuple[str, str, str]] = []
        self.version: dict[str, str] = {"ETag": '"one"'}
        self.ranges = True

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def ranges_asked(self) -> list[str]:
        return [asked for _, _, asked in self.asked]


class Handler(BaseHTTPRequestHandler):
    server: RangeServer

    def do_GET(self) -> None:
        self.server.asked.append(("GET", self.path, self.headers.get("Range", "")))
        with contextlib.suppress(OSError):
            (self.server.script.pop(0) if self.server.script else type(self).serve)(self)

    def do_HEAD(self) -> None:
        self.server.asked.append(("HEAD", self.path, ""))
        self.serve(body=False)

    def serve(self, *, body: bool = True, most: int | None = None) -> None:
        """Answer as a server does that knows ranges; `most` bytes, then break off."""
        content = self.server.files.get(self.path.partition("?")[0])
        if content is None:
            self.send_error(404)
            return
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        condition = self.headers.get("If-Range")
        start = int(asked[1]) if asked and self.server.ranges else 0
        if condition is not None and condition not in self.server.version.values():
            start = 0
        if start >= len(content) > 0:
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        for name, value in self.server.version.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content[start:] if most is None else content[start : start + most])

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


def breaks_off(after: int) -> Answer:
    """Send so many bytes of the body, then close."""
    return lambda handler: handler.serve(most=after)


def busy(code: int, retry_after: str = "") -> Answer:
    """Answer an error."""

    def answer(handler: Handler) -> None:
        handler.send_response(code)
        if retry_after:
            handler.send_header("Retry-After", retry_after)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


@contextlib.contextmanager
def running() -> Iterator[RangeServer]:
    """Start a server, and end it."""
    server = RangeServer()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
