"""`filterlens fetch`: what is said before, what comes, and what is told of what does not."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest
from fetching.conftest import Write, content
from loaders.range_server import Handler, RangeServer, breaks_off, busy
from typer.testing import CliRunner

import filterlens
from filterlens.catalogs import load_catalog
from filterlens.cli.app import app
from filterlens.cli.downloads import Downloads
from filterlens.errors import DownloadError
from filterlens.fetching import Fetcher, Transfer, check_disk, gigabytes, needs_of


def test_a_dry_run_tells_sizes_and_fetches_nothing(write: Write, server: RangeServer, cache: Path) -> None:
    table = filterlens.fetch(write(3), dry_run=True)
    assert table["status"].tolist() == ["missing"] * 3
    assert table["size"].tolist() == [len(content(n)) for n in range(3)]
    assert {method for method, _, _ in server.asked} == {"HEAD"}
    assert not cache.exists()


def test_files_are_fetched_once_and_then_cached(write: Write, server: RangeServer) -> None:
    catalog = write(3, extra="again,SOURCE")
    text = catalog.read_text()
    catalog.write_text(text.replace("SOURCE", text.splitlines()[1].partition(",")[2]))
    seen: list[Transfer] = []
    table = filterlens.fetch(catalog, listener=seen.append)
    assert table["status"].tolist() == ["fetched"] * 4
    assert [Path(path).read_bytes() for path in table["path"]] == [content(n) for n in (0, 1, 2, 0)]
    assert sum(method == "GET" for method, _, _ in server.asked) == 3
    assert {event.state for event in seen} == {"begun", "coming", "fetched"}
    server.asked.clear()
    assert filterlens.fetch(catalog)["status"].tolist() == ["cached"] * 4
    assert server.asked == []


def test_one_that_fails_leaves_the_others_and_is_named(write: Write, server: RangeServer) -> None:
    catalog = write(3)
    del server.files["/1.safetensors"]
    table = filterlens.fetch(catalog).set_index("model_id")
    assert table["status"].tolist() == ["fetched", "failed", "fetched"]
    assert "m1: http://127.0.0.1" in str(table.loc["m1", "reason"])
    assert "answers 404 Not Found: check the address" in str(table.loc["m1", "reason"])


def test_the_command_exits_with_1_and_names_what_failed(write: Write, server: RangeServer) -> None:
    catalog = write(2, extra="x,robustbench:cifar10/Linf/Nobody2030Nothing\nlocal,weights.pt")
    server.script = [busy(403)]
    done = CliRunner().invoke(app, ["fetch", "-l", str(catalog), "--json"])
    assert done.exit_code == 1
    rows = {row["model_id"]: row for row in json.loads(done.stdout)}
    assert {name: row["status"] for name, row in rows.items()} == {
        "m0": "failed", "m1": "fetched", "x": "failed", "local": "local",
    }  # fmt: skip
    assert "warning: m0 is not fetched: http://127.0.0.1" in done.stderr
    assert "has no 'Nobody2030Nothing'" in done.stderr
    assert "to fetch: 2 files, 2.5 kB" in done.stderr
    done = CliRunner().invoke(app, ["fetch", "-l", str(catalog), "-m", "m*"])
    assert done.exit_code == 0, done.output
    assert "1 fetched, 1.2 kB; 1 cached, 1.2 kB" in done.stdout


def test_offline_asks_nobody_and_tells_what_is_missing(write: Write, server: RangeServer) -> None:
    catalog = write(2)
    filterlens.fetch(catalog, models=["m0"])
    server.asked.clear()
    done = CliRunner().invoke(app, ["fetch", "-l", str(catalog), "--offline", "--format", "csv"])
    assert done.exit_code == 1
    assert "warning: m1 is not fetched: it is not in the cache, and --offline was given" in done.stderr
    assert server.asked == []


def test_a_disk_without_room_is_told_before_the_first_byte(
    write: Write, server: RangeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = write(2)
    usage = shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1500))
    with pytest.raises(DownloadError, match=r"2\.5 kB are to be fetched, and the disk .* has 1\.5 kB free: make room"):
        filterlens.fetch(catalog)
    assert {method for method, _, _ in server.asked} == {"HEAD"}
    assert check_disk([100, 200]) == 1500


def test_nothing_is_fetched_further_ahead_than_asked(write: Write, server: RangeServer, cache: Path) -> None:
    catalog = load_catalog(write(6, hosts=("127.0.0.1", "localhost")))
    needs = [needs_of(entry, catalog.folder) for entry in catalog]
    with Fetcher(needs, ahead=2, evict=True) as fetcher:
        for number in range(6):
            assert fetcher.wait(number) is None
            time.sleep(0.05)
            here = len(list(cache.rglob("*.safetensors")))
            assert 1 <= here <= 2
            fetcher.release(number)
    assert list(cache.rglob("*.safetensors")) == []
    assert sum(method == "GET" for method, _, _ in server.asked) == 6


def test_a_model_that_is_waited_for_comes_before_the_bound(write: Write) -> None:
    catalog = load_catalog(write(4))
    with Fetcher([needs_of(entry, catalog.folder) for entry in catalog], ahead=1) as fetcher:
        assert fetcher.wait(3) is None
        assert fetcher.was_fetched(3)


def test_what_was_there_before_is_never_evicted(write: Write, cache: Path) -> None:
    path = write(2)
    filterlens.fetch(path, models=["m0"])
    catalog = load_catalog(path)
    with Fetcher([needs_of(entry, catalog.folder) for entry in catalog], evict=True) as fetcher:
        for number in range(2):
            fetcher.wait(number)
            fetcher.release(number)
    assert [found.name for found in cache.rglob("*.safetensors")] == ["0.safetensors"]


def test_closing_stops_a_download_that_hangs(write: Write, server: RangeServer, cache: Path) -> None:
    def trickle(handler: Handler) -> None:
        handler.serve(most=100)
        for _ in range(1000):
            handler.wfile.write(b"x")
            handler.wfile.flush()
            time.sleep(0.02)

    catalog = load_catalog(write(2))
    server.script = [trickle]
    begun = time.monotonic()
    with Fetcher([needs_of(entry, catalog.folder) for entry in catalog]):
        time.sleep(0.2)
    assert time.monotonic() - begun < 10
    assert list(cache.rglob("*.safetensors")) == []


def test_lines_tell_rate_and_time_left_where_there_is_no_terminal(write: Write, server: RangeServer) -> None:
    lines: list[str] = []
    catalog = write(2)
    server.script = [breaks_off(500)]
    with Downloads(every=0.0, write=lines.append) as downloads:
        filterlens.fetch(catalog, planned=downloads.plan, listener=downloads.hear)
    assert lines[0].startswith("to fetch: 2 files, 2.5 kB; ")
    assert lines[0].endswith(" GB are free")
    assert [line for line in lines if line.startswith("fetched")] == ["fetched m0", "fetched m1"]
    steps = [line for line in lines if line.startswith("fetching m1")]
    assert steps
    assert "of 2.5 kB, " in steps[-1]
    assert steps[-1].endswith("0 min 0 s left")


def test_sizes_are_written_for_people() -> None:
    assert [gigabytes(size) for size in (0, 999, 12_345_678, 29e9)] == ["0.0 kB", "1.0 kB", "12.3 MB", "29.0 GB"]
