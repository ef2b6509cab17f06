from __future__ import annotations

import csv
import math
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from filterlens.dumps import DumpReader, DumpWriter
from filterlens.errors import InputError, NonFiniteWeightError
from filterlens.lens import all_scores, score_rows
from filterlens.lenses.filters.analyzer import analyze, score_layer
from filterlens.lenses.filters.conventions import CONVENTIONS, Convention
from filterlens.lenses.filters.layer import Layer
from filterlens.lenses.filters.orthogonality import orthogonality
from filterlens.lenses.filters.sparsity import sparsity
from filterlens.lenses.filters.variance_entropy import (
    variance_entropy,
    variance_entropy_raw,
    variance_entropy_raw_normalized,
)
from filterlens.score import as_table, model_scores

METRICS = (
    "sparsity",
    "variance_entropy",
    "variance_entropy_raw",
    "variance_entropy_raw_normalized",
    "orthogonality",
    "sparsity_z",
    "variance_entropy_z",
    "orthogonality_z",
)


def layer(seed: int, *shape: int) -> torch.Tensor:
    """Return a layer in which every third filter is small and some are zero."""
    weight = torch.randn(*(shape or (8, 6, 3, 3)), generator=torch.Generator().manual_seed(seed))
    filters = weight.view(-1, weight.shape[2] * weight.shape[3])
    filters[::3] *= 1e-3
    filters[::11] = 0
    return weight


def plain(scores: dict[str, float]) -> dict[str, float]:
    """Return the scores less the z-scores, which blow the last digits up."""
    return {metric: value for metric, value in scores.items() if not metric.endswith("_z")}


@pytest.mark.parametrize("shape", [(8, 6, 3, 3), (12, 1, 3, 3), (1, 9, 3, 3), (6, 3, 7, 7), (150, 120, 3, 3)])
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_all_scores_in_one_go_are_those_of_the_single_functions(shape: tuple[int, ...], convention: Convention) -> None:
    weight = layer(1, *shape)
    scores = score_layer(weight, convention=convention)
    assert scores["sparsity"] == pytest.approx(sparsity(weight, convention=convention), abs=1e-12)
    assert scores["variance_entropy"] == variance_entropy(weight, convention=convention)
    assert scores["variance_entropy_raw"] == variance_entropy_raw(weight, convention=convention)
    assert scores["orthogonality"] == pytest.approx(orthogonality(weight), nan_ok=True)
    if shape[2:] == (3, 3):
        assert scores["variance_entropy_raw_normalized"] == variance_entropy_raw_normalized(
            weight, convention=convention
        )
    else:
        assert "variance_entropy_raw_normalized" not in scores


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_precision_is_scored_as_its_values_in_float32(dtype: torch.dtype) -> None:
    weight = layer(2).to(dtype)
    found, expected = plain(score_layer(weight)), plain(score_layer(weight.float()))
    assert found == pytest.approx(expected, abs=1e-5)


def test_strided_weights_score_as_contiguous_ones() -> None:
    weight = layer(3)
    strided = weight.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0)
    assert score_layer(strided) == score_layer(weight)


def test_one_thread_and_two_agree() -> None:
    weight = layer(4, 300, 70, 3, 3)
    threads = torch.get_num_threads()
    found = []
    try:
        for n in (1, 2):
            torch.set_num_threads(n)
            found.append(plain(score_layer(weight)))
    finally:
        torch.set_num_threads(threads)
    assert found[0] == pytest.approx(found[1], abs=1e-6)


@pytest.mark.gpu
def test_the_gpu_gives_the_same_scores() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    weight = layer(4, 300, 70, 3, 3)
    assert plain(score_layer(weight.cuda())) == pytest.approx(plain(score_layer(weight)), abs=1e-5)


def test_a_layer_with_nan_has_no_scores() -> None:
    weight = layer(0)
    weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(NonFiniteWeightError, match="holds NaN or Inf"):
        score_layer(weight)


def test_a_matrix_is_no_layer() -> None:
    with pytest.raises(InputError, match="c_out, c_in / groups, k_h, k_w"):
        score_layer(torch.zeros(3, 3))


def test_scores_count_as_the_paper_weighs_them() -> None:
    measured = Layer(layer(5))
    weights = {str(row["metric"]): row["weight"] for row in score_rows("filters", measured)}
    assert weights["sparsity"] == weights["variance_entropy_raw"] == 48
    assert weights["variance_entropy"] == measured.n_kept == 48 - measured.n_sparse < 48
    assert weights["orthogonality"] == 8


