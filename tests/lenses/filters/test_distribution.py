from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from filterlens.catalogs import Entry
from filterlens.dumps import DumpReader, DumpWriter, open_lens
from filterlens.errors import DumpError, LensSkipped
from filterlens.lens import PoolContext, PooledModel
from filterlens.lenses.filters import distribution
from filterlens.lenses.filters.analyzer import analyze
from filterlens.lenses.filters.distribution import pool
from filterlens.lenses.filters.moments import shift
from filterlens.score import DEPTH_GROUPS, depth_group

Array = NDArray[Any]


def weight(seed: int, *shape: int) -> np.ndarray:
    found = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    found.reshape(-1, shape[2] * shape[3])[::5] *= 1e-3
    return found


def scaled(array: np.ndarray) -> torch.Tensor:
    rows = torch.from_numpy(array).flatten(2).flatten(0, 1)
    maxima = rows.abs().amax(dim=1)
    kept = maxima > 0.01 * maxima.max()
    return rows[kept] / maxima[kept, None]


def dump(folder: Path, model_id: str, layers: dict[str, Array], **entry: Any) -> tuple[Entry, Path]:
    path = folder / f"{model_id}.h5"
    with DumpWriter(path, {"model_id": model_id}) as writer:
        group = writer.lens("filters", {})
        for place, (name, array) in enumerate(layers.items()):
            group.write(name, array, conv_depth=place, conv_depth_norm=place / max(1, len(layers) - 1))
    return Entry(model_id=model_id, source="x", **entry), path


def models(dumps: list[tuple[Entry, Path]]) -> list[PooledModel]:
    found = []
    for entry, path in dumps:
        with DumpReader(path) as reader:
            _, summary = analyze(reader.lens("filters"))
        found.append(PooledModel(entry=entry, group=partial(open_lens, path, "filters"), summary=summary))
    return found


def pooled(folder: Path, dumps: list[tuple[Entry, Path]]) -> DumpReader:
    path = folder / "pooled.h5"
    with DumpWriter(path, {}) as writer:
        pool(PoolContext(models=models(dumps), group=writer.lens("filters", {}), each=map))
    return DumpReader(path)


@pytest.fixture
def dumps(tmp_path: Path) -> tuple[list[tuple[Entry, Path]], tuple[dict[str, Array], ...]]:
    robust = {"stem": weight(1, 8, 3, 7, 7), "a": weight(2, 12, 8, 3, 3), "b/c": weight(3, 16, 12, 3, 3) ** 3}
    normal = {"stem": weight(4, 8, 3, 7, 7), "a": weight(5, 12, 8, 3, 3), "b/c": weight(6, 16, 12, 3, 3)}
    return [
        dump(tmp_path, "r", robust, dataset="cifar10", robust=True, match="n"),
        dump(tmp_path, "n", normal, dataset="cifar10", robust=False),
    ], (robust, normal)


def test_a_run_is_pooled_as_the_layout_says(
    tmp_path: Path, dumps: tuple[list[tuple[Entry, Path]], tuple[dict[str, Array], ...]]
) -> None:
    with pooled(tmp_path, dumps[0]) as reader:
        group = reader.lens("filters")
        said = group.attributes
        assert (said["kernel"], said["n_components"], said["bins"], said["fine_bins"]) == ("3x3", 9, 70, 700)
        models = json.loads(group.read("models").tobytes())
        assert [(m["model_id"], m["dataset"], m["robust"]) for m in models] == [
            ("r", "cifar10", True),
            ("n", "cifar10", False),
        ]
        assert json.loads(group.read("depths").tobytes()) == list(DEPTH_GROUPS)
        n_groups = len(json.loads(group.read("groups").tobytes()))
        shapes = {name: group.shape(name) for name in group.names()}
        assert {name: shapes[name] for name in shapes if name not in {"models", "groups", "datasets", "depths"}} == {
            "means": (n_groups, 9),
            "bases": (n_groups, 9, 9),
            "explained_variance_ratio": (n_groups, 9),
            "histograms": (n_groups, 9, 700),
            "edges": (701,),
            "shift": (1,),
            "shift_components": (1, 9),
            "shift_counts": (1, 2),
            "shift_null": (1, 19),
            "shift_depths": (1, 11),
            "shift_depths_null": (1, 19, 11),
            "shift_depth_counts": (1, 11, 2),
            "shift_models": (2, 2),
        }
        for name in shapes:
            assert f"`{name}`" in str(distribution.__doc__)
        assert json.loads(group.attributes_of("shift")["paired"]) == [True]


