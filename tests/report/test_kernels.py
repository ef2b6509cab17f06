"""Filter sizes are never averaged: each has its own rows, and a pair of unlike sizes is not compared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from report.synthetic import Model, score_rows, write_run, zoo

from filterlens.lens import all_lenses
from filterlens.report import write_report
from filterlens.report.comparison import incomplete_pairs, main_scores, robust_vs_normal, scores_of
from filterlens.report.data import RunData, read_run
from filterlens.report.depth import depth_figure
from filterlens.report.kernels import by_kernel_size, kernel_of, sized_score, unsized
from filterlens.report.style import paper_style
from filterlens.report.tables import report_tables
from filterlens.score import as_table

WIDE = ("robust-w", "normal-w")


def sized(rows: list[dict[str, object]], sizes: dict[str, str]) -> list[dict[str, object]]:
    """Rows of the filters lens with a filter size, 3x3 where none is given for a model."""
    return [row | {"kind": sizes.get(str(row["model_id"]), "3x3")} if row["lens"] == "filters" else row for row in rows]


def mixed_run(folder: Path, *, partner: str = "7x7") -> RunData:
    """Twelve robust models of 3x3 filters, and a pair of which the robust one has 7x7 and the normal one `partner`."""
    robust, normal = WIDE
    models = [*zoo(12), Model(normal, "cifar10", "ConvNeXt", False), Model(robust, "cifar10", "ConvNeXt", True, normal)]
    rows = sized(score_rows(models, 5), {robust: "7x7", normal: partner})
    for row in rows:
        if row["kind"] == "7x7" and row["metric"] == "sparsity":
            row["value"] = 0.99  # would show in any mean over sizes
    return read_run(write_run(folder, models, rows))


def test_a_run_of_3x3_alone_is_left_as_it_is() -> None:
    table = as_table(sized(score_rows(zoo(4), 3), {}))
    assert by_kernel_size(table) is table
    unnamed = as_table(score_rows(zoo(4), 3))
    assert by_kernel_size(unnamed)["metric"].equals(unnamed["metric"])


def test_a_models_main_size_names_its_scores_and_its_other_filters_change_nothing() -> None:
    place: dict[str, object] = {"model_id": "m", "lens": "filters", "metric": "sparsity", "value": 0.5}
    rows = [
        place | {"layer": "stem", "kind": "4x4", "weight": 0.0},
        place | {"layer": "a", "kind": "7x7", "weight": 3.0},
        place | {"layer": "down", "lens": "downsampling", "metric": "aliasing", "kind": "main", "weight": 1.0},
        place | {"model_id": "n", "layer": "a", "kind": "3x3", "weight": 3.0},
        place | {"model_id": "n", "layer": "stem", "kind": "7x7", "weight": 0.0},
    ]
    assert by_kernel_size(as_table(rows))["metric"].tolist() == [
        "sparsity_7x7", "sparsity_7x7", "aliasing", "sparsity", "sparsity",
    ]  # fmt: skip


def test_a_score_is_described_by_its_size() -> None:
    wide, usual = sized_score("sparsity_7x7"), sized_score("sparsity")
    assert wide is not None
    assert usual is not None
    assert replace(wide, name=usual.name, title=usual.title) == usual
    assert wide.title == f"{usual.title} (7x7)"
    assert sized_score("aliasing_7x7") is None  # its lens has no filter sizes
    assert sized_score("nonsense_7x7") is None
    assert (kernel_of("sparsity_7x7"), kernel_of("sparsity"), unsized("sparsity_11x3")) == ("7x7", "3x3", "sparsity")
    assert [name for name, lens in all_lenses().items() if lens.per_kernel] == ["filters", "frequency"]


def test_a_size_that_stands_behind_its_score_keeps_the_order_of_the_register() -> None:
    rows: list[dict[str, object]] = [
        {"model_id": "m", "lens": "filters", "metric": name}
        for name in ("variance_entropy", "sparsity_7x7", "sparsity")
    ]
    assert list(scores_of(as_table(rows))) == ["sparsity", "sparsity_7x7", "variance_entropy"]


def test_means_and_pairs_have_their_own_rows_for_each_size(tmp_path: Path) -> None:
    run = mixed_run(tmp_path)
    models = run.models
    assert models.loc[list(WIDE), "sparsity_7x7"].tolist() == pytest.approx([0.99, 0.99])
    assert models.loc[list(WIDE), "sparsity"].isna().all()
    assert models["sparsity_7x7"].notna().sum() == 2
    compared = robust_vs_normal(run).set_index("metric")
    assert compared.loc["sparsity", "n_pairs"] == 12
    assert compared.loc["sparsity_7x7", "n_pairs"] == 1
    assert compared["robust_mean"].astype(float)["sparsity"] < 0.5
    assert compared.loc["aliasing", "n_pairs"] == 13


def test_a_pair_of_unlike_sizes_is_not_compared_and_the_report_says_so(tmp_path: Path) -> None:
    run = mixed_run(tmp_path, partner="3x3")
    compared = robust_vs_normal(run).set_index("metric")
    assert compared.loc["sparsity", "n_pairs"] == 12
    assert "sparsity_7x7" not in compared.index
    said = incomplete_pairs(run.models, main_scores(run))
    assert said[["robust", "normal", "lens", "missing"]].to_numpy().tolist() == [
        [*WIDE, "filters", "not compared: their filters are of different sizes, 7x7 and 3x3"]
    ]
    tables = {table.name: table for table in report_tables(run)}
    assert tables["incomplete_pairs"].frame["missing"].str.contains("different sizes, 7x7 and 3x3").all()


def test_depth_groups_of_each_size_are_apart_in_table_and_figure(tmp_path: Path) -> None:
    run = mixed_run(tmp_path)
    table = next(table for table in report_tables(run) if table.name == "by_depth").frame
    assert set(table.loc[table["metric"] == "sparsity_7x7", "n_pairs"]) == {1}
    assert set(table.loc[table["metric"] == "sparsity", "n_pairs"]) == {12}
    with paper_style():
        drawn = depth_figure("filters").draw(run)
    assert drawn is not None
    wide = drawn.data[drawn.data["metric"] == "sparsity_7x7"]
    assert set(wide["model_id"]) == set(WIDE)
    assert not set(drawn.data.loc[drawn.data["metric"] == "sparsity", "model_id"]) & set(WIDE)
    labels = [axis.get_ylabel().replace("\n", " ") for axis in drawn.figure.axes if axis.get_ylabel()]
    assert any("(7x7)" in label for label in labels)


def test_every_size_of_a_model_has_its_row_in_the_table_by_filter_size(tmp_path: Path) -> None:
    models = zoo(4)
    rows = sized(score_rows(models, 4), {})
    wide = [
        row | {"kind": "5x5", "layer": f"{row['layer']}.wide", "weight": 0.0, "value": 0.25}
        for row in rows
        if row["lens"] == "filters"
    ]
    run = read_run(write_run(tmp_path, models, [*rows, *wide]))
    assert "sparsity_5x5" not in run.models
    table = next(table for table in report_tables(run) if table.name == "by_kernel").frame
    five = table[table["kernel"] == "5x5"]
    assert set(table["kernel"]) == {"3x3", "5x5"}
    assert set(five["robust_mean"]) == set(five["normal_mean"]) == {0.25}
    assert (five["n_pairs"] == 4).all()
    assert "by_kernel" not in {table.name for table in report_tables(mixed_less(tmp_path / "plain"))}


def mixed_less(folder: Path) -> RunData:
    return read_run(write_run(folder, zoo(4), sized(score_rows(zoo(4), 3), {})))


def test_a_whole_report_of_mixed_sizes_is_written(tmp_path: Path) -> None:
    mixed_run(tmp_path)
    write_report(tmp_path)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "(7x7)" in page
    models = pd.read_csv(tmp_path / "tables" / "models.csv").set_index("model_id")
    assert models["sparsity_7x7"].notna().sum() == 2
    assert not (models["sparsity_7x7"].notna() & models["sparsity"].notna()).any()
