"""What an attack does to the first convolution's activations (Gavrikov2022Lens, figure 9)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from filterlens.catalogs import Entry
from filterlens.errors import DumpError
from filterlens.lenses.filters.figures.grids import StoredLayer, end_layer
from filterlens.report.comparison import pair_models
from filterlens.report.data import RunData
from filterlens.report.figure import Drawing
from filterlens.report.style import NEUTRAL, PAGE_WIDTH, diverging, short

__all__ = ["draw_first_stage", "relative_change", "responses"]

FILTERS = 6
_LARGEST = 32  # pixels a side of a drawn map; larger ones are averaged block by block
_SHOWN = ("filter", "clean", "attacked", "difference")
Array = NDArray[np.float64]


def responses(images: Array, layer: StoredLayer) -> Array:
    """ReLU of the first convolution alone: zero padding that keeps the size, no bias, no normalisation layer.

    Parameters
    ----------
    images
        Shape (n, c, h, w), normalised as the model does.
    layer
        Weight (c_out, c, k_h, k_w) and stride; no groups.

    Returns
    -------
        Shape (n, c_out, ⌈h / s_h⌉, ⌈w / s_w⌉), at least 0.
    """
    k_h, k_w = layer.weight.shape[2:]
    pad_h, pad_w = (k_h // 2, (k_h - 1) // 2), (k_w // 2, (k_w - 1) // 2)
    padded = np.pad(images, ((0, 0), (0, 0), pad_h, pad_w))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (k_h, k_w), axis=(2, 3))  # (n, c, h, w, k_h, k_w)
    windows = windows[:, :, :: layer.stride[0], :: layer.stride[1]]
    summed: Array = np.einsum("nchwij,ocij->nohw", windows, layer.weight, optimize=True)
    return np.maximum(summed, 0)


def relative_change(clean: Array, attacked: Array) -> Array:
    """‖r(x) − r(x̃)‖₂ / ‖r(x)‖₂ of each filter, maps flattened over every axis but the filters' (the second).

    Parameters
    ----------
    clean, attacked
        Activations, shape (n, c_out, h, w).

    Returns
    -------
        Shape (c_out,), at least 0; NaN for a filter that the clean images leave silent.
    """
    axes = (0, 2, 3)
    norm = np.sqrt((clean**2).sum(axis=axes))
    change = np.sqrt(((clean - attacked) ** 2).sum(axis=axes))
    ratio: Array = np.divide(change, norm, out=np.full_like(norm, np.nan), where=norm > 0)
    return ratio


@dataclass(frozen=True, slots=True, eq=False)
class _Stage:
    """One model's first stage on its first kept image: pictures by name and filter, and the change over all images."""

    model_id: str
    pictures: dict[str, Array]
    change: Array
    n_images: int


def draw_first_stage(run: RunData) -> Drawing | None:
    """Draw filter, clean activation, attacked activation and difference for one robust and one normal model."""
    stages = _stages(run)
    if not stages:
        return None
    from matplotlib.figure import Figure

    figure = Figure(figsize=(PAGE_WIDTH, 2.5))
    blocks = figure.subfigures(1, len(stages), squeeze=False)[0]
    robust = run.models["robust"]
    for block, stage in zip(blocks, stages, strict=True):
        side = {True: "robust: ", False: "normal: "}.get(robust[stage.model_id], "")
        block.suptitle(side + short(stage.model_id, 36), fontsize=8)
        n = len(stage.change)
        axes = block.subplots(len(_SHOWN), n, squeeze=False)
        top = max(float(np.max([stage.pictures["clean"], stage.pictures["attacked"]])), 1e-30)
        for i, name in enumerate(_SHOWN):
            limit = float(np.abs(stage.pictures[name]).max()) or 1.0
            signed = name in {"filter", "difference"}
            low, high, colours = (-limit, limit, diverging()) if signed else (0.0, top, "magma")
            for j in range(n):
                axes[i, j].imshow(stage.pictures[name][j], cmap=colours, vmin=low, vmax=high)
                axes[i, j].set(xticks=[], yticks=[])
                axes[i, j].grid(visible=False)
                axes[i, j].spines[:].set(visible=True, linewidth=0.3, color=NEUTRAL)
            axes[i, 0].set_ylabel(name, fontsize=7)
        for j in range(n):
            axes[-1, j].set_xlabel(f"{stage.change[j]:.2f}")
    who = ", ".join(f"{s.model_id} ({s.n_images} images)" for s in stages)
    caption = (
        f"First stage of {who}: filter (mean over channels), ReLU activation on a clean and on an attacked image, and "
        "their difference. Below: relative change of the activation over all kept images. Without bias and "
        "normalisation layer."
    )
    return Drawing(figure, pd.DataFrame(list(_numbers(stages))), caption)


