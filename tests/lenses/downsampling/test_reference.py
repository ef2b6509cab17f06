"""Trained networks give the reference scores, computed by independent code in float64."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from extracting import context

from filterlens.catalogs import load_catalog
from filterlens.dumps import DumpReader, DumpWriter
from filterlens.inputs.npz import load_npz
from filterlens.lenses.downsampling.analyzer import analyze
from filterlens.lenses.downsampling.extractor import extract
from filterlens.lenses.downsampling.options import DownsamplingOptions
from filterlens.loaders import load_model
from filterlens.score import as_table, model_scores

pytestmark = pytest.mark.realdata
METRICS = ["aliasing", "aliasing_relative", "alias_energy"]


def scores(realdata: Path, folder: Path, model_id: str, n: int, **settings: int | None) -> pd.DataFrame:
    """Score table of one model of the catalog, over the first n images."""
    catalog = load_catalog(realdata / "catalog.csv")
    model = load_model(catalog[model_id], catalog.folder)
    images = load_npz(realdata / "cifar10_test_1000.npz", n)
    path = folder / f"{model_id}.h5"
    with DumpWriter(path, {"model_id": model_id}) as writer:
        options = DownsamplingOptions(images=n, **settings)  # type: ignore[arg-type]
        extract(context(model, catalog[model_id], images, options, writer.lens("downsampling", {})))
    with DumpReader(path) as reader:
        rows = analyze(reader.lens("downsampling"))
    return as_table([{"model_id": model_id, "lens": "downsampling", **row} for row in rows])


@pytest.mark.parametrize(("model_id", "n"), [("resnet20-normal", 64), ("resnet20-robust", 64), ("resnet2b-robust", 8)])
def test_scores_match_the_reference(realdata: Path, reference: Path, tmp_path: Path, model_id: str, n: int) -> None:
    expected = pd.read_csv(reference / f"{model_id}_aliasing_first{n}.csv").set_index("layer")
    table = scores(realdata, tmp_path, model_id, n, channels=None)
    found = table.pivot_table(index="layer", columns="metric", values="value")
    missing = [layer for layer in expected.index if layer not in found.index]
    assert not missing, found.index.tolist()
    np.testing.assert_allclose(found.loc[expected.index, METRICS], expected[METRICS], rtol=1e-4)


def test_the_robust_network_aliases_less_than_its_normal_partner_in_every_score(realdata: Path, tmp_path: Path) -> None:
    sides = [
        model_scores(scores(realdata, tmp_path, f"resnet20-{side}", 32)).loc[f"resnet20-{side}", METRICS]
        for side in ("robust", "normal")
    ]
    assert (sides[0] < sides[1]).all()
