"""A dump is kept as long as everything that decides its numbers is the same, whatever it is called; no longer."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_zoo import make_zoo
from torch import nn

import filterlens
from filterlens.catalogs import Catalog, Entry, load_catalog
from filterlens.inputs import data_digest
from filterlens.lens import RunSettings, get_lens, options_of
from filterlens.loaders import absolute_source, local_files, source_digest
from filterlens.runs import Outcome, analyze, extract
from filterlens.runs.keys import Keys

FACTORY = """
from torch import nn
{imports}

def make():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.{activation}(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(256, 3)
    )
"""


def images(path: Path, seed: int) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 16, 16, 3)).astype(np.uint8)
    np.savez(path, images=pixels, labels=np.zeros(6, int))
    return path


def replace_with(path: Path, content: bytes) -> None:
    """Change a file so that neither its size nor its date tells."""
    before = path.stat()
    assert len(content) == before.st_size
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    """One network of the user's own code, with weights in a file."""
    (tmp_path / "stale_net.py").write_text(FACTORY.format(imports="", activation="ReLU"))
    torch.manual_seed(0)
    conv, linear = nn.Conv2d(3, 4, 3), nn.Linear(256, 3)
    state = {f"{n}.{k}": v for n, m in (("0", conv), ("4", linear)) for k, v in m.state_dict().items()}
    torch.save(state, tmp_path / "net.pt")
    entry = Entry(model_id="net", source="module:stale_net:make?weights=net.pt", mean=(0.5,), std=(0.25,))
    return Catalog("mine", (entry,), tmp_path)


def run(catalog: Catalog, folder: Path, data: Path, n: int = 3) -> tuple[Outcome, float]:
    options = options_of(get_lens("downsampling"), {"images": n})
    settings = RunSettings(data=str(data), allow_code=True)
    outcome = extract(catalog, folder, lenses={"downsampling": options}, settings=settings)
    assert outcome.count("ok") == 1, outcome.rows
    scores = analyze(folder)
    return outcome, float(scores.loc[scores["metric"] == "aliasing_relative", "value"].iloc[0])


def test_images_replaced_at_the_same_path_give_new_numbers(catalog: Catalog, tmp_path: Path) -> None:
    data = images(tmp_path / "images.npz", 0)
    first, before = run(catalog, tmp_path / "run", data)
    kept, same = run(catalog, tmp_path / "run", data)
    assert (first.reused, kept.reused, same) == (0, 1, before)
    replace_with(data, images(tmp_path / "other.npz", 1).read_bytes())
    again, after = run(catalog, tmp_path / "run", data)
    _, fresh = run(catalog, tmp_path / "fresh", tmp_path / "other.npz")
    assert again.reused == 0
    assert after == fresh != before


def test_the_same_images_under_another_name_are_the_same(catalog: Catalog, tmp_path: Path) -> None:
    data = images(tmp_path / "images.npz", 0)
    run(catalog, tmp_path / "run", data)
    (tmp_path / "elsewhere").mkdir()
    moved = shutil.copyfile(data, tmp_path / "elsewhere" / "moved.npz")
    outcome, _ = run(catalog, tmp_path / "run", moved)
    assert outcome.reused == 1


def test_an_edited_factory_gives_new_numbers(catalog: Catalog, tmp_path: Path) -> None:
    data = images(tmp_path / "images.npz", 0)
    _, before = run(catalog, tmp_path / "run", data)
    (tmp_path / "stale_net.py").write_text(FACTORY.format(imports="", activation="SiLU"))
    again, after = run(catalog, tmp_path / "run", data)
    assert again.reused == 0
    assert after != before
    assert run(catalog, tmp_path / "run", data)[0].reused == 1


def test_a_module_beside_the_factory_counts_and_one_elsewhere_is_named(tmp_path: Path) -> None:
    (tmp_path / "stale_pack").mkdir()
    (tmp_path / "stale_pack" / "__init__.py").write_text("")
    (tmp_path / "stale_pack" / "net.py").write_text("import torch\nfrom .parts import block\nfrom yaml import load\n")
    (tmp_path / "stale_pack" / "parts.py").write_text("import stale_beside\nblock = 1\n")
    (tmp_path / "stale_beside.py").write_text("x = 1\n")
    source = "module:stale_pack.net:make"
    digests = [source_digest(source, tmp_path, allow_code=True)[0]]
    for name in ("stale_pack/parts.py", "stale_beside.py", "stale_pack/__init__.py"):
        path = tmp_path / name
        path.write_text(f"{path.read_text()}y = 2\n")
        digests.append(source_digest(source, tmp_path, allow_code=True)[0])
    assert len(set(digests)) == 4
    (tmp_path / "unrelated.py").write_text("x = 1\n")
    digest, notes = source_digest(source, tmp_path, allow_code=True)
    assert digest == digests[-1]
    assert notes == ("changes of yaml, which module:stale_pack.net is made with, are not seen: --replace starts anew",)
    shutil.copytree(tmp_path / "stale_pack", tmp_path / "moved" / "stale_pack")
    shutil.copyfile(tmp_path / "stale_beside.py", tmp_path / "moved" / "stale_beside.py")
    assert source_digest(source, tmp_path / "moved", allow_code=True)[0] == digest


