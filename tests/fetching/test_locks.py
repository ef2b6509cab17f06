"""Which bytes were measured: lock files of runs and of catalogs, and what they refuse."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from fetching.conftest import Write, content
from hypothesis import given, settings
from hypothesis import strategies as st
from loaders.range_server import RangeServer
from typer.testing import CliRunner

import filterlens
from filterlens.catalogs import load_catalog
from filterlens.cli.app import app
from filterlens.errors import CatalogError
from filterlens.fetching import Locked, check_locked, lock_path, read_lock, write_lock


def sha256(number: int) -> str:
    return hashlib.sha256(content(number)).hexdigest()


def unchecked(write: Write, models: int) -> Path:
    """Write a catalog whose cached files may be exchanged."""
    path = write(models)
    filterlens.fetch(path)
    return path


def exchange(cache: Path, name: str, by: int) -> Path:
    """Put another whole checkpoint in a file's place."""
    path = next(cache.rglob(name))
    path.write_bytes(content(by))
    os.utime(path, (1, 1))
    return path


def test_every_run_has_a_lock_of_what_it_read(write: Write, tmp_path: Path) -> None:
    catalog = write(2, extra="local,local.safetensors")
    (tmp_path / "local.safetensors").write_bytes(content(5))
    filterlens.extract(catalog, tmp_path / "run", models=["m0", "local"])
    table = pd.read_csv(tmp_path / "run" / "lock.csv").set_index("model_id")
    assert table.loc["m0", "sha256"] == sha256(0)
    assert table.loc["m0", "size"] == len(content(0))
    assert str(table.loc["m0", "file"]).startswith("url/")
    assert table.loc["local"].to_dict() == {
        "source": "local.safetensors", "file": "local.safetensors", "size": len(content(5)), "sha256": sha256(5),
    }  # fmt: skip
    filterlens.extract(catalog, tmp_path / "run")
    assert pd.read_csv(tmp_path / "run" / "lock.csv")["model_id"].tolist() == ["local", "m0", "m1"]


def test_evicted_files_stay_in_the_lock(write: Write, cache: Path, tmp_path: Path) -> None:
    filterlens.extract(write(1), tmp_path / "run", evict=True)
    assert not list(cache.rglob("*.safetensors"))
    assert pd.read_csv(tmp_path / "run" / "lock.csv")["sha256"].tolist() == [sha256(0)]


def test_a_fetched_file_that_changed_since_the_run_is_an_error(write: Write, cache: Path, tmp_path: Path) -> None:
    catalog = unchecked(write, 1)
    filterlens.extract(catalog, tmp_path / "run")
    exchange(cache, "0.safetensors", by=9)
    (tmp_path / "run" / "dumps" / "m0.h5").unlink()
    (row,) = filterlens.extract(catalog, tmp_path / "run").rows
    assert row.status == "failed"
    assert "0.safetensors has changed: it has 1240 bytes and the SHA-256" in row.reason
    assert f"lock.csv has 1240 bytes and {sha256(0)}: fetch it again" in row.reason
    assert pd.read_csv(tmp_path / "run" / "lock.csv")["sha256"].tolist() == [sha256(0)]
    (row,) = filterlens.extract(catalog, tmp_path / "run", replace=True).rows
    assert row.status == "ok"
    assert pd.read_csv(tmp_path / "run" / "lock.csv")["sha256"].tolist() == [sha256(9)]


