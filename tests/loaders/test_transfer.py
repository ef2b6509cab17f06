"""Servers that lie, stall and lead astray: nothing of theirs lands in the cache, and each ends with one line."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hostile.payloads.containers import CONTAINERS, benign, legacy, tarred
from loaders.conftest import Load
from safetensors.torch import save

from filterlens.errors import DownloadError
from filterlens.loaders import download, opener

# a certificate of 127.0.0.1 that only these tests trust
TLS = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgmf47Xo+9RYuY896g
HFMrHz7Oi0WdYsOjVV37ZVc58S+hRANCAATg6GiALzAoQdrElRl2oKDvAqto4f8T
0dTunXxZPTw+ywIErpyV+30RDzQlRXEBpIBtNaV/s2TXE8PePOZ14D2w
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBkDCCATagAwIBAgIUbcE6Cd9ORTTlo5l/RcMS4vWJ+hswCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJMTI3LjAuMC4xMCAXDTI2MTEyNDEzMDM0MVoYDzIxMjYxMDMx
MTMwMzQxWjAUMRIwEAYDVQQDDAkxMjcuMC4wLjEwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAATg6GiALzAoQdrElRl2oKDvAqto4f8T0dTunXxZPTw+ywIErpyV+30R
DzQlRXEBpIBtNaV/s2TXE8PePOZ14D2wo2QwYjAdBgNVHQ4EFgQUAF6JnKoIwuhb
vsh2Ur1u6EjoJk8wHwYDVR0jBBgwFoAUAF6JnKoIwuhbvsh2Ur1u6EjoJk8wDwYD
VR0TAQH/BAUwAwEB/zAPBgNVHREECDAGhwR/AAABMAoGCCqGSM49BAMCA0gAMEUC
IQDNRtA+FjOnK+FHH8Gi4oQZ5v28YTK4RCSeMkkK/8e4XAIgYeLvG6ozBqFm37ZO
b0qxK2RjTqdf+D0ii/8SCHiqAbg=
-----END CERTIFICATE-----
"""
WEIGHTS = save({"conv.weight": torch.ones(2, 1, 3, 3)})

Send = Callable[[bytes], None]
Behaviour = Callable[[str, Send], None]


class Server(socketserver.ThreadingTCPServer):
    """Answers a request with what `behave` writes into the socket, byte by byte as it likes."""

    daemon_threads = True
    behave: Behaviour
    tls: ssl.SSLContext | None = None