def test_code_that_nobody_allowed_is_not_even_read(tmp_path: Path) -> None:
    (tmp_path / "stale_net.py").write_text("(" * 5000)
    assert source_digest("module:stale_net:make", tmp_path) == ("module:stale_net:make", ())
    assert source_digest("module:stale_net:make", tmp_path, allow_code=True)[0] != "module:stale_net:make"


def test_what_cannot_be_seen_is_in_the_ledger(catalog: Catalog, tmp_path: Path) -> None:
    (tmp_path / "stale_net.py").write_text(FACTORY.format(imports="import yaml", activation="ReLU"))
    outcome, _ = run(catalog, tmp_path / "run", images(tmp_path / "images.npz", 0))
    assert any("changes of yaml" in note for note in outcome.rows[0].notes)


def test_weights_under_another_name_are_the_same_and_others_of_the_same_name_are_not(tmp_path: Path) -> None:
    zoo = make_zoo(tmp_path / "zoo")
    filterlens.extract(zoo, tmp_path / "run")
    for path in list(zoo.parent.glob("*.pt")):
        path.rename(path.with_name(f"moved-{path.name}"))
    zoo.write_text(re.sub(r"(net\d-\w+\.pt)", r"moved-\1", zoo.read_text()))
    assert load_catalog(zoo).entries[0].source == "moved-net0-robust.pt"
    assert filterlens.extract(zoo, tmp_path / "run").reused == 4
    shutil.copytree(zoo.parent, tmp_path / "copy")
    assert filterlens.extract(tmp_path / "copy" / "zoo.csv", tmp_path / "run").reused == 4
    path = tmp_path / "copy" / "moved-net0-robust.pt"
    state = torch.load(path, weights_only=True)["state_dict"]
    torch.save({"state_dict": {name: value + 1 for name, value in state.items()}}, path)
    assert filterlens.extract(tmp_path / "copy" / "zoo.csv", tmp_path / "run").reused == 3


def key(catalog: Catalog, lens: str, options: dict[str, object], **settings: object) -> str:
    chosen = get_lens(lens)
    keys = Keys(catalog.folder, RunSettings(allow_code=True, **settings))  # type: ignore[arg-type]
    return str(keys.key(catalog.entries[0], chosen, options_of(chosen, options)))


def test_what_a_manifolds_file_holds_decides_and_not_its_name(catalog: Catalog, tmp_path: Path) -> None:
    data = str(images(tmp_path / "images.npz", 0))
    path = tmp_path / "decoder.safetensors"
    path.write_bytes(b"one decoder")
    one = key(catalog, "manifold", {"manifold": str(path)}, data=data)
    shutil.copyfile(path, tmp_path / "b.safetensors")
    assert key(catalog, "manifold", {"manifold": str(tmp_path / "b.safetensors")}, data=data) == one
    replace_with(path, b"two decoder")
    assert key(catalog, "manifold", {"manifold": str(path)}, data=data) != one
    assert key(catalog, "manifold", {"manifold": "neighbours"}, data=data) != one


