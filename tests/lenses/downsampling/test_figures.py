"""The downsampling figures show the numbers they say they show, and nothing where there is nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from filterlens.dumps import DumpWriter
from filterlens.lenses.downsampling.figure_spectra import power_spectra
from filterlens.lenses.downsampling.figures import FIGURES, draw_against_accuracy, draw_operations, operation_values
from filterlens.lenses.downsampling.map_figures import (
    OperationMaps,
    draw_example,
    draw_spectra,
    example_models,
    first_maps,
    typical_map,
)
from filterlens.report.correlation import rank_correlation
from filterlens.report.data import RunData, read_run
from filterlens.report.drawing import draw
from filterlens.score import read_scores, write_scores

MakeRun = Callable[..., Path]


def add_dumps(
    run: RunData, *, models: list[str] | None = None, size: int = 16, names: dict[str, str] | None = None
) -> None:
    generator = np.random.default_rng(0)
    for entry in run.catalog:
        if models is not None and entry.model_id not in models:
            continue
        with DumpWriter(run.folder / "dumps" / f"{entry.file_stem}.h5", {"model_id": entry.model_id}) as writer:
            group = writer.lens("downsampling", {})
            for name, kind in (("short", "shortcut"), ("conv1", "main"), ("pool", "pool")):
                maps = generator.normal(0, 1, (10, 5, size, size)).astype(np.float16)
                group.write(
                    (names or {}).get(name, name), maps, kind=kind, stride=np.array([2, 2]), channels=np.arange(5)
                )


def test_every_figure_is_drawn_from_a_run_with_dumps(make_run: MakeRun) -> None:
    run = read_run(make_run(n_robust=8))
    add_dumps(run)
    for figure in FIGURES:
        drawn = draw(figure, run)
        assert drawn is not None, figure.name
        drawing, pdf, png = drawn
        assert pdf.startswith(b"%PDF")
        assert png.startswith(b"\x89PNG")
        assert not drawing.data.empty
        assert drawing.caption.endswith(".")
        assert "mathdefault" not in " ".join(
            label.get_text()
            for axis in drawing.figure.axes
            for label in [*axis.get_xticklabels(), *axis.get_yticklabels()]
        )


def test_operations_are_counted_by_kind_in_order_and_hold_every_models_value(make_run: MakeRun) -> None:
    run = read_run(make_run(n_robust=4))
    data = operation_values(run)
    rows = run.lens_scores("downsampling")
    assert len(data) == len(rows)
    assert sorted(data.loc[data["kind"] == "main", "place"].unique()) == [1, 2]
    assert sorted(data.loc[data["kind"] == "shortcut", "place"].unique()) == [1]
    one = data[(data["layer"] == "down1") & (data["metric"] == "aliasing")].set_index("model_id")["value"]
    expected = rows[(rows["layer"] == "down1") & (rows["metric"] == "aliasing")].set_index("model_id")["value"]
    pd.testing.assert_series_equal(one.sort_index(), expected.sort_index())


def test_scores_without_a_value_stay_out_of_the_operations(make_run: MakeRun) -> None:
    folder = make_run(n_robust=4)
    scores = read_scores(folder / "scores.parquet")
    scores.loc[(scores["layer"] == "down0") & (scores["metric"] == "aliasing"), "value"] = np.nan
    write_scores(scores, folder / "scores.parquet")
    data = operation_values(read_run(folder))
    assert not ((data["layer"] == "down0") & (data["metric"] == "aliasing")).any()
    assert ((data["layer"] == "down0") & (data["metric"] == "alias_energy")).any()
    assert draw_operations(read_run(folder)) is not None


def test_the_scatter_names_rho_and_n_of_every_data_set(make_run: MakeRun) -> None:
    run = read_run(make_run(n_robust=12))
    drawing = draw_against_accuracy(run)
    assert drawing is not None
    models = run.models[run.models["robust"] & (run.models["dataset"] == "cifar10")]
    rho = models["alias_energy"].corr(models["robust_acc"], method="spearman")
    found = rank_correlation(models["alias_energy"], models["robust_acc"])
    assert found.rho == pytest.approx(rho)
    expected = f"cifar10: {found.text}"
    axes = {axis.get_ylabel().split("\n")[0]: axis for axis in drawing.figure.axes[::3]}
    assert set(axes) == {"cifar10", "cifar100"}, "a row a data set"
    assert drawing.figure.axes[2].get_title() == found.text
    assert expected in drawing.caption
    assert len(drawing.data) == len(run.models)


def test_a_few_models_have_no_rho(make_run: MakeRun) -> None:
    drawing = draw_against_accuracy(read_run(make_run(n_robust=2, datasets=("cifar10",))))
    assert drawing is not None
    assert drawing.figure.axes[0].get_title() == "no ρ (n = 2)"


def test_nothing_is_drawn_without_scores_or_dumps(make_run: MakeRun) -> None:
    folder = make_run(n_robust=2)
    assert draw_spectra(read_run(folder)) is None
    assert draw_example(read_run(folder)) is None
    scores = read_scores(folder / "scores.parquet")
    write_scores(scores[scores["lens"] == "filters"], folder / "scores.parquet")
    assert draw_operations(read_run(folder)) is None
    assert draw_against_accuracy(read_run(folder)) is None


def test_the_first_pair_with_both_dumps_is_shown_and_one_model_without_pairs(make_run: MakeRun) -> None:
    run = read_run(make_run(n_robust=6, datasets=("cifar10",)))
    assert example_models(run) == []
    add_dumps(run, models=["cifar10-robust-3"])
    assert example_models(run) == ["cifar10-robust-3"]
    add_dumps(run, models=["cifar10-normal-1"])
    assert example_models(run) == ["cifar10-normal-1", "cifar10-robust-3"]


def test_spectra_leave_shortcuts_out_and_hold_the_mean_power(make_run: MakeRun) -> None:
    run = read_run(make_run(n_robust=2, datasets=("cifar10",)))
    add_dumps(run)
    drawing = draw_spectra(run)
    assert drawing is not None
    assert set(drawing.data["layer"]) == {"conv1", "pool"}
    assert set(drawing.data["curve"]) == {"dense", "output", "alias-free"}
    one = drawing.data[(drawing.data["model_id"] == "cifar10-robust-0") & (drawing.data["layer"] == "conv1")]
    assert one.loc[one["curve"] != "dense", "frequency"].max() <= 0.25
    np.testing.assert_allclose(one.loc[one["curve"] == "dense", "power"], 1 / 256, rtol=0.6)
    output = one.loc[one["curve"] == "output", "power"].mean()
    assert output == pytest.approx(4 * one.loc[one["curve"] == "alias-free", "power"].mean(), rel=0.3)


def test_a_layer_that_is_called_by_a_number_is_said_to_be_a_layer(make_run: MakeRun) -> None:
    run = read_run(make_run(n_robust=2, datasets=("cifar10",)))
    add_dumps(run, names={"conv1": "6", "pool": "features.13"})
    spectra, example = draw_spectra(run), draw_example(run)
    assert spectra is not None
    assert example is not None
    assert [axis.get_title() for axis in spectra.figure.axes[:2]] == ["layer 6", "features.13"]
    assert example.figure.axes[0].get_ylabel().splitlines()[1].startswith("layer 6, map ")
    assert set(spectra.data["layer"]) == {"6", "features.13"}, "the numbers have the layer's own name"


def test_the_example_is_the_median_map_and_its_pictures_add_up() -> None:
    generator = np.random.default_rng(0)
    maps = generator.normal(0, 1, (2, 7, 8, 8))
    maps[0, 2] = 3.0  # a constant map is no example
    operation = OperationMaps("conv1", "main", (2, 2), maps)
    example = typical_map(operation)
    spectra = power_spectra(maps[0], stride=(2, 2))
    relative = np.abs(spectra.output - spectra.alias_free).sum((1, 2)) / np.maximum(spectra.dense.sum((1, 2)), 1e-30)
    rank = (np.delete(relative, 2) < relative[example.channel]).sum()
    assert example.channel != 2
    assert rank == 3
    pictures = example.pictures()
    np.testing.assert_allclose(pictures["difference"], pictures["subsampled"] - pictures["alias-free"])
    assert typical_map(OperationMaps("dead", "main", (2, 2), np.zeros((1, 3, 4, 4)))).dense.shape == (4, 4)


def test_damaged_operations_are_passed_over(make_run: MakeRun) -> None:
    run = read_run(make_run(n_robust=2, datasets=("cifar10",)))
    model_id = run.catalog.entries[0].model_id
    with DumpWriter(run.folder / "dumps" / f"{run.catalog.entries[0].file_stem}.h5", {"model_id": model_id}) as writer:
        group = writer.lens("downsampling", {})
        group.write("nan", np.full((1, 1, 4, 4), np.nan), kind="main", stride=np.array([2, 2]))
        group.write("odd", np.zeros((1, 1, 5, 4)), kind="main", stride=np.array([2, 2]))
        group.write("bare", np.zeros((1, 1, 4, 4)), kind="main")
        group.write("good", np.ones((1, 1, 4, 4)), kind="main", stride=np.array([2, 2]))
    assert [operation.layer for operation in first_maps(run, model_id)] == ["good"]