def test_only_3x3_filters_that_are_not_sparse_take_part_scaled(
    tmp_path: Path, dumps: tuple[list[tuple[Entry, Path]], tuple[dict[str, Array], ...]]
) -> None:
    robust, normal = dumps[1]
    sides = [torch.cat([scaled(layers["a"]), scaled(layers["b/c"])]) for layers in (robust, normal)]
    with pooled(tmp_path, dumps[0]) as reader:
        group = reader.lens("filters")
        assert group.read("shift_counts").tolist() == [[len(side) for side in sides]]
        assert group.read("shift")[0] == pytest.approx(shift(*sides), rel=1e-4)
        last = shift(scaled(robust["b/c"]), scaled(normal["b/c"]))
        assert group.read("shift_depths")[0, 10] == pytest.approx(last, rel=1e-4)


def test_without_3x3_the_most_common_kernel_takes_part(tmp_path: Path) -> None:
    layers = {"stem": weight(1, 8, 3, 7, 7), "a": weight(2, 12, 8, 5, 5), "b": weight(3, 12, 8, 5, 5)}
    with pooled(tmp_path, [dump(tmp_path, "m", layers, robust=True)]) as reader:
        assert reader.lens("filters").attributes["kernel"] == "5x5"
        assert reader.lens("filters").shape("bases") == (6, 25, 25)


def test_layers_with_nan_and_of_zeros_take_no_part(tmp_path: Path) -> None:
    broken = weight(1, 8, 3, 3, 3)
    broken[5, 2, 1, 1] = np.nan
    layers = {"broken": broken, "zero": np.zeros((4, 4, 3, 3), np.float32), "a": weight(2, 12, 8, 3, 3)}
    with pooled(tmp_path, [dump(tmp_path, "m", layers, robust=True)]) as reader:
        models = json.loads(reader.lens("filters").read("models").tobytes())
    assert models[0]["n_filters"] == len(scaled(layers["a"]))


def test_a_run_without_filters_is_skipped(tmp_path: Path) -> None:
    with pytest.raises(LensSkipped, match="no dump holds convolution filters"), pooled(tmp_path, []):
        pass
    assert not (tmp_path / "pooled.h5").exists()


def test_what_is_kept_of_a_model_that_is_damaged_is_told(
    tmp_path: Path, dumps: tuple[list[tuple[Entry, Path]], tuple[dict[str, Array], ...]]
) -> None:
    (model, _) = models(dumps[0])
    for damaged in ([[0.0, 3.0]], [[0.0, *[math.nan] * 91]], [[17.0, *[1.0] * 91]], [[0.0, -1.0, *[1.0] * 90]]):
        broken = replace(model, summary={"3x3": np.array(damaged)})
        with (
            pytest.raises(DumpError, match="is damaged: run `filterlens analyze` again"),
            DumpWriter(tmp_path / "p.h5", {}) as writer,
        ):
            pool(PoolContext(models=[broken], group=writer.lens("filters", {}), each=map))


@pytest.mark.parametrize(
    ("depth", "norm", "label"),
    [(0, 0, "0"), (1, 0.05, "(0.0, 0.1]"), (1, 0.1, "(0.0, 0.1]"), (7, 7 / 10, "(0.6, 0.7]"), (9, 1, "(0.9, 1.0]")],
)
def test_depth_groups_are_closed_on_the_right(depth: int, norm: float, label: str) -> None:
    assert DEPTH_GROUPS[depth_group(depth, norm)] == label


@pytest.mark.parametrize("n", range(1, 200))
def test_depths_fall_where_exact_arithmetic_puts_them(n: int) -> None:
    for depth in range(1, n + 1):
        assert depth_group(depth, depth / n) == -(-10 * depth // n)


def test_unknown_depth_belongs_nowhere() -> None:
    assert depth_group(-1, float("nan")) == -1