def _stages(run: RunData) -> list[_Stage]:
    """Find the first pair of which both models have all that is needed, or else the first such model."""
    pairs = pair_models(run.models)
    for robust, normal in zip(pairs["robust"], pairs["normal"], strict=True):
        found = [_stage(run, robust), _stage(run, normal)]
        if all(found):
            return [stage for stage in found if stage is not None]
    alone = (_stage(run, entry.model_id) for entry in run.catalog)
    return [stage for stage in alone if stage is not None][:1]


def _stage(run: RunData, model_id: str) -> _Stage | None:
    layer = end_layer(run, model_id)
    kept = _kept_images(run, model_id)
    if layer is None or kept is None or layer.groups != 1 or kept[0].shape[1] != layer.weight.shape[1]:
        return None
    entry = run.catalog[model_id]
    clean, attacked = (responses(_normalise(images, entry), layer) for images in kept)
    first_clean, first_attacked = _averaged(clean[0, :FILTERS]), _averaged(attacked[0, :FILTERS])
    pictures = {
        "filter": layer.weight[:FILTERS].mean(axis=1),
        "clean": first_clean,
        "attacked": first_attacked,
        "difference": first_attacked - first_clean,
    }
    return _Stage(model_id, pictures, relative_change(clean, attacked)[:FILTERS], len(clean))


def _kept_images(run: RunData, model_id: str) -> tuple[Array, Array] | None:
    try:
        with run.dump(model_id) as reader:
            if "robustness" not in reader.lenses:
                return None
            group = reader.lens("robustness")
            if "images_clean" not in group or "images_attacked" not in group:
                return None
            clean, attacked = (group.read(name).astype(np.float64) for name in ("images_clean", "images_attacked"))
    except DumpError:
        return None  # a model that failed has no dump; the ledger says why
    usable = clean.ndim == 4 and clean.shape == attacked.shape and clean.size > 0
    return (clean, attacked) if usable else None


def _normalise(images: Array, entry: Entry) -> Array:
    if entry.mean is None or entry.std is None:
        return images
    mean, std = (np.asarray(values, dtype=np.float64)[:, None, None] for values in (entry.mean, entry.std))
    return (images - mean) / std


def _averaged(maps: Array) -> Array:
    """Average blocks, so that a map is at most `_LARGEST` pixels a side; what does not fill a block is cut."""
    n, h, w = maps.shape
    b = -(-max(h, w) // _LARGEST)
    cut = maps[:, : max(1, h // b) * b, : max(1, w // b) * b]
    averaged: Array = cut.reshape(n, -1, min(b, h), max(1, w // b), min(b, w)).mean(axis=(2, 4))
    return averaged


def _numbers(stages: list[_Stage]) -> Iterator[dict[str, object]]:
    for stage in stages:
        for name, pictures in stage.pictures.items():
            for j, row, column in np.ndindex(pictures.shape):
                facts = {"model_id": stage.model_id, "shown": name, "filter": j, "row": row, "column": column}
                yield facts | {"value": float(pictures[j, row, column]), "relative_change": float(stage.change[j])}
