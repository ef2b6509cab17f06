"""Pictures of filters themselves: the first and the last convolution of robust and normal models."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from filterlens.dumps import DumpGroup
from filterlens.errors import DumpError
from filterlens.report.comparison import pair_models
from filterlens.report.data import RunData
from filterlens.report.figure import Drawing
from filterlens.report.marks import NEUTRAL, beside_row, mark_handles, mark_of
from filterlens.report.style import diverging, new_figure, short

__all__ = ["StoredLayer", "chosen_models", "draw_first", "draw_last", "draw_rgb", "end_layer"]

MODELS = 8
FILTERS = 16
Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class StoredLayer:
    """One convolution's weight, float64 (c_out, c_in / groups, k_h, k_w), as a dump holds it; perhaps its beginning."""

    name: str
    weight: Array
    groups: int
    stride: tuple[int, int]


def chosen_models(run: RunData, most: int = MODELS) -> list[str]:
    """Choose models whose filters are shown: one pair of each data set and architecture, robust beside normal.

    Without pairs, the first models of the catalog.
    """
    pairs = pair_models(run.models)
    variety = pd.concat([pairs.drop_duplicates(["dataset", "architecture"]), pairs]).drop_duplicates("robust")
    chosen: list[str] = []
    for robust, normal in zip(variety["robust"], variety["normal"], strict=True):
        new = [model_id for model_id in (robust, normal) if model_id not in chosen]
        if len(chosen) + len(new) <= most:
            chosen += new
    return chosen or [entry.model_id for entry in run.catalog][:most]


def end_layer(run: RunData, model_id: str, *, last: bool = False) -> StoredLayer | None:
    """Read a model's first (conv_depth 0) or last (conv_depth_norm 1) convolution, None where its dump has none."""
    try:
        with run.dump(model_id) as reader:
            if "filters" not in reader.held:
                return None
            return _find(reader.kept("filters"), last=last)
    except DumpError:
        return None  # a model that failed has no dump; the ledger says why


def _find(group: DumpGroup, *, last: bool) -> StoredLayer | None:
    for name in group.names():
        attributes = group.attributes_of(name)
        place = attributes.get("conv_depth_norm" if last else "conv_depth")
        weight_shape = group.shape(name)
        if place != (1 if last else 0) or len(weight_shape) != 4 or 0 in weight_shape:
            continue
        weight = group.read(name).astype(np.float64)
        if np.isfinite(weight).all():
            stride = attributes.get("stride", 1)
            pair = (int(stride[0]), int(stride[-1])) if isinstance(stride, list) else (int(stride), int(stride))
            return StoredLayer(name, weight, int(attributes.get("groups", 1)), pair)
    return None


def _kernels(layer: StoredLayer) -> Array | None:
    """First single-channel kernels, scaled by their common largest weight, (n, k_h, k_w) in [-1, 1]."""
    kernels = layer.weight.reshape(-1, *layer.weight.shape[2:])[:FILTERS]
    return kernels / max(float(np.abs(kernels).max()), 1e-30)


def _rgb(layer: StoredLayer) -> Array | None:
    """First filters as RGB images, (n, k_h, k_w, 3) in [0, 1]; None unless the input has three channels."""
    if layer.weight.shape[1] != 3:
        return None
    filters = layer.weight[:FILTERS].transpose(0, 2, 3, 1)
    return 0.5 + 0.5 * filters / max(float(np.abs(layer.weight).max()), 1e-30)


def draw_first(run: RunData) -> Drawing | None:
    """Draw kernels of the first convolution, a row a model."""
    caption = "First kernels of the first convolution, each row scaled by its largest weight."
    return _draw_rows(run, _kernels, caption, last=False)


def draw_last(run: RunData) -> Drawing | None:
    """Draw kernels of the last convolution, a row a model."""
    caption = "First kernels of the last convolution, each row scaled by its largest weight."
    return _draw_rows(run, _kernels, caption, last=True)


def draw_rgb(run: RunData) -> Drawing | None:
    """Draw filters of the first convolution in colour, a row a model."""
    caption = "Filters of the first convolution in colour: grey is zero, each row scaled by its largest weight."
    return _draw_rows(run, _rgb, caption, last=False)


def _draw_rows(
    run: RunData, picture: Callable[[StoredLayer], Array | None], caption: str, *, last: bool
) -> Drawing | None:
    rows: dict[str, Array] = {}
    for model_id in chosen_models(run):
        layer = end_layer(run, model_id, last=last)
        pictures = None if layer is None else picture(layer)
        if pictures is not None:
            rows[model_id] = pictures
    if not rows:
        return None
    figure = new_figure(0.3 + 0.36 * len(rows))
    axes = figure.subplots(len(rows), FILTERS, squeeze=False)
    robust = run.models["robust"]
    for line, (model_id, pictures) in zip(axes, rows.items(), strict=True):
        for axis, one in zip(line, pictures, strict=False):
            axis.imshow(one, cmap=diverging(), vmin=-1, vmax=1)
            axis.set(xticks=[], yticks=[])
            axis.grid(visible=False)
            axis.spines[:].set(visible=True, linewidth=0.3, color=NEUTRAL)
        for axis in line[len(pictures) :]:
            axis.set_axis_off()
        line[0].set_ylabel(short(model_id, 30), rotation=0, ha="right", va="center", labelpad=12)
        width = pictures.shape[2]
        beside_row(line[0], mark_of(robust[model_id]))
        line[0].set(xlim=(-0.5, width - 0.5), ylim=(pictures.shape[1] - 0.5, -0.5))
    sides = [robust[model_id] for model_id in rows]
    n = f"{len(rows)} models ({sides.count(True)} robust, {sides.count(False)} normal), at most {FILTERS} each."
    handles = mark_handles({mark_of(side).label for side in sides})
    figure.legend(handles=handles, loc="outside upper left", ncols=3)
    return Drawing(figure, pd.DataFrame(list(_numbers(rows))), f"{caption} {n}")


def _numbers(rows: dict[str, Array]) -> Iterator[dict[str, object]]:
    for model_id, pictures in rows.items():
        for place in np.ndindex(pictures.shape):
            facts: dict[str, object] = {"model_id": model_id, "filter": place[0], "row": place[1], "column": place[2]}
            if len(place) == 4:
                facts["channel"] = "rgb"[place[3]]
            yield facts | {"value": float(pictures[place])}
