"""Sources are told apart by their scheme, and third parties add their own."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from loaders.conftest import Load

from filterlens.catalogs import catalog_names, load_catalog
from filterlens.errors import CheckpointError, InputError
from filterlens.loaders import Request, parse_source, registry, schemes
from filterlens.loaders.model import LoadedModel


@pytest.mark.parametrize(
    ("uri", "scheme", "rest"),
    [
        ("robustbench:cifar10/Linf/Wong2020Fast", "robustbench", "cifar10/Linf/Wong2020Fast"),
        ("weights/model.pt", "file", "weights/model.pt"),
        ("C:\\weights\\model.pt", "file", "C:\\weights\\model.pt"),
        ("./odd:name.pt", "file", "./odd:name.pt"),
        ("module:pkg.mod:make?weights=a.pt", "module", "pkg.mod:make?weights=a.pt"),
        ("url:https://host/m.pt", "url", "https://host/m.pt"),
    ],
)
def test_a_source_is_split_at_its_scheme(uri: str, scheme: str, rest: str) -> None:
    assert parse_source(uri) == registry.Source(scheme, rest)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("tfhub:model", r"no loader answers 'tfhub:'.*robustbench, timm"),
        ("https://host/m.pt", "write url:https://host/m.pt"),
        ("timm:", "names nothing after the colon"),
        ("  ", "is no source"),
        ("a\0b.pt", "is no source"),
    ],
)
def test_a_source_that_nobody_answers_is_told(uri: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        parse_source(uri)


@pytest.mark.parametrize("name", catalog_names())
def test_every_source_of_the_shipped_catalogs_is_answered(name: str) -> None:
    for entry in load_catalog(name):
        assert parse_source(entry.source).scheme in schemes()


def from_elsewhere(request: Request) -> LoadedModel:
    """A third party's loader."""
    return LoadedModel(request.entry.model_id, request.entry.source, "", {}, notes=(request.rest,))


@pytest.fixture
def points(monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    made: list[EntryPoint] = []
    monkeypatch.setattr(registry, "entry_points", lambda group: [p for p in made if p.group == group])
    registry._third_party.cache_clear()
    return made


@pytest.fixture(autouse=True)
def forget() -> object:
    yield
    registry._third_party.cache_clear()


def test_a_third_party_s_scheme_is_answered(points: list[EntryPoint], load: Load) -> None:
    points.append(EntryPoint("vault", f"{__name__}:from_elsewhere", "filterlens.sources"))
    assert "vault" in schemes()
    assert load("vault:a/b").notes == ("a/b",)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("timm", f"{__name__}:from_elsewhere", "two packages answer the source timm:"),
        ("vault", "no.such.module:load", "cannot be imported"),
        ("vault", f"{__name__}:__doc__", "is no function"),
    ],
)
def test_a_third_party_s_mistake_is_told(name: str, value: str, message: str, points: list[EntryPoint]) -> None:
    points.append(EntryPoint(name, value, "filterlens.sources"))
    with pytest.raises(InputError, match=message):
        schemes()


def test_paths_are_looked_up_from_the_catalog_s_folder_first(
    tmp_path: Path, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    elsewhere = tmp_path / "cwd"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    torch.save({"here": torch.zeros(1, 1)}, tmp_path / "a.pt")
    torch.save({"there": torch.zeros(1, 1)}, elsewhere / "a.pt")
    torch.save({"there": torch.zeros(1, 1)}, elsewhere / "b.pt")
    assert list(load("a.pt").weights) == ["here"]
    assert list(load("b.pt").weights) == ["there"]
