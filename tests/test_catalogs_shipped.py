"""The shipped catalogs against the installed zoos and the facts of the papers."""

from __future__ import annotations

import ast
import importlib
import time
from collections import Counter
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from filterlens.catalogs import catalog_names, load_catalog, shipped_folder

LEADERBOARDS = {
    "cifar10-linf": 76,
    "cifar10-l2": 21,
    "cifar10-corruptions": 17,
    "cifar100-linf": 38,
    "cifar100-corruptions": 12,
    "imagenet-linf": 30,
    "imagenet-corruptions": 12,
}
VARIABLES = {"linf": "linf", "l2": "l2", "corruptions": "common_corruptions"}


@cache
def zoo(name: str) -> frozenset[str]:
    """Ids of one dictionary of robustbench's zoo, read from its source: importing it takes seconds."""
    dataset, threat_model = name.split("-")
    spec = find_spec("robustbench")
    assert spec is not None
    assert spec.submodule_search_locations
    path = Path(spec.submodule_search_locations[0]) / "model_zoo" / f"{dataset}.py"
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == VARIABLES[threat_model]:
            return frozenset(ast.literal_eval(pair.elts[0]) for pair in node.value.args[0].elts)  # type: ignore[attr-defined]
    raise LookupError(name)


def listed(name: str) -> list[str]:
    return [e.source.rsplit("/", 1)[1] for e in load_catalog(name) if e.source.startswith("robustbench:")]


@pytest.mark.parametrize("name", LEADERBOARDS)
def test_a_leaderboard_lists_what_robustbench_can_load_nothing_missing_nothing_unknown(name: str) -> None:
    assert Counter(listed(name)) == Counter(zoo(name))
    assert len(listed(name)) == LEADERBOARDS[name]


@pytest.mark.slow
def test_the_source_that_was_read_is_what_robustbench_offers() -> None:
    from filterlens.loaders.robustbench_compat import robustbench

    robustbench()
    model_dicts = importlib.import_module("robustbench.model_zoo.models").model_dicts

    for dataset, by_threat in model_dicts.items():
        for threat_model, models in by_threat.items():
            assert zoo(f"{dataset.value}-{threat_model.value.lower()}") == set(models)


def test_there_are_206_models_in_the_leaderboards() -> None:
    assert sum(LEADERBOARDS.values()) == 206
    assert {*LEADERBOARDS, "gavrikov2022"} <= set(catalog_names())


@pytest.mark.parametrize("name", [*LEADERBOARDS, "gavrikov2022"])
def test_every_row_says_what_it_is(name: str) -> None:
    catalog = load_catalog(name)
    for entry in catalog:
        assert entry.robust is not None
        assert entry.dataset
        assert entry.architecture
        assert (entry.eps is None) == (entry.threat_model == "corruptions"), entry.model_id
        assert bool(entry.match) == bool(entry.match_rule)
        scheme = entry.source.split(":")[0]
        assert scheme == "robustbench" or (scheme in {"zenodo", "timm"} and entry.robust is False)
        if scheme == "robustbench":
            dataset, threat_model, model = entry.source.removeprefix("robustbench:").split("/")
            assert (dataset, threat_model) == (entry.dataset, entry.threat_model)
            assert entry.model_id.endswith(model)


@pytest.mark.parametrize("name", [*LEADERBOARDS, "gavrikov2022"])
def test_pairs_share_data_set_and_architecture_and_every_normal_model_is_used(name: str) -> None:
    catalog = load_catalog(name)
    for pair in catalog.pairs():
        assert pair.normal.robust is False
        assert pair.robust.dataset == pair.normal.dataset
        if pair.robust.match_rule == "architecture":
            assert pair.robust.architecture == pair.normal.architecture
    used = {pair.normal.model_id for pair in catalog.pairs()}
    added = {e.model_id for e in catalog if not e.source.startswith("robustbench:")}
    assert added <= used


