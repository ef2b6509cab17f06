"""What lies under the pointer: points are the models of their coordinates, matrices are in the order of clustering."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure as MatplotlibFigure

from filterlens.lenses.filters.figures import FIGURES
from filterlens.report import write_report
from filterlens.report.chart import MOST_MARKS, scatter, ticks
from filterlens.report.hover import Matrix, cluster, grid_of, points_of


def drawn() -> MatplotlibFigure:
    figure = MatplotlibFigure(figsize=(4, 2))
    axes = figure.subplots()
    axes.set_position((0.0, 0.0, 1.0, 1.0))
    axes.scatter([0, 5, 7], [1, 2, 2])
    axes.plot([2.5], [3.0], "o")
    axes.set(xlim=(0, 10), ylim=(0, 4), xlabel="loss\n(nats)", ylabel="accuracy")
    return figure


def test_a_point_is_the_model_that_alone_has_its_coordinates() -> None:
    data = pd.DataFrame({"model_id": ["a", "b", "c", "d"], "x": [0.0, 5.0, 7.0, 2.5], "y": [1.0, 2.0, 2.0, 3.0]})
    found = {point.model_id: point for point in points_of(drawn(), data)}
    assert set(found) == {"a", "b", "c", "d"}
    assert (found["b"].x, found["b"].y) == pytest.approx((0.5, 0.5))
    assert (found["d"].x, found["d"].y) == pytest.approx((0.25, 0.25))
    assert found["b"].text == "loss (nats): 5.00; accuracy: 2.00"


def test_a_point_that_several_models_share_has_no_name() -> None:
    data = pd.DataFrame({"model_id": ["a", "b", "c"], "y": [1.0, 2.0, 2.0]})  # set apart sideways: y alone is known
    assert [point.model_id for point in points_of(drawn(), data)] == ["a"]
    assert points_of(drawn(), data.drop(columns="model_id")) == []


def test_a_matrix_lies_where_its_cells_are_drawn() -> None:
    figure = MatplotlibFigure(figsize=(4, 2))
    axes = figure.add_axes((0.25, 0.0, 0.5, 1.0))
    axes.imshow(np.eye(2))
    assert grid_of(figure, Matrix(("a", "b"), np.eye(2), "nats", axes)).box == pytest.approx((0.25, 0.0, 0.75, 1.0))


def test_clustering_puts_alike_models_side_by_side() -> None:
    rng = np.random.default_rng(0)
    group = rng.permutation(np.repeat(np.arange(5), 40))
    place = group + rng.normal(0, 0.01, 200)
    order = cluster(np.abs(np.subtract.outer(place, place)))
    assert sorted(order.tolist()) == list(range(200))
    assert (np.diff(group[order]) != 0).sum() == 4
    holes = np.where(np.eye(4, k=1) + np.eye(4, k=-1) > 0, np.nan, 1.0)
    assert sorted(cluster(holes).tolist()) == [0, 1, 2, 3]


def test_the_page_says_every_cell_of_the_matrix(make_run: Callable[..., Path]) -> None:
    figures = [figure for figure in FIGURES if figure.name == "filters_shift_models"]
    index = write_report(make_run(6, pictures=True), figures=figures)
    found = re.search(r'data-grid="([^"]*)"', index.read_text(encoding="utf-8"))
    assert found is not None
    grid = json.loads(html.unescape(found[1]))
    table = pd.read_csv(index.parent / "figures" / "filters_shift_models.csv").set_index(["model_id", "other_id"])
    for i, row in enumerate(grid["values"]):
        for j, value in enumerate(row):
            assert value == pytest.approx(table.loc[(grid["models"][i], grid["models"][j]), "shift"], rel=0.01)
    assert [len(row) for row in grid["values"]] == list(range(1, len(grid["models"]) + 1))


def models(n: int) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"x": rng.normal(size=n), "y": rng.normal(size=n), "robust": rng.random(n) < 0.5})
    return frame.set_axis([f"m{i}" for i in range(n)])


def test_a_chart_holds_a_mark_a_model_and_counts_those_without_a_value() -> None:
    frame = models(50)
    frame.loc["m3", "y"] = np.nan
    chart = scatter(frame, ("x", "X"), ("y", "Y"))
    assert chart is not None
    assert {mark.model_id for mark in chart.marks} == set(frame.index) - {"m3"}
    assert chart.missing == 1
    assert all(64 <= mark.x <= 748 and 14 <= mark.y <= 372 for mark in chart.marks)
    assert chart.marks[0].text.splitlines()[0] == "m0"
    assert scatter(frame.iloc[:1], ("x", "X"), ("y", "Y")) is None


def test_a_chart_of_very_many_models_counts_them_in_cells() -> None:
    chart = scatter(models(MOST_MARKS + 1), ("x", "X"), ("y", "Y"))
    assert chart is not None
    counts = [int(number) for mark in chart.marks for number in re.findall(r"\d+", mark.text)]
    assert sum(counts) == MOST_MARKS + 1
    assert {mark.model_id for mark in chart.marks} == {""}


def test_a_chart_of_one_value_is_drawn_in_its_middle() -> None:
    frame = models(3).assign(x=0.0, y=2.0)
    chart = scatter(frame, ("x", "X"), ("y", "Y"))
    assert chart is not None
    assert {(mark.x, mark.y) for mark in chart.marks} == {(406.0, 193.0)}


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-1, 1), (0.13, 0.14), (1e-9, 3e-9), (-5e6, 2e7)])
def test_ticks_are_few_round_and_inside(low: float, high: float) -> None:
    found = ticks(low, high)
    assert 2 <= len(found) <= 9
    assert all(low <= tick <= high for tick in found)
    assert np.allclose(np.diff(found), found[1] - found[0])
