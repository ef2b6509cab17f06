"""The audit of real, trained networks gives the values that independent code computed straight from the formulas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from filterlens.catalogs import load_catalog
from filterlens.commands.audit import choose_lenses
from filterlens.lens import RunSettings
from filterlens.runs import analyze, extract

METRICS = ("sparsity", "variance_entropy", "variance_entropy_raw", "variance_entropy_raw_normalized", "orthogonality")
NETWORKS = ("resnet20-robust", "resnet20-normal", "resnet2b-robust")

pytestmark = pytest.mark.realdata


@pytest.fixture(scope="module")
def filter_scores(realdata: Path, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    folder = tmp_path_factory.mktemp("realdata")
    outcome = extract(load_catalog(realdata / "catalog.csv"), folder)
    assert outcome.count("ok") == 6, outcome.rows
    return analyze(folder)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("form", ["", "-weights"], ids=["onnx", "weights"])
def test_every_layers_scores_are_the_reference(
    filter_scores: pd.DataFrame, reference: Path, network: str, form: str
) -> None:
    expected = pd.read_csv(reference / f"{network}_filters.csv")
    mine = filter_scores[filter_scores["model_id"] == network + form]
    for metric in METRICS:
        rows = mine[mine["metric"] == metric].sort_values("conv_depth", kind="stable")
        if form == "" or "resnet20" in network:
            rows = rows.set_index("layer").loc[expected["layer"]]
        np.testing.assert_allclose(np.sort(rows["value"]), np.sort(expected[metric]), rtol=0, atol=1e-5, err_msg=metric)
        if form == "" or "resnet20" in network:
            np.testing.assert_allclose(rows["value"], expected[metric], rtol=0, atol=1e-5, err_msg=metric)


def test_depth_comes_from_the_graph_where_there_is_one(filter_scores: pd.DataFrame) -> None:
    rows = filter_scores[(filter_scores["model_id"] == "resnet20-robust") & (filter_scores["metric"] == "sparsity")]
    depth = rows.set_index("layer")["conv_depth"]
    assert depth["conv1"] == 0
    assert depth["layer1.0.conv1"] == 1
    assert depth["layer3.2.conv2"] == depth.max() == 18
    assert rows["conv_depth_norm"].max() == 1


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
def test_every_downsampling_layers_scores_are_the_reference(
    realdata: Path, reference: Path, tmp_path: Path, network: str
) -> None:
    images = 8 if network.startswith("resnet2b") else 64
    settings = RunSettings(data=str(realdata / "cifar10_test_1000.npz"))
    lenses = choose_lenses(["downsampling"], {"images": images, "channels": None})
    catalog = load_catalog(realdata / "catalog.csv").select([network])
    outcome = extract(catalog, tmp_path / network, lenses=lenses, settings=settings)
    assert outcome.count("failed") == 0, outcome.rows
    scores = analyze(tmp_path / network)
    expected = pd.read_csv(reference / f"{network}_aliasing_first{images}.csv").set_index("layer")
    mine = scores[scores["model_id"] == network]
    for metric in ("aliasing", "aliasing_relative", "alias_energy"):
        rows = mine[mine["metric"] == metric].set_index("layer")["value"]
        for layer, value in expected[metric].to_dict().items():
            assert rows[str(layer)] == pytest.approx(value, rel=2e-3), (layer, metric)


@pytest.mark.slow
def test_the_robust_network_aliases_less_than_its_match(realdata: Path, tmp_path: Path) -> None:
    settings = RunSettings(data=str(realdata / "cifar10_test_1000.npz"))
    lenses = choose_lenses(["filters", "downsampling"], {"images": 64})
    catalog = load_catalog(realdata / "catalog.csv").select(["resnet20-robust"])
    extract(catalog, tmp_path / "run", lenses=lenses, settings=settings)
    from filterlens.score import model_scores

    means = model_scores(analyze(tmp_path / "run"))
    for metric in ("aliasing", "aliasing_relative", "alias_energy"):
        assert means[metric]["resnet20-robust"] < means[metric]["resnet20-normal"]