def test_the_paper_s_pairs_are_all_there() -> None:
    pairs = load_catalog("gavrikov2022").pairs()
    assert Counter(pair.robust.dataset for pair in pairs) == {"cifar10": 49, "cifar100": 17, "imagenet": 5}
    normals = {(pair.normal.dataset, pair.normal.source) for pair in pairs}
    assert Counter(dataset for dataset, _ in normals) == {"cifar10": 29, "cifar100": 11, "imagenet": 3}


def test_a_known_row_reads_as_the_leaderboard_has_it() -> None:
    entry = load_catalog("cifar10-linf")["Wong2020Fast"]
    assert entry.source == "robustbench:cifar10/Linf/Wong2020Fast"
    assert entry.eps == 8 / 255
    assert entry.architecture == "PreActResNet-18"
    assert (entry.match, entry.match_rule) == ("Wong2020Fast_normal", "exact")
    assert load_catalog("cifar10-linf")["Wong2020Fast_normal"].source == "zenodo:7097538/cifar10/Wong2020Fast"


def test_every_timm_model_that_is_named_has_weights() -> None:
    timm = pytest.importorskip("timm")
    named = {
        entry.source.removeprefix("timm:")
        for name in LEADERBOARDS
        for entry in load_catalog(name)
        if entry.source.startswith("timm:")
    }
    assert named
    assert named <= set(timm.list_pretrained())


def test_normal_models_are_of_architectures_that_robustbench_can_build() -> None:
    for name in ("cifar10-linf", "cifar10-l2", "cifar10-corruptions", "cifar100-linf", "cifar100-corruptions"):
        for entry in load_catalog(name):
            if entry.source.startswith("zenodo:7097538/"):
                assert entry.source.rsplit("/", 1)[1] in zoo(f"{entry.dataset}-linf")


def test_the_timm_catalog_lists_pretrained_tags_with_their_own_normalisation_and_image_size() -> None:
    timm = pytest.importorskip("timm")
    catalog = load_catalog("timm-imagenet")
    assert len(catalog) > 1000
    assert {entry.model_id for entry in catalog} <= set(timm.list_pretrained())
    for entry in catalog:
        cfg = timm.models.get_pretrained_cfg(entry.model_id)
        assert entry.source == f"timm:{entry.model_id}"
        assert (entry.mean, entry.std, entry.input_size) == (cfg.mean, cfg.std, cfg.input_size[1]), entry.model_id
        assert entry.licence.lower() == {None: "", "other": ""}.get(cfg.license, cfg.license)
        assert entry.params_million
        assert None not in (entry.clean_acc, entry.real_acc, entry.v2_acc, entry.r_acc, entry.sketch_acc)
    assert [entry.model_id for entry in catalog if entry.a_acc is None] == ["resnet50.tv_in1k"]  # not published


def test_twins_of_timm_are_one_architecture_at_one_image_size_and_say_what_differs() -> None:
    catalog = load_catalog("timm-imagenet")
    assert (len(catalog.pairs()), len(catalog.twins()), len(catalog.unmatched())) == (11, 97, 0)
    for entry in catalog:
        assert bool(entry.match) == bool(entry.differs) == bool(entry.match_rule)
        if entry.match:
            twin = catalog[entry.match]
            assert (twin.architecture, twin.input_size) == (entry.architecture, entry.input_size)
            assert entry.robust == ("adversarial" in entry.differs)
            assert not twin.robust
    assert catalog["vit_base_patch16_224.augreg_in21k_ft_in1k"].match == "vit_base_patch16_224.augreg_in1k"


def test_the_timm_catalog_is_small_and_read_in_a_moment() -> None:
    path = shipped_folder() / "timm-imagenet.csv"
    assert path.stat().st_size < 256 << 10
    start = time.process_time()
    load_catalog("timm-imagenet")
    assert time.process_time() - start < 0.5
