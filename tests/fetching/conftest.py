"""A cache and a server for the tests of this folder, and catalogs of files on it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from loaders.range_server import RangeServer, running
from safetensors.torch import save

from filterlens.loaders import transfer, zenodo
from filterlens.loaders.transfer import Retries

Write = Callable[..., Path]


def content(number: int) -> bytes:
    """A small checkpoint with one convolution."""
    torch.manual_seed(number)
    return save({"conv.weight": torch.randn(8, 4, 3, 3)})


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("FILTERLENS_CACHE", str(folder))
    for name in ("FILTERLENS_OFFLINE", "FILTERLENS_MIRROR"):
        monkeypatch.setenv(name, "")  # what a command sets is taken back, too
        monkeypatch.delenv(name)
    zenodo._listed.cache_clear()
    return folder


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[RangeServer]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(transfer, "RETRIES", Retries(attempts=2, first=0.01, longest=0.05, obeyed=2.0))
    with running() as made:
        yield made


@pytest.fixture
def write(server: RangeServer, tmp_path: Path) -> Write:
    """Write a catalog of so many models on the server."""

    def call(models: int, *, hosts: tuple[str, ...] = ("127.0.0.1",), extra: str = "") -> Path:
        port = server.server_address[1]
        lines = ["model_id,source"]
        for number in range(models):
            body = content(number)
            server.files[f"/{number}.safetensors"] = body
            host, digest = hosts[number % len(hosts)], hashlib.sha256(body).hexdigest()
            lines.append(f"m{number},url:http://{host}:{port}/{number}.safetensors?sha256={digest}")
        path = tmp_path / "zoo.csv"
        path.write_text("\n".join([*lines, extra]).rstrip() + "\n")
        return path

    return call
