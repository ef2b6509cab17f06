"""Which weight matrices are found, and what a dump of them holds."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from extracting import context
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import filterlens
from filterlens.catalogs import Entry
from filterlens.dumps import DumpGroup, DumpReader, DumpWriter
from filterlens.errors import CheckpointError, DumpError, InputError, LensSkipped
from filterlens.lenses.spectra.analyzer import analyze, matrix_rows
from filterlens.lenses.spectra.extractor import extract
from filterlens.lenses.spectra.options import SpectraOptions
from filterlens.loaders.model import Classifier, LoadedModel
from filterlens.tracing.matrices import network_matrices, weight_matrices


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.randn(1, 9, 12))
        self.token = nn.Parameter(torch.randn(1, 1, 12))
        self.stem = nn.Conv2d(3, 12, 4, stride=4)
        self.depthwise = nn.Conv2d(12, 12, 3, groups=12)
        self.up = nn.ConvTranspose2d(12, 6, 3, groups=2)
        self.attention = nn.MultiheadAttention(12, 3)
        self.qkv = nn.Linear(12, 36)
        self.words = nn.Embedding(50, 12)
        self.norm = nn.LayerNorm(12)
        self.one = nn.Linear(12, 1)


def singular(matrix: Tensor) -> NDArray[np.float64]:
    return np.linalg.svd(matrix.detach().double().numpy(), compute_uv=False)


def dumped(folder: Path, network: nn.Module | None, weights: dict[str, Tensor] | None = None) -> DumpGroup:
    model = LoadedModel(
        model_id="m",
        source="m.pt",
        sha256="",
        weights=weights if weights is not None else network.state_dict(),  # type: ignore[union-attr]
        classifier=None if network is None else Classifier(network).eval(),
    )
    with DumpWriter(folder / "m.h5", {"model_id": "m"}) as writer:
        group = writer.lens("spectra", {})
        extract(context(model, Entry(model_id="m", source="m.pt"), None, SpectraOptions(), group))
    return DumpReader(folder / "m.h5").lens("spectra")


KINDS = {
    "position": "embedding",
    "stem": "conv",
    "depthwise": "conv",
    "up": "conv",
    "attention.in_proj_weight.query": "query",
    "attention.in_proj_weight.key": "key",
    "attention.in_proj_weight.value": "value",
    "attention.out_proj": "linear",
    "qkv.query": "query",
    "qkv.key": "key",
    "qkv.value": "value",
    "words": "embedding",
    "one": "linear",
}


def test_every_matrix_of_a_network_is_found_and_named() -> None:
    network = Net()
    network.position.data  # noqa: B018
    found = {matrix.name: matrix.kind for matrix in network_matrices(network)}
    assert found == KINDS | {"position": "matrix"}


def test_fused_projections_share_a_place_and_are_cut_in_order(tmp_path: Path) -> None:
    network = Net()
    group = dumped(tmp_path, network)
    for i, part in enumerate(("query", "key", "value")):
        rows = slice(12 * i, 12 * i + 12)
        np.testing.assert_allclose(group.read(f"qkv.{part}"), singular(network.qkv.weight[rows]), atol=1e-6)
        fused = network.attention.in_proj_weight
        np.testing.assert_allclose(group.read(f"attention.in_proj_weight.{part}"), singular(fused[rows]), atol=1e-6)
    places = {group.attributes_of(f"qkv.{part}")["conv_depth"] for part in ("query", "key", "value")}
    assert len(places) == 1
    depths = [group.attributes_of(name)["conv_depth_norm"] for name in group.names()]
    assert depths == sorted(depths)
    assert (depths[0], depths[-1]) == (0, 1)


def test_convolutions_are_unrolled_by_outputs(tmp_path: Path) -> None:
    network = Net()
    group = dumped(tmp_path, network)
    np.testing.assert_allclose(group.read("stem"), singular(network.stem.weight.flatten(1)), atol=1e-6)
    assert group.attributes_of("stem")["operator_norm"] == pytest.approx(group.read("stem")[0])  # disjoint patches
    np.testing.assert_allclose(group.read("depthwise"), singular(network.depthwise.weight.flatten(1)), atol=1e-6)
    up = network.up.weight.detach()  # (in, out / groups, 3, 3): each group's inputs and outputs change places
    turned = torch.cat([half.transpose(0, 1) for half in up.chunk(2)])
    np.testing.assert_allclose(group.read("up"), singular(turned.flatten(1)), atol=1e-6)


def test_bare_weights_give_the_same_spectra(tmp_path: Path) -> None:
    network = Net()
    names = [name for name in KINDS if name not in {"position", "up"}]
    with_network = dumped(tmp_path, network)
    (tmp_path / "bare").mkdir()
    bare = dumped(tmp_path / "bare", None, dict(network.state_dict()))
    assert set(bare.names()) == {*names, "up"}
    for name in names:
        np.testing.assert_array_equal(bare.read(name), with_network.read(name))


def test_language_models_matrices_are_found_in_a_bare_state_dict() -> None:
    weights = {
        "wte.weight": torch.randn(60, 8),
        "wpe.weight": torch.randn(10, 8),
        "h.0.ln_1.weight": torch.ones(8),
        "h.0.attn.bias": torch.ones(1, 1, 10, 10),
        "h.0.attn.c_attn.weight": torch.randn(8, 24),  # GPT-2 keeps (in, out)
        "h.0.attn.c_attn.quantised_weight": torch.ones(8, 24, dtype=torch.int8),
        "h.0.mlp.c_fc.weight": torch.randn(8, 32),
        "model.embed_tokens.weight": torch.randn(60, 8).bfloat16(),
    }
    found = {matrix.name: matrix for matrix in weight_matrices(weights)}
    assert {name: matrix.kind for name, matrix in found.items()} == {
        "wte": "embedding",
        "wpe": "embedding",
        "h.0.attn.c_attn.query": "query",
        "h.0.attn.c_attn.key": "key",
        "h.0.attn.c_attn.value": "value",
        "h.0.mlp.c_fc": "linear",
        "model.embed_tokens": "embedding",
    }
    torch.testing.assert_close(found["h.0.attn.c_attn.key"].tensor(), weights["h.0.attn.c_attn.weight"][:, 8:16])


def test_heads_that_keep_their_three_together_are_put_apart() -> None:
    class Attention(nn.Module):
        head_first, num_heads = True, 2

        def __init__(self) -> None:
            super().__init__()
            self.qkv = nn.Conv2d(8, 24, 1)

    network = Attention()
    weight = network.qkv.weight.detach().reshape(2, 3, 4, 8)  # heads, q k v, rows of a head
    for i, matrix in enumerate(network_matrices(network)):
        torch.testing.assert_close(matrix.tensor(), weight[:, i].reshape(8, 8))


def test_parametrised_weights_are_taken_as_the_layer_uses_them(tmp_path: Path) -> None:
    network = nn.Sequential(parametrizations.spectral_norm(nn.Linear(6, 5), n_power_iterations=100)).eval()
    group = dumped(tmp_path, network)
    assert group.names() == ["0"]
    assert group.read("0")[0] == pytest.approx(1, rel=1e-3)


def test_shared_weights_are_listed_once() -> None:
    network = nn.Sequential(nn.Embedding(20, 6), nn.Linear(6, 20, bias=False))
    network[1].weight = network[0].weight
    assert [matrix.name for matrix in network_matrices(network)] == ["0"]


def test_a_network_is_left_as_it_was(tmp_path: Path) -> None:
    network = Net().train()
    before = copy.deepcopy(network.state_dict())
    filterlens.measure(network, lens="spectra")
    assert network.training
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_measure_gives_what_an_audit_gives(tmp_path: Path) -> None:
    network = Net()
    rows = {(str(row["layer"]), str(row["metric"])): row["value"] for row in analyze(dumped(tmp_path, network))}
    table = filterlens.measure(network, lens="spectra", auxiliary=True).set_index("layer")
    for (layer, metric), value in rows.items():
        assert table[metric][layer] == pytest.approx(value, nan_ok=True)


def test_a_layer_that_is_not_finite_has_no_score_and_says_so(tmp_path: Path) -> None:
    weights = {"a.weight": torch.randn(4, 5), "b.weight": torch.full((4, 3, 3, 3), math.inf)}
    rows = analyze(dumped(tmp_path, None, weights))
    assert all(math.isnan(float(str(r["value"]))) and r["weight"] == 0 for r in rows if r["layer"] == "b")
    assert {str(r["note"]).split(";")[0] for r in rows if r["layer"] == "b"} == {"skipped: holds NaN or Inf"}
    assert not any(
        math.isnan(float(str(r["value"]))) for r in rows if r["layer"] == "a" and "power" not in str(r["metric"])
    )


def test_what_holds_no_matrix_is_skipped(tmp_path: Path) -> None:
    with pytest.raises(LensSkipped, match="m holds no weight matrix of floating-point numbers"):
        dumped(tmp_path, None, {"norm.weight": torch.ones(3), "index.weight": torch.ones(3, 3, dtype=torch.int64)})
    with pytest.raises(LensSkipped, match="ReLU holds no weight matrix"):
        filterlens.measure(nn.ReLU(), lens="spectra")


def test_a_matrix_beyond_the_limit_is_named_and_not_decomposed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("filterlens.lenses.spectra.extractor._LARGEST", 10)
    rows = analyze(dumped(tmp_path, None, {"a.weight": torch.randn(11, 12), "b.weight": torch.randn(9, 12)}))
    said = {str(row["layer"]): str(row["note"]) for row in rows}
    assert said["a"].startswith("skipped: too large to decompose")
    assert "skipped" not in said["b"]


@pytest.mark.parametrize(
    ("values", "attributes", "message"),
    [
        (np.ones(3), {"rows": 4, "columns": 5}, r"its \(3,\) singular values are not those of a 4 x 5 matrix"),
        (np.ones((4, 1)), {"rows": 4, "columns": 5}, "singular values are not those"),
        (np.ones(4), {"rows": "four", "columns": 5}, "its rows was expected to be a number, got 'four': extract again"),
    ],
)
def test_a_dump_of_another_shape_is_refused(values: NDArray[Any], attributes: dict[str, Any], message: str) -> None:
    with pytest.raises(DumpError, match=message):
        matrix_rows("a", values, attributes)


@pytest.mark.parametrize("given", [{"operator_frequencies": 0}, {"operator_gflop": -1.0}])
def test_options_out_of_range_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"expected .*, got"):
        SpectraOptions(**given)


def test_more_matrices_than_any_network_has_are_refused_at_once() -> None:
    weights = {f"layer{number}.weight": torch.zeros(2, 2) for number in range(10_001)}
    with pytest.raises(CheckpointError, match="10,001 layers of weights: at most 10,000"):
        weight_matrices(weights)
    network = nn.Sequential(*(nn.Linear(1, 1, bias=False) for _ in range(10_001)))
    with pytest.raises(CheckpointError, match="10,001 layers of weights: at most 10,000"):
        network_matrices(network)
