from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.patches import StepPatch
from report.synthetic import Model, entry, write_run

from filterlens.dumps import DumpWriter
from filterlens.lenses.manifold.figures import FIGURES, distance_values, draw_distances, draw_success
from filterlens.lenses.manifold.grid_figure import COLUMNS, draw_grid
from filterlens.report.data import RunData, read_run
from filterlens.report.figure import Drawing
from filterlens.report.style import paper_style


def drawn(drawing: Drawing | None) -> Drawing:
    assert drawing is not None
    return drawing


N = 12


def zoo() -> list[Model]:
    return [
        Model("normal", "fonts"),
        Model("robust", "fonts", robust=True, match="normal"),
        Model("other", "fonts", robust=None),
    ]


def write_manifold(folder: Path, model: Model, *, on_manifold: bool = True, channels: int = 1, n: int = N) -> None:
    """Dump in which every second image is correct and attacked with success, at distance 2 of norm 2.5."""
    rng = np.random.default_rng(0)
    half = np.arange(n) % 2 == 0
    kinds = ["attacked", "noise", *(["on_manifold"] if on_manifold else [])]
    arrays = {"labels": np.arange(n), "correct": half, "success_attacked": np.ones(n, bool)}
    arrays |= {"distance_held_out": np.full(n, 0.1, np.float32)}
    if on_manifold:
        arrays |= {"correct_decoded": half, "success_on_manifold": half}
    for kind in kinds:
        arrays[f"distance_{kind}"] = np.full(n, 0.0 if kind == "on_manifold" else 2.0, np.float32)
        arrays[f"norm_l2_{kind}"] = np.full(n, 2.5, np.float32)
        arrays[f"angle_{kind}"] = np.full(n, 80, np.float32)
    for name in ["clean", "attacked", *(["on_manifold", "decoded"] if on_manifold else [])]:
        arrays[f"images_{name}"] = rng.random((n, channels, 8, 8), dtype=np.float32)
    with DumpWriter(folder / "dumps" / f"{entry(model).file_stem}.h5", {"model_id": model.model_id}) as dump:
        group = dump.lens("manifold", {})
        for name, array in arrays.items():
            group.write(name, array)


def score_rows() -> list[dict[str, object]]:
    rows = []
    for i, model in enumerate(zoo()):
        values = {"clean_error": 0.1 * i, "regular_success": 0.9 - 0.2 * i, "on_manifold_success": 0.2 + 0.1 * i}
        values |= {f"{name}_{end}": values[name] + shift for name in list(values)[1:]
                   for end, shift in (("low", -0.05), ("high", 0.05))}  # fmt: skip
        rows += [{"model_id": model.model_id, "lens": "manifold", "metric": k, "value": v} for k, v in values.items()]
    return rows


@pytest.fixture
def run(tmp_path: Path) -> RunData:
    write_run(tmp_path, zoo(), score_rows())
    for model in zoo():
        write_manifold(tmp_path, model)
    return read_run(tmp_path)


def test_histograms_hold_successful_examples_of_correct_images_only(run: RunData) -> None:
    data = distance_values(run)
    counts = data.groupby(["model_id", "kind"]).size().to_dict()
    assert counts["normal", "attacked"] == N // 2
    assert counts["normal", "on_manifold"] == N // 2
    assert counts["normal", "noise"] == N
    attacked = data[data["kind"] == "attacked"]
    assert attacked["ratio"].to_numpy() == pytest.approx(np.full(len(attacked), 0.8))


def test_every_histogram_sums_to_one(run: RunData) -> None:
    with paper_style():
        drawing = drawn(draw_distances(run))
    labels = {patch.get_label() for patch in drawing.figure.axes[1].patches}
    assert labels >= {f"attacked, {side} models" for side in ("normal", "robust", "unpaired")}
    for axis in drawing.figure.axes:
        for patch in axis.patches:
            assert isinstance(patch, StepPatch)
            assert patch.get_data()[0].sum() == pytest.approx(1)


def test_success_is_drawn_with_its_correlation(run: RunData) -> None:
    with paper_style():
        drawing = drawn(draw_success(run))
    assert drawing.data["on_manifold_success"].tolist() == pytest.approx([0.2, 0.3, 0.4])
    assert "fonts: no ρ (n = 1)" in drawing.caption, "of one robust model, whatever the others are"
    assert len(drawing.figure.axes) == 2


def test_the_grid_shows_the_pair_with_marks_and_differences(run: RunData) -> None:
    with paper_style():
        drawing = drawn(draw_grid(run))
    assert len(drawing.figure.axes) == 2 * 5 * COLUMNS
    assert set(drawing.data["model_id"]) == {"normal", "robust"}
    for row in ("attacked", "on-manifold"):
        marked = drawing.data[drawing.data["row"] == row]
        assert (marked["mark"] == "✓").tolist() == [i % 2 == 0 for i in range(COLUMNS)] * 2


def test_without_a_decoder_the_grid_has_three_rows(tmp_path: Path) -> None:
    write_run(tmp_path, zoo()[:1], [r for r in score_rows() if r["model_id"] == "normal"])
    write_manifold(tmp_path, zoo()[0], on_manifold=False, channels=3, n=4)
    with paper_style():
        drawing = drawn(draw_grid(read_run(tmp_path)))
    assert len(drawing.figure.axes) == 3 * COLUMNS


def test_without_dumps_only_scores_are_drawn(tmp_path: Path) -> None:
    write_run(tmp_path, zoo(), score_rows())
    run = read_run(tmp_path)
    with paper_style():
        drawn = {figure.name: figure.draw(run) is not None for figure in FIGURES}
    assert drawn == {"manifold_distances": False, "manifold_success": True, "manifold_grid": False}


def test_a_run_without_the_lens_has_no_figures(tmp_path: Path) -> None:
    rows = [{"model_id": "normal", "lens": "filters", "metric": "sparsity", "value": 0.5}]
    write_run(tmp_path, zoo(), rows)
    with paper_style():
        assert all(figure.draw(read_run(tmp_path)) is None for figure in FIGURES)
