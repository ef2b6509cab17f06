"""The bundled zoos keep what their cards promise, and can be made again."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from filterlens.catalogs import load_catalog, shipped_folder
from filterlens.training.cifar_zoo import CIFAR_ZOO
from filterlens.training.fonts_zoo import FONTS_ZOO, MEMBERS
from filterlens.training.zoo import Zoo, ZooModel, measure_accuracy, train_zoo

ZOOS = pytest.mark.parametrize("zoo", [FONTS_ZOO, CIFAR_ZOO], ids=lambda zoo: zoo.name)
EVERY = [pytest.param(zoo, member, id=member.name) for zoo in (FONTS_ZOO, CIFAR_ZOO) for member in zoo.members]
LIMITS = {"fonts-linf": 8_000_000, "cifar10-small": 12_000_000}


@ZOOS
def test_the_catalog_lists_the_zoo_with_its_pairs(zoo: Zoo) -> None:
    catalog = load_catalog(zoo.name)
    assert [entry.model_id for entry in catalog] == [member.name for member in zoo.members]
    assert {(e.source, e.dataset, e.threat_model, e.eps) for e in catalog} == {
        (f"bundled:{zoo.dataset}/{m.name}", zoo.dataset, "Linf", zoo.eps) for m in zoo.members
    }
    pairs = catalog.pairs()
    assert len(pairs) >= 8
    assert len({pair.robust.architecture for pair in pairs}) == 4
    for robust, normal in ((pair.robust, pair.normal) for pair in pairs):
        assert robust.architecture == normal.architecture
        assert robust.model_id.rpartition("-")[2] == normal.model_id.rpartition("-")[2]  # one seed


@ZOOS
def test_pairs_share_everything_but_the_recipe(zoo: Zoo) -> None:
    plans = {member.name: member.plan for member in zoo.members}
    paired = [member for member in zoo.members if member.match]
    assert len(paired) >= 8
    for member in paired:
        assert replace(member.plan, recipe="normal", beta=plans[member.match].beta) == plans[member.match]


@pytest.mark.parametrize(("zoo", "member"), EVERY)
def test_the_weights_are_finite_and_say_where_they_come_from(zoo: Zoo, member: ZooModel) -> None:
    path = shipped_folder() / zoo.name / f"{member.name}.safetensors"
    weights = load_file(path)
    assert all(value.isfinite().all() for value in weights.values())
    stored = torch.float16 if zoo.half else torch.float32
    assert {value.dtype for value in weights.values()} == {stored, torch.int64}  # BatchNorm counts its batches
    with safe_open(path, framework="pt") as file:
        said = file.metadata()
    assert (said["architecture"], said["recipe"], said["seed"]) == (
        member.plan.architecture, member.plan.recipe, str(member.plan.seed),
    )  # fmt: skip


@ZOOS
def test_the_zoo_is_small_and_holds_nothing_else(zoo: Zoo) -> None:
    folder = shipped_folder() / zoo.name
    files = sorted(path.stem for path in folder.glob("*.safetensors"))
    assert files == sorted(member.name for member in zoo.members)
    assert sum(path.stat().st_size for path in folder.iterdir()) < LIMITS[zoo.name]


@pytest.mark.parametrize(
    ("zoo", "clean", "robust", "normal"),
    [(FONTS_ZOO, 90, 60, 5), (CIFAR_ZOO, 45, 25, 5)],
    ids=lambda value: getattr(value, "name", ""),
)
def test_the_published_accuracies_are_what_was_asked_for(zoo: Zoo, clean: float, robust: float, normal: float) -> None:
    for pair in load_catalog(zoo.name).pairs():
        assert pair.robust.clean_acc is not None
        assert pair.normal.clean_acc is not None
        assert pair.robust.robust_acc is not None
        assert pair.normal.robust_acc is not None
        assert min(pair.robust.clean_acc, pair.normal.clean_acc) >= clean
        assert pair.robust.robust_acc >= robust
        assert pair.normal.robust_acc <= normal


@pytest.mark.slow
@pytest.mark.parametrize(("zoo", "member"), EVERY)
def test_a_model_measures_as_its_card_says(zoo: Zoo, member: ZooModel) -> None:
    entry = load_catalog(zoo.name)[member.name]
    images = 200 if zoo is FONTS_ZOO else 128  # of 512 in the catalog, hence the wide bounds
    found = measure_accuracy(zoo, shipped_folder() / zoo.name / f"{member.name}.safetensors", images=images)
    assert entry.clean_acc is not None
    assert entry.robust_acc is not None
    assert abs(100 * found.clean_accuracy - entry.clean_acc) < (4 if zoo is FONTS_ZOO else 12)
    assert abs(100 * found.robust_accuracy - entry.robust_acc) < (8 if zoo is FONTS_ZOO else 12)


def test_a_zoo_can_be_made_again_and_is_a_catalog(tmp_path: Path) -> None:
    tiny = replace(
        MEMBERS[0].plan, architecture="vgg_maxpool", epochs=2, images=32, batch_size=16, steps=1,
        test_images=4, test_steps=1,
    )  # fmt: skip
    members = (
        ZooModel("before", tiny, epoch=0, robust=False),
        ZooModel("after", replace(tiny, recipe="fgsm"), robust=True, match="before"),
        ZooModel("middle", replace(tiny, recipe="fgsm"), epoch=0),
    )
    heard: list[tuple[str, int, int]] = []
    card = train_zoo(
        replace(FONTS_ZOO, name="fonts-tiny", members=members),
        tmp_path / "fonts-tiny", work=tmp_path / "work", jobs=1, images=4,
        progress=lambda *told: heard.append(told),
    )  # fmt: skip
    assert [done for _, done, _ in heard] == [1, 2, 3, 4, 5]
    assert all(f"`{member.name}`" in card.read_text(encoding="utf-8") for member in members)
    with (tmp_path / "fonts-tiny" / "logs.csv").open(newline="") as file:
        rows = [(row["training"], row["epoch"]) for row in csv.DictReader(file)]
    assert rows == [(f"vgg_maxpool-{name}-s0", f"{epoch}") for name in ("normal", "fgsm") for epoch in range(2)]
    catalog = load_catalog(tmp_path / "fonts-tiny.csv")
    assert [pair.normal.model_id for pair in catalog.pairs()] == ["before"]
    after = load_file(tmp_path / "fonts-tiny" / "after.safetensors")
    middle = load_file(tmp_path / "fonts-tiny" / "middle.safetensors")
    assert after.keys() == middle.keys()
    assert any(not torch.equal(after[name], middle[name]) for name in after)
