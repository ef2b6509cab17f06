"""A mirror in the cache's layout is asked first; whatever it lacks or has wrong comes from the source itself."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest
from fetching.conftest import Write, content
from loaders.range_server import RangeServer, breaks_off, busy, running
from typer.testing import CliRunner

import filterlens
from filterlens.cli.app import app
from filterlens.errors import DownloadError, InputError
from filterlens.loaders.mirror import mirror_of


@pytest.fixture
def mirror(write: Write, server: RangeServer, cache: Path, tmp_path: Path) -> Path:
    """A copy of a cache with two files, whose sources then no longer answer."""
    filterlens.fetch(write(2))
    folder = tmp_path / "mirror"
    shutil.copytree(cache, folder)
    shutil.rmtree(cache)
    server.asked.clear()
    return folder


def test_a_folder_is_asked_first(
    mirror: Path, server: RangeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FILTERLENS_MIRROR", str(mirror))
    table = filterlens.fetch(tmp_path / "zoo.csv")
    assert table["status"].tolist() == ["fetched"] * 2
    assert table["size"].tolist() == [len(content(n)) for n in range(2)]
    assert server.asked == []


def test_fetch_brings_offline_what_a_folder_has(
    mirror: Path, server: RangeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FILTERLENS_MIRROR", str(mirror))
    (next(mirror.rglob("1.safetensors"))).unlink()
    assert set(filterlens.fetch(tmp_path / "zoo.csv", offline=True, dry_run=True)["status"]) == {"missing"}
    found = filterlens.fetch(tmp_path / "zoo.csv", offline=True).set_index("model_id")["status"]
    assert found["m1"] == "missing"
    assert set(found.drop("m1")) == {"fetched"}
    assert server.asked == []


def test_a_folder_is_asked_offline_too(
    mirror: Path, server: RangeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FILTERLENS_MIRROR", str(mirror))
    (next(mirror.rglob("1.safetensors"))).unlink()
    outcome = filterlens.extract(tmp_path / "zoo.csv", tmp_path / "run", settings=filterlens.RunSettings(offline=True))
    assert {row.model_id: row.status for row in outcome.rows} == {"m0": "ok", "m1": "failed"}
    assert server.asked == []


def test_a_web_server_is_asked_first_and_a_break_is_continued(
    mirror: Path, server: RangeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running() as other:
        for path in mirror.rglob("*.safetensors"):
            other.files[f"/copy/{path.relative_to(mirror).as_posix()}"] = path.read_bytes()
        other.script = [breaks_off(100)]
        monkeypatch.setenv("FILTERLENS_MIRROR", f"{other.address}/copy/")
        assert filterlens.fetch(tmp_path / "zoo.csv")["status"].tolist() == ["fetched"] * 2
        assert [asked for _, _, asked in other.asked] == ["", "bytes=100-", ""]
    assert {method for method, _, _ in server.asked} <= {"HEAD"}


def test_what_the_mirror_lacks_or_has_wrong_comes_from_the_source(
    mirror: Path, server: RangeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    next(mirror.rglob("0.safetensors")).unlink()
    next(mirror.rglob("1.safetensors")).write_bytes(content(7))
    monkeypatch.setenv("FILTERLENS_MIRROR", str(mirror))
    with caplog.at_level(logging.WARNING):
        table = filterlens.fetch(tmp_path / "zoo.csv")
    assert table["status"].tolist() == ["fetched"] * 2
    assert [Path(path).read_bytes() for path in table["path"]] == [content(0), content(1)]
    assert sum(method == "GET" for method, _, _ in server.asked) == 2
    (said,) = [text for text in caplog.messages if "the mirror is passed over" in text]
    assert "has the sha256" in said


def test_a_mirror_that_is_down_is_passed_over(
    mirror: Path, server: RangeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running() as other:
        other.script = [busy(503)] * 9
        monkeypatch.setenv("FILTERLENS_MIRROR", other.address)
        assert filterlens.fetch(tmp_path / "zoo.csv")["status"].tolist() == ["fetched"] * 2


@pytest.mark.parametrize("place", ["/nowhere/at/all", "ftp://127.0.0.1/x", "https://me:secret@127.0.0.1/"])
def test_what_is_no_mirror_is_told(cache: Path, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FILTERLENS_MIRROR", place)
    with pytest.raises(InputError, match="--mirror") as caught:
        mirror_of(cache / "m.pt", checksum="")
    assert "secret" not in str(caught.value)


def test_plain_http_is_taken_only_with_a_checksum_or_from_this_machine(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FILTERLENS_MIRROR", "http://mirror.example")
    assert mirror_of(cache / "m.pt", checksum="") is None
    found = mirror_of(cache / "a b" / "m.pt", checksum="sha256:00000000")
    assert found is not None
    assert found.url == "http://mirror.example/a%20b/m.pt"
    monkeypatch.setenv("FILTERLENS_MIRROR", "http://127.0.0.1:1")
    assert mirror_of(cache / "m.pt", checksum="") is not None
    assert mirror_of(cache.parent / "elsewhere.pt", checksum="") is None


def test_the_option_reaches_the_loaders(
    mirror: Path, server: RangeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FILTERLENS_MIRROR", "")
    done = CliRunner().invoke(app, ["fetch", "-l", str(tmp_path / "zoo.csv"), "--mirror", str(mirror)])
    assert done.exit_code == 0, done.output
    assert server.asked == []


def test_a_mirror_that_is_none_is_said_by_the_command(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FILTERLENS_MIRROR", "")
    done = CliRunner().invoke(app, ["fetch", "-l", str(write(1)), "--mirror", str(tmp_path / "no")])
    assert done.exit_code != 0
    assert isinstance(done.exception, InputError | DownloadError) or "give a folder" in done.output
