"""The bundled zoo keeps what its card promises, and can be made again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from filterlens.catalogs import load_catalog, shipped_folder
from filterlens.training.fonts_zoo import EPS, FONTS_ZOO, MEMBERS
from filterlens.training.zoo import ZooModel, measure_accuracy, train_zoo

FOLDER = shipped_folder() / "fonts-linf"
PAIRED = {"normal", "pgd", "trades"}


def test_the_catalog_lists_the_zoo_with_its_pairs() -> None:
    catalog = load_catalog("fonts-linf")
    assert [entry.model_id for entry in catalog] == [member.name for member in MEMBERS]
    assert {(e.source, e.dataset, e.threat_model, e.eps) for e in catalog} == {
        (f"bundled:fonts/{m.name}", "fonts", "Linf", EPS) for m in MEMBERS
    }
    pairs = [pair for pair in catalog.pairs() if "-pgd-" in pair.robust.model_id]
    assert len(pairs) == 8
    for robust, normal in ((pair.robust, pair.normal) for pair in pairs):
        assert robust.architecture == normal.architecture
        assert robust.model_id == normal.model_id.replace("-normal-", "-pgd-")


def test_pairs_share_everything_but_the_recipe() -> None:
    plans = {member.name: member.plan for member in MEMBERS}
    paired = [member for member in MEMBERS if member.match]
    assert len(paired) >= 8
    for member in paired:
        assert replace(member.plan, recipe="normal", beta=plans[member.match].beta) == plans[member.match]


@pytest.mark.parametrize("member", MEMBERS, ids=lambda m: m.name)
def test_the_weights_are_finite_float32_and_say_where_they_come_from(member: ZooModel) -> None:
    path = FOLDER / f"{member.name}.safetensors"
    weights = load_file(path)
    assert all(value.isfinite().all() for value in weights.values())
    assert {value.dtype for value in weights.values()} == {torch.float32, torch.int64}  # BatchNorm counts its batches
    with safe_open(path, framework="pt") as file:
        said = file.metadata()
    assert (said["architecture"], said["recipe"], said["seed"]) == (
        member.plan.architecture, member.plan.recipe, str(member.plan.seed),
    )  # fmt: skip


def test_the_zoo_is_small_and_holds_nothing_else() -> None:
    files = sorted(path.stem for path in FOLDER.glob("*.safetensors"))
    assert files == sorted(member.name for member in MEMBERS)
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 8_000_000


def test_the_published_accuracies_are_what_was_asked_for() -> None:
    for entry in load_catalog("fonts-linf"):
        recipe = next(m.plan.recipe for m in MEMBERS if m.name == entry.model_id)
        assert entry.clean_acc is not None
        assert entry.robust_acc is not None
        if recipe in PAIRED:
            assert entry.clean_acc >= 90
            assert 60 <= entry.robust_acc <= 92 if entry.robust else entry.robust_acc <= 5


@pytest.mark.slow
@pytest.mark.parametrize("member", MEMBERS, ids=lambda m: m.name)
def test_a_model_measures_as_its_card_says(member: ZooModel) -> None:
    entry = load_catalog("fonts-linf")[member.name]
    found = measure_accuracy(FONTS_ZOO, FOLDER / f"{member.name}.safetensors", images=200)
    assert entry.clean_acc is not None
    assert entry.robust_acc is not None
    assert abs(100 * found.clean_accuracy - entry.clean_acc) < 4
    assert abs(100 * found.robust_accuracy - entry.robust_acc) < 8


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
    catalog = load_catalog(tmp_path / "fonts-tiny.csv")
    assert [pair.normal.model_id for pair in catalog.pairs()] == ["before"]
    after = load_file(tmp_path / "fonts-tiny" / "after.safetensors")
    middle = load_file(tmp_path / "fonts-tiny" / "middle.safetensors")
    assert after.keys() == middle.keys()
    assert any(not torch.equal(after[name], middle[name]) for name in after)
