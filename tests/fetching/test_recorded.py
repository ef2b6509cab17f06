"""Answers in the form of RobustBench's files (Google Drive) and of Zenodo's records, as the project wrote them down."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch
from loaders.range_server import Handler, RangeServer

import filterlens
from filterlens.catalogs import Entry
from filterlens.fetching import needs_of
from filterlens.loaders import drive, zenodo
from filterlens.loaders.robustbench import zoo

CONFIRM = (
    "<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head><body>"
    '<p class="uc-warning-caption">'
    'Google Drive can\'t scan this file for viruses.</p><p class="uc-warning-subcaption"><span class="uc-name-size">'
    '<a href="/open?id=ID">model.pt</a> (43M)</span> is too large.</p><form id="download-form" action="ADDRESS" '
    'method="get"><input type="hidden" name="id" value="ID"><input type="hidden" name="confirm" value="t"></form>'
    "</body>"
)


def checkpoint(name: str) -> bytes:
    """RobustBench's file of a model, with random weights in its own architecture and container."""
    torch.manual_seed(0)
    state: dict[str, Any] = zoo()["cifar10", "Linf"][name]["model"]().state_dict()
    file = io.BytesIO()
    torch.save({"state_dict": state}, file)
    return file.getvalue()


def test_a_model_of_robustbench_comes_through_google_drive_s_confirmation(
    server: RangeServer, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "Wong2020Fast"
    identifier = zoo()["cifar10", "Linf"][name]["gdrive_id"]
    body = checkpoint(name)
    monkeypatch.setattr(drive, "ADDRESS", f"{server.address}/uc?id={{}}")
    server.files["/download"] = body
    page = CONFIRM.replace("ADDRESS", f"{server.address}/download").replace("ID", identifier).encode()

    def confirm(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/html; charset=utf-8")
        handler.send_header("Content-Length", str(len(page)))
        handler.end_headers()
        handler.wfile.write(page)

    server.script = [confirm] * 3  # two are asked for the size
    source = f"robustbench:cifar10/Linf/{name}"
    (file,) = needs_of(Entry(model_id="m", source=source), tmp_path).files
    assert file.size() == 43 * 1024**2
    catalog = tmp_path / "zoo.csv"
    catalog.write_text(f"model_id,source,dataset\n{name},{source},cifar10\n")
    outcome = filterlens.extract(catalog, tmp_path / "run")
    assert outcome.count("ok") == 1, outcome.rows
    assert (cache / "cifar10" / "Linf" / f"{name}.pt").read_bytes() == body
    assert [path for method, path, _ in server.asked if method == "GET"] == [
        *[f"/uc?id={identifier}"] * 3, f"/download?id={identifier}&confirm=t",
    ]  # fmt: skip
    assert hashlib.sha256(body).hexdigest() in (tmp_path / "run" / "lock.csv").read_text()


def test_a_record_of_zenodo_gives_size_and_checksum_and_is_asked_once(
    server: RangeServer, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w") as archive:
        inner = checkpoint("Wong2020Fast")
        member = tarfile.TarInfo("weights/best.pt")
        member.size = len(inner)
        archive.addfile(member, io.BytesIO(inner))
    key = "cifar10_normal_robustbench_{}.tar"
    names = ["Wong2020Fast", "Rice2020Overfitting"]
    record = {
        "id": 7097538,
        "doi": "10.5281/zenodo.7097538",
        "metadata": {"title": "Normal counterparts", "license": {"id": "cc-by-sa-4.0"}},
        "files": [
            {
                "id": "00000000-0000-0000-0000-000000000000",
                "key": key.format(name),
                "size": len(body.getvalue()),
                "checksum": f"md5:{hashlib.md5(body.getvalue()).hexdigest()}",
                "links": {"self": f"https://zenodo.org/api/records/7097538/files/{key.format(name)}/content"},
            }
            for name in names
        ],
    }
    asked: list[str] = []

    def fetch_json(url: str) -> object:
        asked.append(url)
        return json.loads(json.dumps(record))

    monkeypatch.setattr(zenodo, "fetch_json", fetch_json)
    monkeypatch.setattr(zenodo, "web", lambda url, **how: _at(server, url, **how))
    for name in names:
        server.files[f"/records/7097538/files/{key.format(name)}"] = body.getvalue()
    catalog = tmp_path / "zoo.csv"
    rows = [f"{name},zenodo:7097538/cifar10/{name},cifar10" for name in names]
    catalog.write_text("\n".join(["model_id,source,dataset", *rows]) + "\n")
    plan = filterlens.fetch(catalog, dry_run=True)
    assert plan["size"].tolist() == [len(body.getvalue())] * 2
    assert server.asked == [], "the record has said it"
    assert filterlens.extract(catalog, tmp_path / "run").count("ok") == 2
    assert asked == ["https://zenodo.org/api/records/7097538"]
    assert len(list((cache / "zenodo" / "7097538").glob("*.tar"))) == 2


def _at(server: RangeServer, url: str, **how: Any) -> Any:
    from filterlens.loaders.download import web

    return web(url.replace("https://zenodo.org", server.address), **how)


def test_offline_no_record_is_asked(
    server: RangeServer, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zenodo, "RECORD", f"{server.address}/api/records/{{}}")
    catalog = tmp_path / "zoo.csv"
    catalog.write_text("model_id,source\nm,zenodo:7097538/cifar10/Wong2020Fast\n")
    assert filterlens.fetch(catalog, offline=True)["status"].tolist() == ["missing"]
    filterlens.catalogs_lock(catalog, tmp_path / "lock.csv")
    assert server.asked == []
    assert not cache.exists()
