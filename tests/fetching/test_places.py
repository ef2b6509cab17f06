"""One file that models want in several places, as those of RobustBench do, and several files of one repository."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from fetching.conftest import content
from loaders.range_server import RangeServer

from filterlens.catalogs import Entry
from filterlens.fetching import Fetcher, Needs, Transfer
from filterlens.loaders import remote_files
from filterlens.loaders.download import web
from filterlens.loaders.remote import CacheFile


def needs_of_two(server: RangeServer, cache: Path) -> list[Needs]:
    """Two models whose files have one address and a place each."""
    server.files["/shared.safetensors"] = content(0)
    url = f"http://127.0.0.1:{server.server_address[1]}/shared.safetensors"
    digest = f"sha256:{hashlib.sha256(content(0)).hexdigest()}"
    files = [
        CacheFile(cache / board / "model.safetensors", web(url, checksum=digest)) for board in ("linf", "corruptions")
    ]
    return [
        Needs(Entry(model_id=f"m{n}", source=f"url:{url}"), (file,), (file,) if file.cached() is None else ())
        for n, file in enumerate(files)
    ]


def run(needs: list[Needs], *, evict: bool = False) -> list[Transfer]:
    heard: list[Transfer] = []
    with Fetcher(needs, listener=heard.append, evict=evict) as fetcher:
        for number in range(len(needs)):
            assert fetcher.wait(number) is None
            assert all(file.cached() for file in needs[number].files)
            fetcher.release(number)
    return heard


def downloads(server: RangeServer) -> int:
    return sum(method == "GET" for method, _, _ in server.asked)


def test_a_file_wanted_in_two_places_is_fetched_once_and_is_in_both(server: RangeServer, cache: Path) -> None:
    heard = run(needs_of_two(server, cache))
    places = [cache / board / "model.safetensors" for board in ("linf", "corruptions")]
    assert [place.read_bytes() for place in places] == [content(0)] * 2
    assert places[0].samefile(places[1])  # a link: it takes its room once
    assert downloads(server) == 1
    assert [one.state for one in heard if one.state == "fetched"] == ["fetched"]
    assert sorted(path.name for path in cache.rglob(".model*")) == []


def test_where_it_is_in_one_place_already_nothing_is_fetched(server: RangeServer, cache: Path) -> None:
    run(needs_of_two(server, cache))
    (cache / "corruptions" / "model.safetensors").unlink()
    run(needs_of_two(server, cache))
    assert (cache / "corruptions" / "model.safetensors").read_bytes() == content(0)
    assert downloads(server) == 1


def test_a_disk_without_links_gets_a_copy(server: RangeServer, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr("os.link", refuse)
    run(needs_of_two(server, cache))
    places = [cache / board / "model.safetensors" for board in ("linf", "corruptions")]
    assert [place.read_bytes() for place in places] == [content(0)] * 2
    assert not places[0].samefile(places[1])


def test_a_linked_file_of_the_cache_is_followed(server: RangeServer, cache: Path) -> None:
    run(needs_of_two(server, cache))
    (cache / "corruptions" / "model.safetensors").unlink()
    first = cache / "linf" / "model.safetensors"
    first.rename(cache / "linf" / "kept.safetensors")
    first.symlink_to("kept.safetensors")
    run(needs_of_two(server, cache))
    assert (cache / "corruptions" / "model.safetensors").read_bytes() == content(0)
    assert downloads(server) == 1


def test_evicted_it_goes_from_both_places_when_both_models_are_done(server: RangeServer, cache: Path) -> None:
    run(needs_of_two(server, cache), evict=True)
    assert list(cache.rglob("*.safetensors")) == []


def test_weights_and_description_of_a_repository_are_two_files(tmp_path: Path) -> None:
    files = remote_files(Entry(model_id="m", source="hf:timm/resnet18.a1_in1k@v1"), tmp_path, offline=True)
    assert files is not None
    assert [file.name.rpartition("/")[2] for file in files] == ["model.safetensors", "config.json"]
    assert len({file.name for file in files}) == len({file.place for file in files}) == 2
