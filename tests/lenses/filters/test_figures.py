"""Figures of the filters lens: what went in is what is drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.patches import PathPatch
from report.synthetic import Model, score_rows, write_run, zoo

from filterlens.lenses.filters.figures import FIGURES
from filterlens.lenses.filters.figures.bases import draw_bases, draw_cumulative
from filterlens.lenses.filters.figures.grids import chosen_models, draw_first, draw_rgb, end_layer
from filterlens.lenses.filters.figures.ridge import draw_ridge
from filterlens.lenses.filters.figures.shift import draw_shift_by_depth, draw_shift_of_models
from filterlens.lenses.filters.pooled import read_filter_pool
from filterlens.report.data import RunData, read_run
from filterlens.report.depth import depth_figure
from filterlens.report.figure import Drawing


@pytest.fixture
def run(make_run: Callable[..., Path]) -> RunData:
    return read_run(make_run(8, pictures=True))


def drawn(drawing: Drawing | None) -> Drawing:
    assert drawing is not None
    assert drawing.caption.endswith(".")
    assert len(drawing.data)
    return drawing


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.name)
def test_every_figure_is_absent_without_its_data(figure: object, tmp_path: Path) -> None:
    empty = read_run(write_run(tmp_path / "run", [Model("only")], []))
    assert figure.draw(empty) is None  # type: ignore[attr-defined]


def test_boxes_stand_at_the_quartiles_of_each_depth_group(make_run: Callable[..., Path]) -> None:
    drawing = drawn(depth_figure("filters").draw(read_run(make_run(24))))
    axes = drawing.figure.axes
    assert len(axes) == 6, "three scores by two data sets"
    boxes = [patch for patch in axes[0].patches if isinstance(patch, PathPatch)]
    data = drawing.data
    part = data[(data["metric"] == "sparsity") & (data["dataset"] == "cifar10") & (data["side"] == "normal")]
    first = part[part["depth"] == "0"]["value"]
    y = np.asarray(boxes[0].get_path().vertices)[:, 1]
    assert [y.min(), y.max()] == pytest.approx(np.quantile(first, [0.25, 0.75]).tolist())
    assert part.groupby(["model_id", "depth"]).size().max() == 1, "a shared normal model enters once"


def test_fewer_than_five_models_are_points_and_no_box(run: RunData) -> None:
    drawing = drawn(depth_figure("filters").draw(run))
    data = drawing.data
    for axis in drawing.figure.axes:
        assert not [patch for patch in axis.patches if isinstance(patch, PathPatch)]
    part = data[(data["metric"] == "sparsity") & (data["dataset"] == "cifar10")]
    shown = np.concatenate([np.asarray(points.get_offsets()) for points in drawing.figure.axes[0].collections])
    assert sorted(shown[:, 1]) == pytest.approx(sorted(part["value"]))


def test_models_without_a_partner_are_on_neither_side(tmp_path: Path) -> None:
    models = [*zoo(12), Model("alone", robust=True), Model("other", robust=False), Model("who knows", robust=None)]
    data = drawn(depth_figure("filters").draw(read_run(write_run(tmp_path, models, score_rows(models, 5))))).data
    sides = data.drop_duplicates("model_id").groupby("side")["model_id"].agg(list)
    assert sides["unpaired"] == ["alone", "other", "who knows"]
    assert (len(sides["robust"]), len(sides["normal"])) == (12, 6)


def test_a_score_that_is_the_same_everywhere_is_shown_in_its_whole_range(run: RunData) -> None:
    flat = run.scores.assign(value=run.scores["value"].where(run.scores["metric"] != "sparsity", 0.0))
    sparsity, *_, orthogonality = drawn(depth_figure("filters").draw(replace(run, scores=flat))).figure.axes
    assert sparsity.get_ylim() == (-0.05, 1.0)
    assert orthogonality.get_ylim()[1] < 1.0


def test_bases_show_each_groups_components_and_their_share(run: RunData) -> None:
    pool = read_filter_pool(run)
    assert pool is not None
    drawing = drawn(draw_bases(run))
    images = [np.asarray(axis.images[0].get_array()) for axis in drawing.figure.axes[:27]]
    np.testing.assert_array_equal(np.stack(images[:9]).reshape(9, 9), pool.arrays["bases"][0])
    assert drawing.figure.axes[10].get_xlabel() == f"{pool.arrays['explained_variance_ratio'][1, 1]:.2f}"


def test_cumulative_shares_end_at_one(run: RunData) -> None:
    drawing = drawn(draw_cumulative(run))
    lines = drawing.figure.axes[0].lines
    assert [line.get_label() for line in lines] == ["all", "robust", "normal"]
    assert [np.asarray(line.get_ydata())[-1] for line in lines] == pytest.approx([1, 1, 1])


def test_ridge_densities_integrate_to_one(run: RunData) -> None:
    data = drawn(draw_ridge(run)).data
    width = np.diff(np.unique(data["coefficient"])).mean()
    totals = data.groupby(["dataset", "side", "component"])["density"].sum() * width
    np.testing.assert_allclose(totals, 1, rtol=1e-6)
    assert len(totals) == 2 * 2 * 9


def test_a_side_without_filters_is_marked_and_not_drawn_as_zero(run: RunData) -> None:
    drawing = drawn(draw_shift_by_depth(run))
    axis = drawing.figure.axes[0]
    assert len(axis.patches) == 2 * 11 - 1
    crosses = [line for line in axis.lines if line.get_marker() == "x" and np.size(line.get_xdata())]
    assert len(crosses) == 1
    assert drawing.data["shift"].isna().sum() == 1


def test_the_heat_map_holds_every_pair_robust_models_first(run: RunData) -> None:
    pool = read_filter_pool(run)
    assert pool is not None
    drawing = drawn(draw_shift_of_models(run))
    shown = drawing.figure.axes[0].images[0].get_array()
    names = drawing.data["model_id"].unique().tolist()
    ids = [model["model_id"] for model in pool.models]
    order = [ids.index(name) for name in names]
    np.testing.assert_array_equal(shown, pool.arrays["shift_models"][np.ix_(order, order)])
    sides = ["robust" in name for name in names]
    assert sides == sorted(sides, reverse=True)


def test_kernels_are_those_of_the_dump_scaled_by_their_largest(run: RunData) -> None:
    drawing = drawn(draw_first(run))
    model_id = chosen_models(run)[0]
    layer = end_layer(run, model_id)
    assert layer is not None
    kernels = layer.weight.reshape(-1, 3, 3)[:16]
    shown = np.asarray(drawing.figure.axes[0].images[0].get_array())
    np.testing.assert_allclose(shown, kernels[0] / np.abs(kernels).max())
    colour = np.asarray(drawn(draw_rgb(run)).figure.axes[0].images[0].get_array())
    assert colour.shape == (3, 3, 3)
    assert 0 <= colour.min() <= colour.max() <= 1


def test_drawing_imports_no_pyplot_state(run: RunData) -> None:
    drawn(draw_cumulative(run))
    from matplotlib import _pylab_helpers

    assert not _pylab_helpers.Gcf.figs