class Handler(socketserver.BaseRequestHandler):
    server: Server

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # the client has gone, as it should
            if self.server.tls is None:
                self._answer(self.request)
            else:
                with self.server.tls.wrap_socket(self.request, server_side=True) as connection:
                    self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            if not (more := connection.recv(65536)):
                return
            request += more
        path = request.split()[1].decode()
        self.server.behave(path, connection.sendall)


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Start servers; each returns its address."""
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "tls.pem").write_text(TLS)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "tls.pem"))
    servers: list[Server] = []

    def start(behave: Behaviour, *, tls: bool = False) -> str:
        server = Server(("127.0.0.1", 0), Handler)
        server.behave = behave
        if tls:
            server.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            server.tls.load_cert_chain(tmp_path / "tls.pem")
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        servers.append(server)
        return f"http{'s' if tls else ''}://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def whole(body: bytes, *headers: str, status: str = "200 OK", length: str | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def always(*parts: bytes) -> Behaviour:
    def behave(_path: str, send: Send) -> None:
        for part in parts:
            send(part)

    return behave


def origin(url: str, content: bytes = WEIGHTS, size: int | None = None) -> download.Origin:
    return download.web(url, checksum=f"sha256:{hashlib.sha256(content).hexdigest()}", size=size)


def refused(target: Path, asked: download.Origin, message: str) -> str:
    """The download ends in time with one line that has nothing unprintable in it, and leaves nothing."""
    begun = time.monotonic()
    with pytest.raises(DownloadError, match=message) as caught:
        download.fetch(target, asked)
    assert time.monotonic() - begun < 10
    assert str(caught.value).isprintable(), str(caught.value)
    assert not [path for path in target.parent.rglob("*") if not path.name.startswith(".download")]
    return str(caught.value)


def test_a_whole_file_is_fetched_over_http_and_https(serve: Callable[..., str], cache: Path) -> None:
    plain, secure = serve(always(whole(WEIGHTS))), serve(always(whole(WEIGHTS)), tls=True)
    for number, address in enumerate((plain, secure)):
        path = download.fetch(cache / str(number) / "m.safetensors", origin(f"{address}/m.safetensors"))
        assert path.read_bytes() == WEIGHTS
    unchecked = download.fetch(cache / "2" / "m.safetensors", download.web(f"{secure}/m.safetensors"))
    assert unchecked.read_bytes() == WEIGHTS


def test_a_redirect_within_https_and_within_http_is_followed(serve: Callable[..., str], cache: Path) -> None:
    def behave(path: str, send: Send) -> None:
        send(whole(WEIGHTS) if path == "/there" else whole(b"", "Location: /there", status="302 Found"))

    for number, tls in enumerate((False, True)):
        path = download.fetch(cache / str(number) / "m.safetensors", origin(f"{serve(behave, tls=tls)}/here"))
        assert path.read_bytes() == WEIGHTS


@pytest.mark.parametrize("checked", [True, False])
@pytest.mark.parametrize("code", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
def test_a_redirect_from_https_to_http_is_not_followed(
    serve: Callable[..., str], cache: Path, code: str, checked: bool
) -> None:
    seen: list[str] = []

    def elsewhere(path: str, send: Send) -> None:
        seen.append(path)
        send(whole(WEIGHTS))

    there = serve(elsewhere)
    here = serve(always(whole(b"", f"Location: {there}/m?token=secret", status=code)), tls=True)
    asked = origin(f"{here}/m") if checked else download.web(f"{here}/m")
    said = refused(
        cache / "m.safetensors", asked, r"redirects to http: \(http://127.0.0.1:\d+/m\), which is not followed"
    )
    assert "secret" not in said
    assert seen == []


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("scheme", ["ftp", "file", "data", "gopher", "javascript", ""])
def test_a_redirect_to_another_protocol_is_not_followed(
    serve: Callable[..., str], cache: Path, tmp_path: Path, scheme: str, tls: bool
) -> None:
    (tmp_path / "m.safetensors").write_bytes(WEIGHTS)
    targets = {
        "ftp": "ftp://127.0.0.1/m",
        "file": (tmp_path / "m.safetensors").as_uri(),
        "data": "data:application/octet-stream;base64,AAAA",
        "": "\x1b]0;owned\x07://x",
    }
    location = targets.get(scheme, f"{scheme}:x")
    address = serve(always(whole(b"", f"Location: {location}", status="302 Found")), tls=tls)
    refused(cache / "m.safetensors", origin(f"{address}/m"), "is not followed|cannot be reached|answers|broke off")


@pytest.mark.parametrize("location", ["https://[zq7x/m", "https://[::1/m", "//[/"])
def test_a_redirect_to_no_address_is_told(serve: Callable[..., str], cache: Path, location: str) -> None:
    address = serve(always(whole(b"", f"Location: {location}", status="302 Found")))
    refused(cache / "m.safetensors", origin(f"{address}/m"), "redirects to no address .Invalid IPv6 URL")


def test_a_redirect_without_end_ends(serve: Callable[..., str], cache: Path) -> None:
    def behave(path: str, send: Send) -> None:
        send(whole(b"", f"Location: {path}x", status="302 Found"))

    refused(cache / "m.safetensors", origin(f"{serve(behave)}/m"), "answers 302")


@pytest.mark.parametrize(
    ("name", "body", "message"),
    [
        ("m.safetensors", b'{"error": "rate limit exceeded"}', 'sent a JSON answer.*"rate limit exceeded"'),
        ("m.pt", json.dumps({"message": "no\u00e9"}, ensure_ascii=False).encode(), "sent a JSON answer"),
        ("m.bin", b"[]", "sent a JSON answer"),
        ("m.pt", b"\xef\xbb\xbf <Error><Code>AccessDenied</Code></Error>", "sent a page of markup"),
        ("m.pt", b"<?xml version='1.0'?><Error/>", "sent a web page"),
        ("m.pt", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        ("m.pt", b"Not Found", "file of torch.save, or none"),
        ("m.pt", b"\0" * 4096, "file of torch.save, or none"),
        ("m.safetensors", WEIGHTS[:-1], "a truncated or damaged safetensors file"),
        ("m.safetensors", WEIGHTS + b"\0", "a truncated or damaged safetensors file"),
        ("m.safetensors", WEIGHTS[:20], "a truncated or damaged safetensors file"),
        ("m.safetensors", b"\xff" * 64, "a truncated or damaged safetensors file"),
        ("m.safetensors", b"\2\0\0\0\0\0\0\0[]", "its header is"),
        ("m.safetensors", (99_999).to_bytes(8, "little") + b"[" * 99_999, "its header is"),
        ("m.onnx", b"\x08\x07\x12\xff\xff\xff\xff\x0f", "a truncated ONNX file"),
        ("m.onnx", b"\x08" + b"\xff" * 50, "a truncated ONNX file"),
        ("m.onnx", b"\x08\x07", "it holds no graph"),
        ("m.tar", b"x" * 257 + b"ustar" + b"\0" * 250, "file of torch.save, or none"),
        ("m.tar", tarred([("m.pt", bytes(2000))])[:1500], "a truncated or damaged tar archive"),
        ("m.pt", legacy(benign())[:-1], "file of torch.save, or none"),
        ("m.pt", CONTAINERS["zip of two directories"](benign()), "file of torch.save, or none"),
        ("m.bin", CONTAINERS["zip of two directories turned"](benign()), "file of torch.save, or none"),
        ("m.ckpt", CONTAINERS["zip before bytes"](benign()), "file of torch.save, or none"),
        ("m.pt", CONTAINERS["zip of a script"](benign()), "a TorchScript program"),
    ],
)
def test_a_body_that_its_loader_would_refuse_is_not_kept(
    serve: Callable[..., str], cache: Path, name: str, body: bytes, message: str
) -> None:
    refused(cache / name, origin(f"{serve(always(whole(body)))}/{name}", body), message)


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("m.safetensors", WEIGHTS),
        ("m.pt", CONTAINERS["zip"](benign())),
        ("m.pt", legacy(benign())),
        ("m.tar", tarred([("m.pt", CONTAINERS["zip"](benign()))])),
        ("m.tar", CONTAINERS["zip"](benign())),
    ],
)
def test_a_sound_body_is_kept(serve: Callable[..., str], cache: Path, name: str, body: bytes) -> None:
    address = f"{serve(always(whole(body)))}/{name}"
    assert download.fetch(cache / name, origin(address, body)).read_bytes() == body


@pytest.mark.parametrize("length", ["1" * 30, "1" * 5000, "-5", "12x", "", "0x10", "\u0663", "1e3", "1_0", "+7"])
def test_a_length_that_no_file_has_is_told(serve: Callable[..., str], cache: Path, length: str) -> None:
    address = serve(always(whole(WEIGHTS, length=length)))
    refused(cache / "m.safetensors", origin(f"{address}/m"), "declares a length of|broke off")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (whole(b"", status="204 No Content"), "answers 204 No Content where 200 was expected"),
        (whole(WEIGHTS[:9], "Content-Range: bytes 0-8/99", status="206 Partial Content"), "answers 206 Partial"),
        (whole(b"", status="404 \x1b[31mgone\x1b[0m \x9b2J"), r"answers 404 \\x1b\[31mgone"),
        (whole(b"", status="200"), "sent empty"),
        (b"garbage\r\n\r\n", "broke off"),
        (b"", "broke off|cannot be reached"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 5000 + b"\r\n", "broke off"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 10_000_000 + b"\r\n\r\n", "broke off"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFFFF\r\nxx", "broke off"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nxx", "broke off"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nxx", "broke off|sent"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "broke off"),
    ],
)
def test_an_answer_that_is_none_is_told(serve: Callable[..., str], cache: Path, answer: bytes, message: str) -> None:
    refused(cache / "m.safetensors", origin(f"{serve(always(answer))}/m"), message)


def test_chunks_that_tell_the_truth_are_put_together(serve: Callable[..., str], cache: Path) -> None:
    half = len(WEIGHTS) // 2
    parts = [b"%x\r\n%b\r\n" % (len(part), part) for part in (WEIGHTS[:half], WEIGHTS[half:], b"")]
    address = serve(always(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *parts))
    assert download.fetch(cache / "m.safetensors", origin(f"{address}/m")).read_bytes() == WEIGHTS


def test_a_compressed_body_is_never_unpacked(serve: Callable[..., str], cache: Path) -> None:
    bomb = gzip.compress(bytes(20_000_000))
    address = serve(always(whole(bomb, "Content-Encoding: gzip")))
    refused(cache / "m.pt", origin(f"{address}/m", bomb), "file of torch.save, or none")


def test_the_server_s_name_for_the_file_is_not_used(serve: Callable[..., str], cache: Path, tmp_path: Path) -> None:
    address = serve(always(whole(WEIGHTS, 'Content-Disposition: attachment; filename="../../evil.safetensors"')))
    path = download.fetch(cache / "m.safetensors", origin(f"{address}/m"))
    assert path == cache / "m.safetensors"
    assert not list(tmp_path.rglob("evil*"))


def test_more_than_a_record_declares_is_not_waited_for(serve: Callable[..., str], cache: Path) -> None:
    def behave(_path: str, send: Send) -> None:
        send(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            send(bytes(100_000))

    asked = origin(f"{serve(behave)}/m", size=1_000_000)
    refused(cache / "m.safetensors", asked, "sends more than the 1000000 bytes that were expected")


def _drip(start: bytes, drop: bytes) -> Behaviour:
    def behave(_path: str, send: Send) -> None:
        send(start)
        while True:
            send(drop)
            time.sleep(0.05)

    return behave


def _flood(start: bytes, drop: bytes) -> Behaviour:
    def behave(_path: str, send: Send) -> None:
        send(start)
        while True:
            send(drop)

    return behave


@pytest.mark.parametrize(
    "behave",
    [
        _drip(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b"x"),
        _drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        _drip(b"HTTP/1.1 200 OK\r\nX: ", b"x"),
        _drip(b"HTTP/1.1 ", b"x"),
        _drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        _flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
        _flood(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n" * 1000),
        _flood(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1;" + b"y" * 60_000 + b"\r\nx\r\n"),
        _drip(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", b""),
    ],
    ids=["body", "chunks", "header", "status", "continue", "continues", "trailers", "extensions", "silence"],
)
def test_a_server_that_stalls_or_never_ends_is_left(
    serve: Callable[..., str], cache: Path, monkeypatch: pytest.MonkeyPatch, behave: Behaviour
) -> None:
    monkeypatch.setattr(opener, "SECONDS", 0.6)
    message = "cannot be reached .*(stalls|timed out)"
    refused(cache / "m.safetensors", origin(f"{serve(behave)}/m"), message)


def test_a_slow_but_steady_server_is_waited_for(
    serve: Callable[..., str], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opener, "SECONDS", 0.5)
    content = save({"conv.weight": torch.ones(100, 100)})

    def behave(_path: str, send: Send) -> None:
        send(b"HTTP/1.1 200 OK\r\n\r\n")
        for start in range(0, len(content), 2000):
            send(content[start : start + 2000])
            time.sleep(0.06)

    assert download.fetch(cache / "m.safetensors", origin(f"{serve(behave)}/m", content)).read_bytes() == content


def test_what_is_damaged_in_the_cache_is_fetched_anew_and_said(
    serve: Callable[..., str], cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    target = cache / "m.safetensors"
    cache.mkdir()
    target.write_bytes(b'{"error": "try later"}')
    asked = origin(f"{serve(always(whole(WEIGHTS)))}/m")
    with pytest.raises(
        DownloadError, match=r"m\.safetensors is not in the cache .there is a JSON answer.*run once without --offline"
    ):
        download.fetch(target, asked, offline=True)
    assert download.fetch(target, asked).read_bytes() == WEIGHTS
    (said,) = caplog.messages
    assert "in the cache is a JSON answer" in said
    assert "it is fetched anew" in said
    assert download.fetch(target, asked, offline=True) == target
    assert len(caplog.messages) == 1


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("url:https://me:secret@127.0.0.1/m.pt", r"https://127.0.0.1/m.pt is not fetched: its address holds a user"),
        ("url:https://127.0.0.1:1/m.pt?token=secret", r"https://127.0.0.1:1/m.pt cannot be reached"),
        ("url:https://[host/m.pt", "is no address"),
        ("url:https://127.0.0.1:port/m.pt", "broke off|is no address"),
        ("url:https://" + "a" * 70 + ".example/m.pt", "is no address|cannot be reached"),
        ("url:https://127.0.0.1:1/\u00e9.pt", "is no address|cannot be reached"),
        ("url:https://127.0.0.1:1/" + "m" * 300 + ".pt", "is longer than a file's name may be"),
        ("url:https://127.0.0.1:1/\x1b[2J.pt", r"\\x1b|cannot be reached"),
        ("url:ftp://127.0.0.1/m.pt", "is not fetched: give an https: address"),
        ("url:file:///etc/m.pt", "is not fetched: give an https: address"),
    ],
)
def test_an_address_that_cannot_be_fetched_is_told_without_its_secrets(load: Load, source: str, message: str) -> None:
    with pytest.raises(DownloadError, match=message) as caught:
        load(source)
    assert "secret" not in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("checksum", ["md5:", "sha256:", "sha256:zz", "crc32:00000000", "md5:0"])
def test_a_checksum_that_is_none_is_told(checksum: str) -> None:
    with pytest.raises(DownloadError, match=r"sha256:… or md5:… was expected"):
        download.web("https://127.0.0.1/m.pt", checksum=checksum)


@pytest.mark.parametrize("body", [b"<html>", b"[" * 200_000, b"\xff\xfe", b"1" * 5000 + b"x"])
def test_an_answer_of_a_service_that_is_no_json_is_told(serve: Callable[..., str], body: bytes) -> None:
    with pytest.raises(DownloadError, match="is no JSON"):
        download.fetch_json(f"{serve(always(whole(body)), tls=True)}/records")


def test_a_service_that_answers_without_end_is_left(serve: Callable[..., str]) -> None:
    address = serve(_flood(b"HTTP/1.1 200 OK\r\n\r\n", b"[" * 1_000_000), tls=True)
    with pytest.raises(DownloadError, match="sends more than"):
        download.fetch_json(f"{address}/records")
