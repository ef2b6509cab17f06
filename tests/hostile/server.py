"""A server on 127.0.0.1 that answers what a payload says: over TLS, and as a Hugging Face endpoint."""

from __future__ import annotations

import contextlib
import os
import ssl
import subprocess
import tempfile
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

__all__ = ["ANSWERS", "Answer", "Server"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server sends for a path.

    `raw` replaces the whole answer, status line and all; `{plain}` in headers is the port nobody should follow to.
    """

    body: bytes = b""
    status: int = 200
    reason: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    length: str | None = ""
    raw: bytes | None = None
    first: dict[str, str] = field(default_factory=dict)


#: Answers by path without its query; payloads fill it.
ANSWERS: dict[str, Answer] = {}


class _Handler(BaseHTTPRequestHandler):
    plain = 0

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        answer = ANSWERS.get(self.path.partition("?")[0], Answer(b"not here", 404))
        if answer.raw is not None:
            self.wfile.write(answer.raw)
            self.close_connection = True
            return
        self.send_response(answer.status, answer.reason)
        for name, value in answer.headers:
            self.send_header(name, value.replace("{plain}", str(self.plain)))
        length = str(len(answer.body)) if answer.length == "" else answer.length
        if length is not None:
            self.send_header("Content-Length", length)
        self.end_headers()
        if with_body:
            with contextlib.suppress(OSError):
                self.wfile.write(answer.body)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        pass


class Server:
    """Three ports: `port` speaks TLS, `hub` is the Hugging Face endpoint, `plain` is where a redirect must not lead."""

    def __init__(self) -> None:
        folder = Path(tempfile.mkdtemp())
        key, certificate = folder / "key.pem", folder / "cert.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
             "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)],
            check=True, capture_output=True,
        )  # fmt: skip
        self._plain, self._hub, self._tls = (_Quiet(("127.0.0.1", 0), _Handler) for _ in range(3))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._tls.socket = context.wrap_socket(self._tls.socket, server_side=True)
        _Handler.plain = self._plain.server_port
        self.port, self.hub, self.plain = (s.server_port for s in (self._tls, self._hub, self._plain))
        for server in (self._plain, self._hub, self._tls):
            threading.Thread(target=server.serve_forever, daemon=True).start()
        os.environ |= {"SSL_CERT_FILE": str(certificate), "HF_ENDPOINT": f"http://127.0.0.1:{self.hub}"}