def dump(path: Path, layers: dict[str, torch.Tensor], **attributes: Any) -> Path:
    with DumpWriter(path, {"model_id": "m"}) as writer:
        group = writer.lens("filters", {"kernel": "all"})
        for place, (name, weight) in enumerate(layers.items()):
            own = {"conv_depth": place, "conv_depth_norm": place / max(1, len(layers) - 1), "groups": 1}
            group.write(name, weight.numpy(), stride=np.array([1, 1]), **(own | attributes))
    return path


def rows_of(path: Path) -> pd.DataFrame:
    with DumpReader(path) as reader:
        return as_table([{"model_id": "m", "lens": "filters", **row} for row in analyze(reader.lens("filters"))[0]])


def test_a_dump_becomes_one_row_a_layer_and_score(tmp_path: Path) -> None:
    layers = {"conv1": layer(1), "block/conv2": layer(2, 16, 8, 3, 3)}
    df = rows_of(dump(tmp_path / "m.h5", layers))
    assert list(df["metric"]) == [*METRICS, *METRICS]
    assert set(df["kind"]) == {"3x3"}
    assert set(df["note"]) == {""}
    for name, weight in layers.items():
        scores = score_layer(weight)
        own = df[df["layer"] == name].set_index("metric")
        for metric in METRICS:
            assert own.loc[metric, "value"] == scores[metric]
    assert df[df["layer"] == "block/conv2"]["conv_depth_norm"].unique().tolist() == [1.0]


def test_a_models_means_are_weighed_by_filters_and_channels(tmp_path: Path) -> None:
    layers = {"a": layer(1), "b": layer(2, 16, 8, 3, 3)}
    first, second = (score_layer(weight) for weight in layers.values())
    one, two = (Layer(weight) for weight in layers.values())
    means = model_scores(rows_of(dump(tmp_path / "m.h5", layers))).loc["m"]
    sparse = one.n_sparse + two.n_sparse
    assert means["sparsity"] == pytest.approx(sparse / (48 + 128))
    assert means["orthogonality"] == pytest.approx((8 * first["orthogonality"] + 16 * second["orthogonality"]) / 24)
    entropy = one.n_kept * first["variance_entropy"] + two.n_kept * second["variance_entropy"]
    assert means["variance_entropy"] == pytest.approx(entropy / (one.n_kept + two.n_kept))


def test_other_kernels_do_not_enter_the_means_beside_3x3(tmp_path: Path) -> None:
    df = rows_of(dump(tmp_path / "m.h5", {"stem": layer(1, 8, 3, 7, 7), "conv": layer(2)}))
    stem = df[df["layer"] == "stem"]
    assert set(stem["kind"]) == {"7x7"}
    assert "variance_entropy_raw_normalized" not in set(stem["metric"])
    assert (stem["weight"] == 0).all()
    assert stem["value"].notna().all()
    assert (df[df["layer"] == "conv"]["weight"] > 0).all()


def test_a_model_without_3x3_has_means_over_its_most_frequent_kernel_alone(tmp_path: Path) -> None:
    layers = {"stem": layer(1, 8, 3, 7, 7), "a": layer(2, 4, 8, 5, 5), "b": layer(3, 4, 8, 5, 5)}
    df = rows_of(dump(tmp_path / "m.h5", layers))
    assert (df["weight"] > 0).tolist() == (df["kind"] == "5x5").tolist()
    assert df["value"].notna().all()
    assert df["note"].str.contains("means are of 5x5 filters, not 3x3", regex=False).all()


def test_each_kernel_size_has_its_own_chance_level(tmp_path: Path) -> None:
    """Patch embeddings, depth-wise 7x7 and 2x2 filters drawn at random score like chance of their own size."""
    shapes = {"stem": (96, 3, 4, 4), "down": (64, 32, 2, 2), "wide": (96, 4, 7, 7), "patch": (64, 3, 16, 16)}
    generator = torch.Generator().manual_seed(0)
    layers = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    df = rows_of(dump(tmp_path / "m.h5", layers))
    z = df[df["metric"].str.endswith("_z")]
    assert len(z) == 3 * len(shapes)
    assert (z["value"].abs() < 5).all()


def test_a_broken_layer_is_skipped_and_poisons_nothing(tmp_path: Path) -> None:
    broken = layer(1)
    broken[0, 0, 0, 0] = float("inf")
    df = rows_of(dump(tmp_path / "m.h5", {"broken": broken, "conv": layer(2)}))
    rows = df[df["layer"] == "broken"]
    assert rows["value"].isna().all()
    assert (rows["weight"] == 0).all()
    assert set(rows["note"]) == {"skipped: holds NaN or Inf"}
    assert model_scores(df).loc["m", "sparsity"] == score_layer(layer(2))["sparsity"]


def test_a_layer_of_one_channel_has_no_orthogonality_but_all_else(tmp_path: Path) -> None:
    df = rows_of(dump(tmp_path / "m.h5", {"conv": layer(1, 1, 30, 3, 3)})).set_index("metric")
    assert math.isnan(df["value"]["orthogonality"])
    assert df.loc["orthogonality", "weight"] == 0
    assert df.loc["sparsity", "weight"] == 30


