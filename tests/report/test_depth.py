"""Depth groups: the first convolution apart, then right-closed deciles, as the paper bins them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from report.synthetic import Model, score_rows, write_run, zoo

from filterlens.lens import all_lenses
from filterlens.report.data import read_run
from filterlens.report.depth import by_depth, depth_figure
from filterlens.report.style import paper_style
from filterlens.score import DEPTH_GROUPS, as_table, depth_group


@pytest.mark.parametrize("last", [1, 7, 10, 30, 107])
def test_depth_groups_are_pandas_cut_with_the_first_layer_apart(last: int) -> None:
    depth = np.arange(last + 1)
    cut = pd.cut(depth[1:] / last, np.arange(11) / 10 + 1e-12 * (np.arange(11) > 0), labels=False)  # type: ignore[call-overload]  # stubs want lists
    assert depth_group(depth, depth / last).tolist() == [0, *(cut + 1)]


def test_an_unknown_depth_is_in_no_group() -> None:
    assert depth_group([np.nan, 3], [0.5, np.nan]).tolist() == [-1, -1]


def test_a_group_is_the_weighted_mean_of_its_layers() -> None:
    place = {"model_id": "m", "metric": "sparsity", "conv_depth": 5}
    rows = [
        place | {"layer": "a", "conv_depth_norm": 0.51, "value": 0.0, "weight": 1.0},
        place | {"layer": "b", "conv_depth_norm": 0.60, "value": 1.0, "weight": 3.0},
        place | {"layer": "c", "conv_depth_norm": 0.55, "value": np.nan, "weight": 9.0},
        place | {"layer": "d", "conv_depth_norm": 0.61, "value": 0.2, "weight": 1.0},
    ]
    table = by_depth(as_table(rows))
    assert table["value"].tolist() == pytest.approx([0.75, 0.2])
    assert [DEPTH_GROUPS[g] for g in table["group"]] == ["(0.5, 0.6]", "(0.6, 0.7]"]


def test_scores_without_depth_have_no_groups() -> None:
    assert by_depth(as_table([{"model_id": "m", "metric": "x", "value": 1.0}])).empty


def test_no_label_is_longer_than_its_row_is_high(tmp_path: Path) -> None:
    models = zoo(4)
    rows = score_rows(models, 6)
    for row in [row for row in rows if row["metric"] == "sparsity"]:
        rows += [row | {"lens": "frequency", "metric": name} for name in ("low_frequency_share", "spectral_centroid")]
    write_run(tmp_path, models, rows)
    all_lenses()
    with paper_style():
        drawn = depth_figure("frequency").draw(read_run(tmp_path))
        assert drawn is not None
        figure = drawn.figure
        figure.canvas.draw()
        labelled = [axis for axis in figure.axes if axis.get_ylabel()]
        assert len(labelled) == 2
        for axis in labelled:
            label, whole = axis.yaxis.label.get_window_extent(), axis.get_window_extent()
            assert label.height <= 1.1 * whole.height, axis.get_ylabel()


@pytest.mark.parametrize("paired", [True, False])
def test_checkpoints_of_a_training_are_no_box_beside_pairs(tmp_path: Path, paired: bool) -> None:
    epochs = [Model(f"training-e{epoch}", robust=None) for epoch in range(6)]
    models = [*(zoo(6) if paired else []), *epochs]
    write_run(tmp_path, models, score_rows(models, 4))
    catalog = pd.read_csv(tmp_path / "catalog.csv", dtype=str)
    catalog["epoch"] = catalog["model_id"].str.extract(r"training-e(\d)", expand=False)
    catalog.to_csv(tmp_path / "catalog.csv", index=False)
    with paper_style():
        drawn = depth_figure("filters").draw(read_run(tmp_path))
    assert drawn is not None
    sides = {"normal", "robust"} if paired else {"unpaired"}
    assert set(drawn.data["side"]) == sides
    assert ("6 checkpoints of trainings" in drawn.caption) is paired
