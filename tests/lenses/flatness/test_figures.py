"""Figures of the robustness and flatness lenses: exactly the numbers of the dumps, and none without data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from filterlens.dumps import DumpReader, DumpWriter
from filterlens.lenses.flatness import analyzer as flatness_analyzer
from filterlens.lenses.flatness.around_figures import draw_plane, draw_radii
from filterlens.lenses.flatness.figures import draw_landscape, draw_scatter
from filterlens.lenses.robustness import analyzer as robustness_analyzer
from filterlens.lenses.robustness.figures import draw_confidence, draw_reliability
from filterlens.report.correlation import rank_correlation
from filterlens.report.data import RunData, read_run
from filterlens.report.figure import Drawing
from filterlens.report.style import paper_style
from filterlens.score import as_table, write_scores


def drawn(drawing: Drawing | None) -> Drawing:
    assert drawing is not None
    return drawing


ANALYZERS = {"robustness": robustness_analyzer.analyze, "flatness": flatness_analyzer.analyze}
LOGITS = {  # four images, two classes; of confidence 0.9 and 0.6, right and wrong
    "robust": np.log([[0.6, 0.4], [0.9, 0.1], [0.4, 0.6], [0.1, 0.9]]),
    "normal": np.log([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.9, 0.1]]),
}


def make_run(
    folder: Path, lenses: tuple[str, ...] = ("robustness", "flatness"), pairs: int = 3, *, around: bool = False
) -> RunData:
    rows, lines = [], ["model_id,source,robust,match,eps"]
    (folder / "dumps").mkdir(parents=True)
    for i in range(pairs):
        for j, side in enumerate(("robust", "normal")):
            model_id = f"{side}-{i}"
            match = f"normal-{i}" if side == "robust" else ""
            lines.append(f"{model_id},{model_id}.pt,{str(side == 'robust').lower()},{match},8/255")
            path = folder / "dumps" / f"{model_id}.h5"
            with DumpWriter(path, {"model_id": model_id}) as dump:
                if "robustness" in lenses:
                    group = dump.lens("robustness", {})
                    group.write("labels", np.array([0, 0, 1, 0]))
                    for name in ("logits_clean", "logits_attacked"):
                        group.write(name, LOGITS[side] * (1 + i))
                if "flatness" in lenses:
                    group = dump.lens("flatness", {})
                    reference = np.full(4, 2.0 + 60 * j + i)
                    group.write("labels", np.arange(4) % 2)
                    group.write("reference_loss", reference)
                    group.write("average_loss", reference + np.array([[1.0], [2.0]]) * (1 + j + i))
                    group.write("average_correct", np.ones((2, 4), dtype=np.uint8))
                    group.write("worst_case_loss", reference[None] + 0.1 * (1 + i))
                    positions = np.array([-1.0, 0.0, 1.0])
                    group.write("landscape_positions", positions)
                    group.write("landscape_random", reference + 30 * j * positions[:, None] ** 2)
                    group.write("landscape_adversarial", reference + (1 + i) * positions[:, None])
                    group.set_attributes(average_radius=0.5, adversarial_length=0.01)
                    if around:
                        group.write("train_loss", reference[:2] - 1 - i)
                        group.write("radii", np.array([0.5, 2.0]))
                        group.write("radii_average_loss", reference + np.array([[[1.0], [3.0]], [[4.0], [6.0]]]))
                        group.write("radii_worst_case_loss", reference + np.array([[[-1.0], [-2.0]], [[1.0], [7.0]]]))
                        places = np.linspace(-1, 1, 3)
                        rise = places[:, None] ** 2 + 10 * places**2
                        group.write("plane_positions", places)
                        group.write("plane_loss", reference + rise[:, :, None] * (1 + j))
                        group.set_attributes(worst_radius=0.00075, plane_directions="filters")
            with DumpReader(path) as reader:
                for lens in lenses:
                    found = ANALYZERS[lens](reader.lens(lens))
                    rows += [{"model_id": model_id, "lens": lens} | row for row in found]
    (folder / "catalog.csv").write_text("\n".join(lines) + "\n")
    write_scores(as_table(rows), folder / "scores.parquet")
    return read_run(folder)


def test_every_figure_is_drawn_without_a_warning(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", around=True)
    for draw in (draw_reliability, draw_confidence, draw_scatter, draw_landscape, draw_radii, draw_plane):
        with paper_style():
            drawing = draw(run)
            assert drawing is not None
            drawing.figure.savefig(tmp_path / "figure.png")
        assert (tmp_path / "figure.png").stat().st_size > 5000
        assert len(drawing.data)
        assert drawing.caption.endswith(".")


def test_reliability_pools_the_models_of_a_side(tmp_path: Path) -> None:
    data = drawn(draw_reliability(make_run(tmp_path / "run", ("robustness",), pairs=1))).data
    robust = data[(data["side"] == "robust") & (data["images"] == "attacked")]
    assert robust["confidence"].tolist() == pytest.approx([0.6, 0.9])
    assert robust["accuracy"].tolist() == [1.0, 0.5]
    assert robust["share"].tolist() == [0.5, 0.5]
    normal = data[(data["side"] == "normal") & (data["images"] == "clean")]
    assert normal[["confidence", "accuracy", "share"]].to_numpy().tolist() == [pytest.approx([0.9, 0.75, 1.0])]


def test_confidence_bars_of_a_side_and_column_add_up_to_one(tmp_path: Path) -> None:
    data = drawn(draw_confidence(make_run(tmp_path / "run", ("robustness",)))).data
    assert data.groupby(["side", "images"])["share"].sum().to_numpy() == pytest.approx(np.ones(4))
    wrong = data[(data["prediction"] == "wrong") & (data["share"] > 0)]
    assert (wrong["low"] >= 0.85 - 1e-9).all()  # the wrong predictions above are sure ones


def test_scatter_shows_every_model_and_correlates_within_robust_ones(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", pairs=5)
    drawing = drawn(draw_scatter(run))
    part = drawing.data[(drawing.data["x_metric"] == "average_flatness") & (drawing.data["y_metric"] == "robust_loss")]
    assert len(part) == 10
    robust = part[part["robust"].eq(True)]
    expected = rank_correlation(robust["x"], robust["y"])
    assert expected.n == 5
    assert robust["spearman"].unique().tolist() == [pytest.approx(expected.rho, nan_ok=True)]
    assert part.loc[part["robust"].ne(True), "spearman"].isna().all()
    titles = [axis.get_title(loc="right") for axis in drawing.figure.axes]
    assert titles[0] == f"robust models: {expected.text}"
    assert [axis.get_ylabel() for axis in drawing.figure.axes][::2] == ["robust loss (nats)", "robust accuracy (PGD)"]


def test_scatter_falls_back_on_the_flatness_lens_own_robust_loss(tmp_path: Path) -> None:
    drawing = drawn(draw_scatter(make_run(tmp_path / "run", ("flatness",), pairs=1)))
    assert drawing.data["y_metric"].unique().tolist() == ["robust_loss"]
    assert sorted(drawing.data["y"].unique()) == [2.0, 62.0]
    assert drawing.figure.axes[0].get_title(loc="right") == "robust models: no ρ (n = 1)"


def test_landscape_is_the_rise_above_the_weights(tmp_path: Path) -> None:
    data = drawn(draw_landscape(make_run(tmp_path / "run", ("flatness",)))).data
    assert (data.loc[data["position"] == 0, "rise"] == 0).all()
    curve = data[(data["model_id"] == "normal-1") & (data["direction"] == "random")]
    assert curve["rise"].tolist() == [30, 0, 30]
    curve = data[(data["model_id"] == "robust-2") & (data["direction"] == "adversarial")]
    assert curve["rise"].tolist() == [-3, 0, 3]
    assert curve["length"].unique().tolist() == [0.01]


def test_scatter_shows_the_gap_where_training_images_are_known(tmp_path: Path) -> None:
    drawing = drawn(draw_scatter(make_run(tmp_path / "run", ("flatness",), pairs=5, around=True)))
    gap = drawing.data[(drawing.data["y_metric"] == "robust_gap") & (drawing.data["x_metric"] == "average_flatness")]
    assert sorted(gap.loc[gap["robust"].eq(True), "y"]) == [1, 2, 3, 4, 5]
    assert drawing.caption.startswith("Robust loss and robust generalisation gap against flatness")
    assert "ρ = 1.00" in drawing.figure.axes[2].get_title(loc="right")


def test_the_curve_over_radii_begins_at_0_and_is_mean_or_highest(tmp_path: Path) -> None:
    data = drawn(draw_radii(make_run(tmp_path / "run", ("flatness",), around=True))).data
    own = data[data["model_id"] == "robust-1"]
    average, worst = (own[own["case"] == case] for case in ("average", "worst"))
    assert average["radius"].tolist() == [0, 0.25, 1.0]
    assert average["flatness"].tolist() == pytest.approx([0, 2, 5])
    assert worst["radius"].tolist() == pytest.approx([0, 0.000375, 0.0015])
    assert worst["flatness"].tolist() == pytest.approx([0, 0, 7])  # never below the weights themselves
    assert set(data["side"]) == {"robust", "normal"}


def test_the_plane_is_of_one_pair_with_its_first_direction_along_x(tmp_path: Path) -> None:
    drawing = drawn(draw_plane(make_run(tmp_path / "run", ("flatness",), around=True)))
    assert drawing.data["model_id"].unique().tolist() == ["normal-0", "robust-0"]
    own = drawing.data[drawing.data["model_id"] == "robust-0"].set_index(["s", "t"])["robust_loss"]
    assert (own[0, 0], own[1, 0], own[0, 1]) == (2, 3, 12)
    assert "filter by filter" in drawing.caption
    mesh = drawing.figure.axes[1].collections[0].get_array()
    assert mesh is not None
    assert np.asarray(mesh).reshape(3, 3)[1].tolist() == [3, 2, 3]  # the row t = 0, over s


def test_without_the_lens_there_is_no_figure(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", ("robustness",))
    assert draw_scatter(run) is None
    assert draw_landscape(run) is None
    assert draw_radii(run) is None
    assert draw_plane(run) is None
    run = make_run(tmp_path / "b", ("flatness",))
    for draw in (draw_reliability, draw_confidence, draw_radii, draw_plane):
        assert draw(run) is None