def test_rows_say_where_depth_came_from_and_that_batchnorm_is_folded(tmp_path: Path) -> None:
    df = rows_of(dump(tmp_path / "m.h5", {"conv": layer(1)}, depth_from="keys", folded=True))
    assert set(df["note"]) == {"depth is the order of the state dict's keys; BatchNorm is folded into the weights"}


def test_unknown_depth_is_nan(tmp_path: Path) -> None:
    df = rows_of(dump(tmp_path / "m.h5", {"conv": layer(1)}, conv_depth=-1, conv_depth_norm=float("nan")))
    assert df["conv_depth"].isna().all()


def test_an_array_that_is_no_weight_is_skipped_with_its_reason(tmp_path: Path) -> None:
    df = rows_of(dump(tmp_path / "m.h5", {"odd": torch.zeros(3, 3), "conv": layer(2)}))
    odd = df[df["layer"] == "odd"]
    assert odd["value"].isna().all()
    assert odd["note"].str.startswith("skipped: a convolution's weight has shape").all()


def test_every_metric_is_described() -> None:
    known = all_scores()
    assert {known[metric].lens for metric in METRICS} == {"filters"}
    assert {name for name, score in known.items() if score.lens == "filters"} == set(METRICS)


def torchconvquality() -> Any:
    if sys.version_info >= (3, 12):
        pytest.skip("torchconvquality imports distutils, which Python 3.12 no longer has")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("torchconvquality")


def check_against_peer(weight: torch.Tensor) -> None:
    theirs = torchconvquality().measure_conv_weight_quality(weight.clone())
    ours = score_layer(weight, convention="torchconvquality")
    assert ours["sparsity"] == pytest.approx(theirs["sparsity"], abs=1e-5)
    assert ours["variance_entropy"] == pytest.approx(theirs["variance_entropy"], abs=1e-5)
    assert ours["variance_entropy_raw"] == pytest.approx(theirs["variance_entropy"], abs=1e-5)
    assert ours["variance_entropy_raw_normalized"] == pytest.approx(theirs["variance_entropy_norm"], abs=1e-5)
    assert ours["orthogonality"] == pytest.approx(theirs["orthogonality"], abs=1e-5)


@pytest.mark.parametrize("shape", [(16, 3, 3, 3), (32, 16, 3, 3), (24, 1, 3, 3), (256, 160, 3, 3)])
@pytest.mark.parametrize("offset", [0.0, 0.3])
def test_random_layers_score_as_in_torchconvquality(shape: tuple[int, ...], offset: float) -> None:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(9)) + offset
    weight[::5] *= 1e-3
    check_against_peer(weight)


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    found = torch.load(path, weights_only=True, map_location="cpu")
    found = found.get("state_dict", found)
    return {
        key.removeprefix("module.").removesuffix(".weight"): value for key, value in found.items() if value.ndim == 4
    }


NETWORKS = [("resnet20-normal", "resnet20-normal.th"), ("resnet20-robust", "resnet20-robust.pt")]


@pytest.mark.realdata
@pytest.mark.parametrize("file", [file for _, file in NETWORKS])
def test_trained_layers_score_as_in_torchconvquality(realdata: Path, file: str) -> None:
    for weight in weights_of(realdata / file).values():
        if weight.shape[2:] == (3, 3):
            check_against_peer(weight)


@pytest.mark.realdata
@pytest.mark.parametrize(("name", "file"), NETWORKS)
def test_trained_layers_have_the_reference_scores(realdata: Path, reference: Path, name: str, file: str) -> None:
    weights = weights_of(realdata / file)
    with (reference / f"{name}_filters.csv").open() as text:
        expected = list(csv.DictReader(text))
    assert len(expected) == 19
    for row in expected:
        scores = score_layer(weights[row["layer"]])
        for metric in METRICS[:5]:
            assert scores[metric] == pytest.approx(float(row[metric]), abs=1e-6)


@pytest.mark.realdata
def test_the_layers_of_the_vnncomp_network_have_the_reference_scores(realdata: Path, reference: Path) -> None:
    weights = [w for w in weights_of(realdata / "resnet2b-robust.pth").values() if w.shape[2:] == (3, 3)]
    with (reference / "resnet2b-robust_filters.csv").open() as text:
        expected = list(csv.DictReader(text))
    assert len(expected) == len(weights) == 5
    for row, weight in zip(expected, weights, strict=True):
        scores = score_layer(weight)
        for metric in METRICS[:5]:
            assert scores[metric] == pytest.approx(float(row[metric]), abs=1e-6)
