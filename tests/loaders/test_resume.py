"""Downloads on a bad network: continued from where they broke off, tried again, and never put together wrongly."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest
import torch
from loaders.range_server import Answer, Handler, RangeServer, breaks_off, busy, running
from safetensors.torch import save

from filterlens.errors import DownloadError
from filterlens.loaders import download, drive, opener, transfer
from filterlens.loaders.transfer import Retries

CONTENT = save({"conv.weight": torch.arange(5000.0)})
OTHER = save({"conv.weight": torch.arange(5000.0) + 1})
HALF = 7_000


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[RangeServer]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(transfer, "RETRIES", Retries(attempts=4, first=0.001, longest=0.01, obeyed=2.0))
    with running() as made:
        made.files["/m.safetensors"] = CONTENT
        yield made


def origin(server: RangeServer, content: bytes = CONTENT, page: str = "/m.safetensors") -> download.Origin:
    return download.web(f"{server.address}{page}", checksum=f"sha256:{hashlib.sha256(content).hexdigest()}")


def left(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.rglob("*") if not path.name.startswith(".download"))


def test_a_file_that_breaks_off_is_continued_from_there(server: RangeServer, cache: Path) -> None:
    server.script = [breaks_off(HALF), breaks_off(HALF)]
    assert download.fetch(cache / "m.safetensors", origin(server)).read_bytes() == CONTENT
    assert server.ranges_asked == ["", f"bytes={HALF}-", f"bytes={2 * HALF}-"]
    assert left(cache) == ["m.safetensors"]


def test_what_has_come_is_reported_up_to_the_whole(server: RangeServer, cache: Path) -> None:
    server.script = [breaks_off(HALF)]
    told: list[tuple[int, int | None]] = []
    asked = origin(server)
    assert download.obtain(cache / "m.safetensors", asked, report=lambda done, total: told.append((done, total)))
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert (HALF, len(CONTENT)) in told
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert not download.obtain(cache / "m.safetensors", asked)


def test_a_server_without_ranges_starts_again(server: RangeServer, cache: Path) -> None:
    server.ranges = False
    server.script = [breaks_off(HALF)]
    assert download.fetch(cache / "m.safetensors", origin(server)).read_bytes() == CONTENT
    assert server.ranges_asked == ["", f"bytes={HALF}-"]


def test_a_file_that_changes_between_two_attempts_is_fetched_anew(server: RangeServer, cache: Path) -> None:
    def change(handler: Handler) -> None:
        breaks_off(HALF)(handler)
        server.files["/m.safetensors"], server.version = OTHER, {"ETag": '"two"'}

    server.script = [change]
    assert download.fetch(cache / "m.safetensors", origin(server, OTHER)).read_bytes() == OTHER


def test_parts_of_two_files_are_seen_by_the_checksum_where_the_server_names_no_version(
    server: RangeServer, cache: Path
) -> None:
    def change(handler: Handler) -> None:
        breaks_off(HALF)(handler)
        server.files["/m.safetensors"] = OTHER

    server.version = {}
    server.script = [change]
    assert download.fetch(cache / "m.safetensors", origin(server, OTHER)).read_bytes() == OTHER
    assert server.ranges_asked == ["", f"bytes={HALF}-", ""]


def _range(first: int, last: int, total: str, body: bytes, version: str = '"one"') -> Answer:
    def answer(handler: Handler) -> None:
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes {first}-{last}/{total}")
        handler.send_header("Content-Length", str(len(body)))
        handler.send_header("ETag", version)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


WHOLE = len(CONTENT)


@pytest.mark.parametrize(
    "wrong",
    [
        _range(0, WHOLE - 1, str(WHOLE), CONTENT),
        _range(HALF + 1, WHOLE - 1, str(WHOLE), CONTENT[HALF + 1 :]),
        _range(HALF, WHOLE - 1, str(WHOLE + 1), CONTENT[HALF:]),
        _range(HALF, WHOLE + 5, str(WHOLE), CONTENT[HALF:] + b"123456"),
        _range(HALF, WHOLE - 1, str(WHOLE), CONTENT[HALF:-1]),
        _range(HALF, HALF - 1, str(WHOLE), b""),
        _range(HALF, WHOLE - 1, str(WHOLE), CONTENT[HALF:], version='"two"'),
        lambda handler: handler.wfile.write(b"HTTP/1.1 206 Partial Content\r\nContent-Length: 1\r\n\r\nx"),
        busy(416),
    ],
    ids=["whole", "later", "total", "end", "length", "backwards", "version", "unsaid", "416"],
)
def test_a_wrong_range_is_never_put_behind_what_is_here(server: RangeServer, cache: Path, wrong: Answer) -> None:
    server.script = [breaks_off(HALF), wrong]
    assert download.fetch(cache / "m.safetensors", origin(server)).read_bytes() == CONTENT
    assert server.ranges_asked == ["", f"bytes={HALF}-", ""]


def test_a_file_sent_in_small_ranges_comes_whole(server: RangeServer, cache: Path) -> None:
    middle = 2 * HALF
    server.script = [breaks_off(HALF), _range(HALF, middle - 1, str(WHOLE), CONTENT[HALF:middle])]
    assert download.fetch(cache / "m.safetensors", origin(server)).read_bytes() == CONTENT
    assert server.ranges_asked[2] == f"bytes={middle}-"


@pytest.mark.parametrize("code", [408, 425, 429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again(server: RangeServer, cache: Path, code: int) -> None:
    server.script = [busy(code), busy(code)]
    assert download.fetch(cache / "m.safetensors", origin(server)).read_bytes() == CONTENT


@pytest.mark.parametrize("code", [400, 401, 403, 404, 410, 501])
def test_an_answer_that_will_be_the_same_is_not_asked_for_again(server: RangeServer, cache: Path, code: int) -> None:
    server.script = [busy(code)]
    with pytest.raises(DownloadError, match=f"answers {code}"):
        download.fetch(cache / "m.safetensors", origin(server))
    assert len(server.asked) == 1


def test_attempts_are_bounded_and_counted(server: RangeServer, cache: Path) -> None:
    server.script = [busy(503)] * 9
    with pytest.raises(DownloadError, match="answers 503 Service Unavailable, after 4 attempts: check the address"):
        download.fetch(cache / "m.safetensors", origin(server))
    assert len(server.asked) == 4


def test_an_attempt_that_brings_a_megabyte_is_not_counted(
    server: RangeServer, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "_BRINGS", HALF)
    parts = WHOLE // HALF
    monkeypatch.setattr(transfer, "RETRIES", Retries(attempts=2, first=0.001))
    server.script = [breaks_off(HALF)] * parts
    assert parts >= 2
    assert download.fetch(cache / "m.safetensors", origin(server)).read_bytes() == CONTENT


@pytest.mark.parametrize("written", ["seconds", "date"])
def test_retry_after_is_obeyed(server: RangeServer, cache: Path, written: str) -> None:
    told = "1" if written == "seconds" else formatdate(time.time() + 2, usegmt=True)
    server.script = [busy(429, told)]
    begun = time.monotonic()
    download.fetch(cache / "m.safetensors", origin(server))
    assert 0.9 < time.monotonic() - begun < 5


@pytest.mark.parametrize("told", ["3600", formatdate(time.time() + 4000, usegmt=True)], ids=["seconds", "date"])
def test_a_wait_that_is_too_long_is_told_instead(server: RangeServer, cache: Path, told: str) -> None:
    server.script = [busy(429, told)]
    with pytest.raises(DownloadError, match=r"answers 429 and asks to wait \d{4} seconds: try again then"):
        download.fetch(cache / "m.safetensors", origin(server))
    assert len(server.asked) == 1


@pytest.mark.parametrize("told", ["-5", "soon", "1e9", "\u0661", "99999999999999999999", "Mon, 99 Foo 2026"])
def test_a_wait_that_is_none_is_not_taken(told: str) -> None:
    assert transfer._retry_after(told) == 0


def test_waits_grow_and_are_bounded() -> None:
    retries = Retries(attempts=9, first=1.0, longest=10.0)
    waits = [transfer._wait_after(EOFError(), "https://h/m", n, retries) for n in range(1, 7)]
    assert waits == [1, 2, 4, 8, 10, 10]


def test_a_stall_is_a_break_and_the_rest_is_asked_for(
    server: RangeServer, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opener, "SECONDS", 0.3)

    def stall(handler: Handler) -> None:
        handler.serve(most=HALF)
        handler.wfile.flush()
        time.sleep(1)

    def drip(handler: Handler) -> None:
        handler.serve(most=0)
        for byte in range(40):
            handler.wfile.write(CONTENT[byte : byte + 1])
            time.sleep(0.05)

    server.version = {}
    server.script = [stall]
    assert download.fetch(cache / "m.safetensors", origin(server)).read_bytes() == CONTENT
    assert server.ranges_asked == ["", f"bytes={HALF}-"]
    server.script = [drip]
    assert download.fetch(cache / "n.safetensors", origin(server)).read_bytes() == CONTENT
    assert 0 < int(server.ranges_asked[-1].strip("bytes=-")) < 40


@pytest.mark.parametrize("version", [{"ETag": '"a"'}, {"Last-Modified": "Tue, 03 Mar 2026 10:00:00 GMT"}])
def test_the_next_run_goes_on_where_this_one_gave_up(server: RangeServer, cache: Path, version: dict[str, str]) -> None:
    server.version = version
    server.script = [breaks_off(HALF), *[busy(503)] * 3]
    with pytest.raises(DownloadError, match="answers 503"):
        download.fetch(cache / "m.safetensors", origin(server))
    assert [name.rpartition(".")[2] for name in left(cache)] == ["part", "json"]
    with pytest.raises(DownloadError, match="is not in the cache"):
        download.fetch(cache / "m.safetensors", origin(server), offline=True)
    server.asked.clear()
    assert download.fetch(cache / "m.safetensors", origin(server)).read_bytes() == CONTENT
    assert server.ranges_asked == [f"bytes={HALF}-"]
    assert left(cache) == ["m.safetensors"]


@pytest.mark.parametrize("version", [{}, {"ETag": 'W/"weak"'}, {"ETag": ""}, {"ETag": '"' + "x" * 2000 + '"'}])
def test_without_a_version_nothing_is_kept_for_the_next_run(
    server: RangeServer, cache: Path, version: dict[str, str]
) -> None:
    server.version = version
    server.script = [breaks_off(HALF), *[busy(503)] * 3]
    with pytest.raises(DownloadError, match="answers 503"):
        download.fetch(cache / "m.safetensors", origin(server))
    assert left(cache) == []


def _give_up(server: RangeServer, cache: Path) -> tuple[Path, Path]:
    server.script = [breaks_off(HALF), *[busy(503)] * 3]
    with pytest.raises(DownloadError, match="answers 503"):
        download.fetch(cache / "m.safetensors", origin(server))
    server.asked.clear()
    (part,) = cache.glob("*.part")
    return part, part.with_name(f"{part.name}.json")


@pytest.mark.parametrize(
    "change",
    [
        lambda note: note | {"version": '"other"'},
        lambda note: note | {"boot": "another"},
        lambda note: note | {"total": 5},
        lambda note: note | {"total": "many"},
        lambda note: note | {"version": "x\r\nHost: evil"},
        lambda _: [],
    ],
    ids=["version", "boot", "small", "text", "header", "list"],
)
def test_a_part_whose_note_is_wrong_is_not_put_together(server: RangeServer, cache: Path, change: object) -> None:
    _, note = _give_up(server, cache)
    assert callable(change)
    note.write_text(json.dumps(change(json.loads(note.read_text()))))
    assert download.fetch(cache / "m.safetensors", origin(server)).read_bytes() == CONTENT
    assert server.asked[-1][2] in {"", f"bytes={HALF}-"}


def test_a_part_without_its_note_or_of_another_address_is_not_used(server: RangeServer, cache: Path) -> None:
    _, note = _give_up(server, cache)
    note.unlink()
    download.fetch(cache / "m.safetensors", origin(server))
    assert server.ranges_asked == [""]
    (cache / "m.safetensors").unlink()
    _give_up(server, cache)
    download.fetch(cache / "m.safetensors", origin(server, page="/m.safetensors?v=2"))
    assert server.ranges_asked == [""]


def test_an_html_page_with_a_version_leaves_nothing(server: RangeServer, cache: Path) -> None:
    server.files["/m.safetensors"] = b"<!DOCTYPE html><title>Maintenance</title>"
    with pytest.raises(DownloadError, match="sent a web page"):
        download.fetch(cache / "m.safetensors", origin(server))
    assert left(cache) == []


def test_a_part_survives_a_killed_process(server: RangeServer, cache: Path) -> None:
    def hold(handler: Handler) -> None:
        handler.serve(most=HALF)
        handler.wfile.flush()
        time.sleep(20)

    server.script = [hold]
    code = (
        "from pathlib import Path\nfrom filterlens.loaders import download\n"
        f"url, checksum = '{server.address}/m.safetensors', 'sha256:{hashlib.sha256(CONTENT).hexdigest()}'\n"
        f"download.fetch(Path({str(cache)!r}) / 'm.safetensors', download.web(url, checksum=checksum))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], env=os.environ | {"FILTERLENS_CACHE": str(cache)})
    until = time.monotonic() + 60
    while not any(path.stat().st_size == HALF for path in cache.glob("*.part")):
        assert time.monotonic() < until
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert download.fetch(cache / "m.safetensors", origin(server)).read_bytes() == CONTENT
    assert server.ranges_asked == ["", f"bytes={HALF}-"]
    assert left(cache) == ["m.safetensors"]


def test_a_host_that_never_answered_is_not_asked_again_one_that_did_is(
    server: RangeServer, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "_reached", set())
    calls: list[str] = []

    def refuse(*_: object, **__: object) -> None:
        calls.append("")
        raise ConnectionRefusedError(111, "Connection refused")

    with monkeypatch.context() as inner:
        inner.setattr("socket.create_connection", refuse)
        with pytest.raises(DownloadError, match=r"cannot be reached \(\[Errno 111\] Connection refused\)"):
            download.fetch(cache / "m.safetensors", origin(server))
        assert len(calls) == 1
    download.fetch(cache / "m.safetensors", origin(server))
    calls.clear()
    monkeypatch.setattr("socket.create_connection", refuse)
    with pytest.raises(DownloadError, match="Connection refused, after 4 attempts"):
        download.fetch(cache / "n.safetensors", origin(server))
    assert len(calls) == 4


def test_two_hosts_are_fetched_from_at_once_and_one_host_in_turn(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """127.0.0.1 and localhost are two names, and so two hosts; each request waits until it is told to go on."""
    together: dict[str, int] = {}
    most: dict[str, int] = {}
    both = threading.Barrier(2, timeout=20)

    def meet(handler: Handler) -> None:
        name = handler.headers["Host"].partition(":")[0]
        together[name] = together.get(name, 0) + 1
        most[name] = max(most.get(name, 0), together[name])
        both.wait()
        together[name] -= 1
        handler.serve()

    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with running() as server:
        server.files["/m.safetensors"] = CONTENT
        server.script = [meet] * 4
        checksum = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
        port = server.server_address[1]
        urls = [f"http://{host}:{port}/m.safetensors" for host in ("127.0.0.1", "localhost") * 2]
        threads = [
            threading.Thread(
                target=download.fetch, args=(cache / f"{n}.safetensors", download.web(url, checksum=checksum))
            )
            for n, url in enumerate(urls)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert most == {"127.0.0.1": 1, "localhost": 1}
    assert len(list(cache.glob("*.safetensors"))) == 4


# Google Drive's answers, in the form that its servers had when the project last saw them

CONFIRM = """<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head><body>
<p class="uc-warning-caption">Google Drive can't scan this file for viruses.</p>
<form id="download-form" action="ADDRESS" method="get"><input type="submit" value="Download anyway"/>
<input type="hidden" name="id" value="abc"><input type="hidden" name="export" value="download">
<input type="hidden" name="confirm" value="t"><input type="hidden" name="uuid" value="1-2-3"></form></body></html>"""
QUOTA = """<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title></head><body>
<p class="uc-error-caption">Sorry, you can't view or download this file at this time.</p>
<p class="uc-error-subcaption">Too many users have viewed or downloaded this file recently. Please try again later.</p>
</body></html>"""
SIGN_IN = """<!doctype html><html><head><base href="https://accounts.google.com/v3/signin/"><title>Sign in</title>
</head><body></body></html>"""
ELSE = "<!doctype html><html><body>Something new</body></html>"


def _page(text: str) -> Answer:
    def answer(handler: Handler) -> None:
        body = text.encode()
        handler.send_response(200)
        handler.send_header("Content-Type", "text/html; charset=utf-8")
        handler.send_header("Set-Cookie", "NID=5; Path=/")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


@pytest.fixture
def google(server: RangeServer, monkeypatch: pytest.MonkeyPatch) -> RangeServer:
    monkeypatch.setattr(drive, "ADDRESS", f"{server.address}/uc?id={{}}")
    server.version = {
        "Content-Type": "application/octet-stream",
        "Content-Disposition": 'attachment; filename="evil.pt"',
        "Last-Modified": "Tue, 03 Mar 2026 10:00:00 GMT",
    }
    server.files = {"/uc": CONTENT, "/download": CONTENT}
    return server


def test_a_small_file_on_google_drive_comes_at_once(google: RangeServer, cache: Path) -> None:
    assert download.fetch(cache / "m.safetensors", drive.drive("abc")).read_bytes() == CONTENT
    assert [path for _, path, _ in google.asked] == ["/uc?id=abc"]


def test_google_drive_s_confirmation_is_followed_and_the_file_continued(google: RangeServer, cache: Path) -> None:
    confirm = _page(CONFIRM.replace("ADDRESS", f"{google.address}/download"))
    google.script = [confirm, breaks_off(HALF), confirm]
    assert download.fetch(cache / "m.safetensors", drive.drive("abc")).read_bytes() == CONTENT
    _, path, asked = google.asked[-1]
    assert path == "/download?id=abc&export=download&confirm=t&uuid=1-2-3"
    assert asked == f"bytes={HALF}-"


@pytest.mark.parametrize(
    ("page", "message"),
    [
        (QUOTA, r"Google Drive refuses .*uc\?id=abc because it was fetched too often today: try again tomorrow"),
        (SIGN_IN, "to people who sign in only: fetch it with a browser"),
        (ELSE, "a page that leads to no file .*: try again later"),
        (CONFIRM.replace("ADDRESS", "ftp://127.0.0.1/x"), "redirects to ftp:"),
        (CONFIRM.replace("ADDRESS", "https://[x"), "redirects to|leads to no file"),
        (CONFIRM.replace('action="ADDRESS"', ""), "leads to no file"),
    ],
    ids=["quota", "sign in", "else", "ftp", "no address", "no action"],
)
def test_pages_of_google_drive_are_told_apart(google: RangeServer, cache: Path, page: str, message: str) -> None:
    google.script = [_page(page)]
    with pytest.raises(DownloadError, match=message):
        download.fetch(cache / "m.safetensors", drive.drive("abc"))
    assert len(google.asked) == 1
    assert left(cache) == []


def test_google_drive_s_pages_without_end_are_left(google: RangeServer, cache: Path) -> None:
    google.script = [_page(CONFIRM.replace("ADDRESS", f"{google.address}/download"))] * 9
    with pytest.raises(DownloadError, match="one page after the other"):
        download.fetch(cache / "m.safetensors", drive.drive("abc"))
