"""A file appears whole and checked, or not at all."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from loaders.conftest import Load

from filterlens.errors import CheckpointError, DownloadError
from filterlens.loaders import download
from filterlens.process.cache import cache_folder


def _saved(value: float) -> bytes:
    file = io.BytesIO()
    torch.save({"weight": torch.full((500,), value)}, file)
    return file.getvalue()


CONTENT = _saved(1.0)


class Server(ThreadingHTTPServer):
    """Answers each path from `pages`; counts what was asked."""

    pages: dict[str, tuple[bytes, int | None]]
    asked: list[str]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.path not in self.server.pages:
            self.send_error(404)
            return
        content, length = self.server.pages[self.path]
        self.send_response(200)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    made = Server(("127.0.0.1", 0), Handler)
    made.pages, made.asked = {"/m.pt": (CONTENT, None)}, []
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()


def _url(server: Server, page: str = "/m.pt") -> str:
    return f"http://127.0.0.1:{server.server_address[1]}{page}"


def _origin(server: Server, page: str = "/m.pt", content: bytes = CONTENT) -> download.Origin:
    return download.web(_url(server, page), checksum=f"sha256:{hashlib.sha256(content).hexdigest()}")


def _files(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.rglob("*") if path.is_file() and not path.name.startswith(".download"))


def test_a_file_is_fetched_once_and_then_found(server: Server, cache: Path) -> None:
    target = cache / "cifar10" / "Linf" / "m.pt"
    for _ in range(2):
        assert download.fetch(target, _origin(server)).read_bytes() == CONTENT
    assert server.asked == ["/m.pt"]
    assert _files(cache) == ["m.pt"]
    assert not list(cache.rglob(".partial-*"))


def test_eight_at_a_time_fetch_it_once(server: Server, cache: Path) -> None:
    threads = [threading.Thread(target=download.fetch, args=(cache / "m.pt", _origin(server))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.asked == ["/m.pt"]


def test_offline_says_where_the_file_belongs(server: Server, cache: Path) -> None:
    with pytest.raises(DownloadError, match=r"m\.pt is not in the cache.*run once without --offline"):
        download.fetch(cache / "m.pt", _origin(server), offline=True)
    assert not server.asked
    assert not cache.exists()


@pytest.mark.parametrize(
    ("content", "length", "expected", "message"),
    [
        (b"<!DOCTYPE html><title>Quota exceeded</title>", None, CONTENT, "sent a web page"),
        (CONTENT, len(CONTENT) + 5, CONTENT, "broke off"),
        (b"", None, b"", "sent empty"),
        (_saved(2.0), None, CONTENT, "sha256 .* was expected"),
        (CONTENT[:-1], None, CONTENT[:-1], "sent a truncated or damaged file of torch.save"),
        (CONTENT, 1 << 39, CONTENT, "the disk is full"),
    ],
)
def test_what_is_not_the_file_is_refused_and_leaves_nothing(
    content: bytes, length: int | None, expected: bytes, message: str, server: Server, cache: Path
) -> None:
    server.pages["/m.pt"] = (content, length)
    with pytest.raises(DownloadError, match=message):
        download.fetch(cache / "m.pt", _origin(server, content=expected))
    assert _files(cache) == []
    assert not list(cache.rglob(".partial-*"))


def test_a_size_that_a_record_declares_is_held(server: Server, cache: Path) -> None:
    origin = download.web(_url(server), checksum=f"md5:{hashlib.md5(CONTENT).hexdigest()}", size=3)
    with pytest.raises(DownloadError, match="declares 3561 bytes where at most 3 were expected"):
        download.fetch(cache / "m.pt", origin)


def test_an_unknown_address_is_told(server: Server, cache: Path) -> None:
    with pytest.raises(DownloadError, match="answers 404 Not Found"):
        download.fetch(cache / "m.pt", _origin(server, "/other.pt"))
    assert _files(cache) == []


def test_no_network_is_told(cache: Path, server: Server) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        origin = download.web(f"http://127.0.0.1:{port}/m.pt", checksum=f"sha256:{0:064}")
        with pytest.raises(DownloadError, match=r"cannot be reached .*check the network"):
            download.fetch(cache / "m.pt", origin)
    assert _files(cache) == []


def _writer(error: OSError) -> Callable[[Path], None]:
    def save(path: Path) -> None:
        path.write_bytes(b"half")
        raise error

    return save


def test_a_full_disk_is_told_and_leaves_nothing(cache: Path) -> None:
    origin = download.Origin("somewhere", _writer(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))))
    with pytest.raises(DownloadError, match=r"the disk is full: .*set FILTERLENS_CACHE"):
        download.fetch(cache / "m.pt", origin)
    assert _files(cache) == []


def test_a_limit_on_file_sizes_is_told_like_a_full_disk(tmp_path: Path) -> None:
    code = (
        "import resource, signal, pathlib\n"
        "from filterlens.loaders import download\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        f"target = pathlib.Path({str(tmp_path)!r}) / 'cache' / 'm.pt'\n"
        "origin = download.Origin('x', lambda path: path.write_bytes(bytes(5000)) and None)\n"
        "try: download.fetch(target, origin)\n"
        "except download.DownloadError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "the disk is full" in done.stdout
    assert _files(tmp_path / "cache") == []


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("FILTERLENS_CACHE", str(tmp_path / "file"))
    with pytest.raises(DownloadError, match="the cache cannot be written"):
        download.fetch(cache_folder() / "m.pt", download.Origin("x", lambda _: None))


def test_what_a_killed_process_left_is_cleared_by_the_next(server: Server, cache: Path) -> None:
    left = cache / ".partial-old"
    left.mkdir(parents=True)
    (left / "m.pt").write_bytes(b"half")
    download.fetch(cache / "m.pt", _origin(server))
    assert not left.exists()


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/m.pt", "http://127.0.0.1/m.pt"])
def test_other_protocols_and_unchecked_plain_http_are_refused(url: str) -> None:
    with pytest.raises(DownloadError, match="give an https: address"):
        download.web(url)


def test_a_url_source_is_fetched_checked_and_then_read_offline(server: Server, load: Load, tmp_path: Path) -> None:
    torch.save({"conv.weight": torch.ones(1, 1, 3, 3)}, tmp_path / "x.pt")
    content = (tmp_path / "x.pt").read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    server.pages["/x.pt?v=1"] = (content, None)
    source = f"url:{_url(server, '/x.pt?v=1')}&sha256={digest}"
    for offline in (False, True):
        assert load(source, offline=offline).sha256 == digest
    assert server.asked == ["/x.pt?v=1"]


def test_a_url_source_with_a_mistyped_checksum_is_refused(load: Load) -> None:
    with pytest.raises(DownloadError, match="64 hexadecimal digits"):
        load("url:https://127.0.0.1/x.pt?sha256=12")
    with pytest.raises(CheckpointError, match="no checkpoint by its name"):
        load("url:https://127.0.0.1/x")