def test_the_code_of_a_manifold_decides(catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = str(images(tmp_path / "images.npz", 0))
    found = []
    for text in ("x = 1\n", "x = 2\n", "x = 1\n"):
        (tmp_path / "stale_pair.py").write_text(text)
        found.append(key(catalog, "manifold", {"manifold": "module:stale_pair:make"}, data=data))
    assert found[0] == found[2] != found[1]


def test_fonts_folders_are_told_by_their_fonts(catalog: Catalog, tmp_path: Path) -> None:
    from matplotlib import get_data_path

    shipped = Path(get_data_path()) / "fonts" / "ttf"
    for folder, name in (("a", "cmr10"), ("b", "cmr10"), ("c", "cmb10")):
        (tmp_path / folder).mkdir()
        shutil.copyfile(shipped / f"{name}.ttf", tmp_path / folder / "face.ttf")
    a, b, c = (key(catalog, "downsampling", {}, data="fonts", fonts=tmp_path / name) for name in "abc")
    assert a == b != c
    assert key(catalog, "downsampling", {}, data="fonts") not in {a, c}
    first = filterlens.inputs.load_images("fonts", 4, fonts=tmp_path / "a").digest
    shutil.copyfile(shipped / "cmb10.ttf", tmp_path / "a" / "face.ttf")
    assert filterlens.inputs.load_images("fonts", 4, fonts=tmp_path / "a").digest != first


def test_image_folders_are_told_by_their_images(tmp_path: Path) -> None:
    from PIL import Image

    for folder in ("a", "b"):
        for label in ("cat", "dog"):
            (tmp_path / folder / label).mkdir(parents=True)
            Image.new("RGB", (8, 8), (9, 9, len(label))).save(tmp_path / folder / label / "1.png")
    assert data_digest(str(tmp_path / "a")) == data_digest(str(tmp_path / "b"))
    assert data_digest(str(tmp_path / "a"), dataset="cifar10") == data_digest(str(tmp_path / "a"))
    before = data_digest(str(tmp_path / "a"))
    (tmp_path / "a" / "dog").rename(tmp_path / "a" / "ant")  # the classes' numbers follow their names
    assert data_digest(str(tmp_path / "a")) != before
    Image.new("RGB", (8, 8)).save(tmp_path / "b" / "cat" / "1.png")
    assert data_digest(str(tmp_path / "b")) != before


def test_seed_and_radius_and_normalisation_decide(catalog: Catalog, tmp_path: Path) -> None:
    data = str(images(tmp_path / "images.npz", 0))
    entry = catalog.entries[0]
    others = [entry.model_copy(update=u) for u in ({"eps": 0.1}, {"mean": (0.4,)}, {"std": (0.5,)})]
    found = {key(Catalog("mine", (other,), tmp_path), "downsampling", {}, data=data) for other in [entry, *others]}
    found.add(key(catalog, "downsampling", {}, data=data, seed=1))
    found.add(key(catalog, "downsampling", {"channels": 3}, data=data))
    assert len(found) == 6
    same = key(catalog, "downsampling", {}, data=data, batch_size=3, device="cpu", offline=True)
    assert same in found
    assert key(catalog, "filters", {}, data=data, seed=1) == key(catalog, "filters", {})  # it looks at no image


def test_a_file_is_read_once_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from filterlens.process import digests

    read: list[Path] = []
    monkeypatch.setattr(digests, "_digest", _counted(digests._digest, read))
    catalog = load_catalog(make_zoo(tmp_path / "zoo", pairs=3))
    data = images(tmp_path / "images.npz", 0)
    settings = RunSettings(data=str(data))
    extract(catalog, tmp_path / "run", lenses=["filters", "downsampling"], settings=settings)
    assert read.count(data.resolve()) == 1


def _counted(digest: Any, read: list[Path]) -> Callable[[Path, Any], Any]:
    digest.cache_clear()

    def counted(path: Path, state: Any) -> Any:
        before = digest.cache_info().misses
        found = digest(path, state)
        if digest.cache_info().misses > before:
            read.append(path)
        return found

    return counted


@pytest.mark.parametrize(
    "source", ["~nobody-of-that-name/x.pt", "x" * 5000, "filterdb:/proc/kcore#1", "filterdb:#", "what:ever"]
)
def test_a_source_that_cannot_be_digested_stands_for_itself(source: str, tmp_path: Path) -> None:
    assert source_digest(source, tmp_path) == (source, ())


@pytest.mark.parametrize(("zoo", "folder"), [("fonts", "fonts-linf"), ("cifar10", "cifar10-small")])
def test_a_bundled_network_that_was_trained_anew_is_another_one(
    zoo: str, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("filterlens.loaders.digest.shipped_folder", lambda: tmp_path)
    (tmp_path / folder).mkdir()
    digests = set()
    for weights in (b"first", b"again"):
        (tmp_path / folder / "net.safetensors").write_bytes(weights)
        digests.add(source_digest(f"bundled:{zoo}/net", tmp_path)[0])
    assert len(digests) == 2


def test_a_path_with_a_plus_a_blank_and_an_umlaut_is_found_from_anywhere(tmp_path: Path) -> None:
    (tmp_path / "lr+wärme 1.pt").write_bytes(b"w")
    for written in ("lr+wärme 1.pt", "lr%2Bw%C3%A4rme%201.pt"):
        absolute = absolute_source(f"timm:resnet18?weights={written}", tmp_path)
        assert local_files(absolute, Path("/")) == [tmp_path / "lr+wärme 1.pt"]
