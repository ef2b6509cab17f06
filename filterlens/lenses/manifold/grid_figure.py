"""Images of the manifold lens: clean, attacked and on-manifold, with their differences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from filterlens.dumps import DumpGroup
from filterlens.errors import DumpError
from filterlens.report.comparison import pair_models
from filterlens.report.data import RunData
from filterlens.report.figure import Drawing
from filterlens.report.style import current_style, diverging, new_figure, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_grid"]

COLUMNS = 10
Array = NDArray[np.float64]


def draw_grid(run: RunData) -> Drawing | None:
    """Draw a few images of a matched pair: clean, attacked, on-manifold, and the differences to clean."""
    models = _examples(run)
    if not models:
        return None
    blocks = [(model_id, _rows(run, model_id)) for model_id in models]
    n_rows = sum(len(rows) for _, rows in blocks)
    figure = new_figure(0.3 + n_rows * current_style().page / (COLUMNS + 1.8))
    axes = figure.subplots(n_rows, COLUMNS, squeeze=False)
    listed = []
    row = 0
    for model_id, rows in blocks:
        for label, images, marks in rows:
            for column, axis in enumerate(axes[row]):
                _picture(axis, images, column, difference="difference" in label)
                if column < len(images):
                    axis.set_title(marks[column], pad=1)
                    strongest, power = float(np.abs(images[column]).max()), float(np.linalg.norm(images[column]))
                    listed.append((model_id, label, column, marks[column], strongest, power))
            text = f"{short(model_id, 16)}\n{label}" if row == 0 or axes[row - 1, 0].get_label() != model_id else label
            axes[row, 0].set_label(model_id)
            axes[row, 0].set_ylabel(text, rotation=0, ha="right", va="center")
            row += 1
    data = pd.DataFrame(listed, columns=["model_id", "row", "image", "mark", "max_abs", "l2"])
    caption = (
        "The first images of the run: clean, after the regular attack, after the on-manifold attack where the manifold "
        "has a decoder, and the differences to clean (purple negative, green positive, white zero, each scaled to its "
        "own largest value). ✓: classified correctly before the attack, not after."
    )
    return Drawing(figure, data, caption)


def _examples(run: RunData) -> list[str]:
    """Choose the first pair with dumps, or else the first model with one."""
    pairs = pair_models(run.models)
    for normal, robust in zip(pairs["normal"], pairs["robust"], strict=True):
        if _rows(run, normal) and _rows(run, robust):
            return [normal, robust]
    return next(([entry.model_id] for entry in run.catalog if _rows(run, entry.model_id)), [])


def _rows(run: RunData, model_id: str) -> list[tuple[str, Array, list[str]]]:
    """Label, images and the mark above each, of every row of one model; nothing where there is no dump of it."""
    try:
        with run.dump(model_id) as reader:
            return _read_rows(reader.lens("manifold")) if "manifold" in reader.lenses else []
    except DumpError:
        return []  # scores outlive dumps: a report may be written where no dump is


def _read_rows(group: DumpGroup) -> list[tuple[str, Array, list[str]]]:
    def images(name: str) -> Array:
        return group.read(name)[:COLUMNS].astype(np.float64)

    def marks(success: str, correct: str) -> list[str]:
        fooled = group.read(success)[:COLUMNS].astype(bool) & group.read(correct)[:COLUMNS].astype(bool)
        return ["✓" if one else "" for one in fooled]

    clean = images("images_clean")
    plain = [""] * len(clean)
    attacked = images("images_attacked")
    rows = [("clean", clean, plain), ("attacked", attacked, marks("success_attacked", "correct"))]
    rows.append(("difference", attacked - clean, plain))
    if "images_on_manifold" in group:
        moved = images("images_on_manifold")
        rows.append(("on-manifold", moved, marks("success_on_manifold", "correct_decoded")))
        rows.append(("difference", moved - images("images_decoded"), plain))
    return rows


def _picture(axis: Axes, images: Array, column: int, *, difference: bool) -> None:
    axis.set_xticks([])
    axis.set_yticks([])
    axis.grid(visible=False)
    for spine in axis.spines.values():
        spine.set_visible(False)
    if column >= len(images):
        return
    image = images[column].transpose(1, 2, 0)  # (height, width, channels)
    look: dict[str, Any] = {"interpolation": "nearest"}
    if difference:
        signed = image.mean(axis=2)
        largest = float(np.abs(signed).max()) or 1.0
        axis.imshow(signed, cmap=diverging(), vmin=-largest, vmax=largest, **look)
    elif image.shape[2] == 1:
        axis.imshow(image[:, :, 0], cmap="gray", vmin=0, vmax=1, **look)
    else:
        axis.imshow(image.clip(0, 1), **look)