def test_a_local_file_that_changed_is_a_new_model_as_before(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(content(0))
    catalog = tmp_path / "zoo.csv"
    catalog.write_text("model_id,source\na,a.safetensors\n")
    filterlens.extract(catalog, tmp_path / "run")
    (tmp_path / "a.safetensors").write_bytes(content(1))
    outcome = filterlens.extract(catalog, tmp_path / "run")
    assert (outcome.count("ok"), outcome.reused) == (1, 0)
    assert pd.read_csv(tmp_path / "run" / "lock.csv")["sha256"].tolist() == [sha256(1)]


def test_a_catalog_s_lock_is_written_and_held(write: Write, cache: Path, tmp_path: Path) -> None:
    catalog = unchecked(write, 2)
    next(cache.rglob("1.safetensors")).unlink()
    done = CliRunner().invoke(app, ["catalogs", "lock", str(catalog)])
    assert done.exit_code == 0, done.output
    assert "1 files locked" in done.stdout
    assert "warning: m1 is not in the lock: http://127.0.0.1" in done.stderr
    lock = tmp_path / "zoo.lock.csv"
    assert lock == lock_path(load_catalog(catalog))
    assert pd.read_csv(lock)["sha256"].tolist() == [sha256(0)]
    exchange(cache, "0.safetensors", by=9)
    table = filterlens.fetch(catalog).set_index("model_id")
    assert table["status"].to_dict() == {"m0": "failed", "m1": "fetched"}
    assert "zoo.lock.csv has 1240 bytes" in str(table.loc["m0", "reason"])
    rows = {row.model_id: row for row in filterlens.extract(catalog, tmp_path / "run").rows}
    assert (rows["m0"].status, rows["m1"].status) == ("failed", "ok")
    assert "zoo.lock.csv has" in rows["m0"].reason


def test_a_catalog_s_lock_holds_local_files_too(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(content(0))
    catalog = tmp_path / "zoo.csv"
    catalog.write_text("model_id,source\na,a.safetensors\nb,missing.pt\n")
    table = filterlens.catalogs_lock(catalog)
    assert table["sha256"].tolist() == [sha256(0), ""]
    (tmp_path / "a.safetensors").write_bytes(content(1))
    rows = {row.model_id: row for row in filterlens.extract(catalog, tmp_path / "run").rows}
    assert "a.safetensors has changed" in rows["a"].reason


def test_the_lock_of_a_shipped_catalog_lies_in_the_cache(cache: Path, tmp_path: Path) -> None:
    table = filterlens.catalogs_lock("fonts-linf")
    assert (table["sha256"].str.len() == 64).all()
    assert len(read_lock(cache / "fonts-linf.lock.csv")) == len(table) == 21
    filterlens.catalogs_lock("fonts-linf", tmp_path / "paper" / "lock.csv")
    assert (tmp_path / "paper" / "lock.csv").read_bytes() == (cache / "fonts-linf.lock.csv").read_bytes()


@pytest.mark.parametrize(
    "text",
    [
        "model_id,source\na,b\n",
        "model_id,source,file,size,sha256\na,b,c,many," + "0" * 64 + "\n",
        "model_id,source,file,size,sha256\na,b,c,5,xyz\n",
        "model_id,source,file,size,sha256\na,b\n",
        "model_id,source,file,size,sha256\na,b,c,5," + "\u0660" * 64 + "\n",
    ],
)
def test_a_damaged_lock_is_told_with_its_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.lock.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CatalogError, match=r"x\.lock\.csv, line 2: a lock file's row was expected"):
        read_lock(path)


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1, max_size=20)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.builds(Locked, texts, texts, texts, st.integers(0, 10**12), st.just("a" * 64)), max_size=5))
def test_what_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, rows: list[Locked]) -> None:
    path = tmp_path_factory.mktemp("lock") / "lock.csv"
    unique = {(row.source, row.file): row for row in sorted(rows, reverse=True)}
    write_lock(rows, path)
    found = {row for each in read_lock(path).values() for row in each}
    assert found == set(unique.values())


def test_a_file_that_a_lock_does_not_name_is_not_refused() -> None:
    row = Locked("m", "s", "url/x/m.pt", 3, "a" * 64)
    check_locked([row], {Path("other.pt"): (4, "b" * 64)}, "lock.csv")
    check_locked([replace(row, size=4, sha256="b" * 64)], {Path("m.pt"): (4, "b" * 64)}, "lock.csv")


def test_the_command_says_what_goes_with_lock(server: RangeServer) -> None:
    for arguments in (["catalogs", "lock"], ["catalogs", "fonts-linf", "other"], ["catalogs", "--out", "x.csv"]):
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code != 0
        assert "catalogs lock CATALOG" in str(done.exception)
