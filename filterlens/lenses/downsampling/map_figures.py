"""What downsampling does to maps: spectra before and after, and one map in four pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from filterlens.dumps import DumpGroup
from filterlens.errors import DumpError
from filterlens.lenses.downsampling.figure_spectra import alias_free, power_spectra, radial_mean
from filterlens.report.comparison import pair_models
from filterlens.report.data import RunData
from filterlens.report.figure import Drawing
from filterlens.report.marks import NEUTRAL, SERIES
from filterlens.report.style import current_style, diverging, new_figure, plain_log, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["OperationMaps", "draw_example", "draw_spectra", "example_models", "first_maps", "typical_map"]

IMAGES = 8  # enough for a smooth spectrum, little enough to read from a large dump
COLUMNS = 5
Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class OperationMaps:
    """Dense maps of the first images at one operation, float64 (images, channels, s_h H, s_w W)."""

    layer: str
    kind: str
    stride: tuple[int, int]
    maps: Array


def example_models(run: RunData) -> list[str]:
    """Choose the models that are shown: the first pair with dumps, or else the first model with one."""
    pairs = pair_models(run.models)
    for normal, robust in zip(pairs["normal"], pairs["robust"], strict=True):
        if next(first_maps(run, normal), None) and next(first_maps(run, robust), None):
            return [normal, robust]
    return next(([entry.model_id] for entry in run.catalog if next(first_maps(run, entry.model_id), None)), [])


def first_maps(run: RunData, model_id: str) -> Iterator[OperationMaps]:
    """Read the first images' maps of a model's operations, in order; nothing where there is no dump of them."""
    try:
        with run.dump(model_id) as reader:
            if "downsampling" in reader.lenses:
                yield from _operations(reader.lens("downsampling"))
    except DumpError:
        return  # scores outlive dumps: a report may be written where no dump is


def _operations(group: DumpGroup) -> Iterator[OperationMaps]:
    for layer in group.names():
        attributes, shape = group.attributes_of(layer), group.shape(layer)
        stride = tuple(int(step) for step in attributes.get("stride", ()))
        if len(stride) != 2 or len(shape) != 4 or 0 in shape or shape[2] % stride[0] or shape[3] % stride[1]:
            continue
        maps = next(group.batches(layer, IMAGES)).astype(np.float64)
        if np.isfinite(maps).all():
            yield OperationMaps(layer, str(attributes.get("kind", "")), (stride[0], stride[1]), maps)


def draw_spectra(run: RunData) -> Drawing | None:
    """Draw azimuthally averaged power spectra: rows are models, columns operations."""
    models = example_models(run)
    rows = {model_id: [o for o in first_maps(run, model_id) if o.kind != "shortcut"][:COLUMNS] for model_id in models}
    rows = {model_id: operations for model_id, operations in rows.items() if operations}
    if not rows:
        return None
    n_columns = max(len(operations) for operations in rows.values())
    figure = new_figure(0.6 + 1.6 * len(rows), width=min(1.0, 0.15 + 0.28 * n_columns))
    axes = figure.subplots(len(rows), n_columns, sharex=True, sharey=True, squeeze=False)
    parts = []
    for i, (model_id, operations) in enumerate(rows.items()):
        for axis, operation in zip(axes[i], operations, strict=False):
            part = spectrum_rows(operation)
            _curves(axis, part, operation)
            parts.append(part.assign(model_id=model_id, layer=operation.layer))
        for axis in axes[i, len(operations) :]:
            axis.set_visible(False)
        axes[i, 0].set_ylabel(f"{short(model_id, 22)}\nrelative power")
    plain_log(axes[0, 0], "y")
    figure.supxlabel("frequency in cycles a sample of the dense map", fontsize="medium")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=3)
    data = pd.concat(parts, ignore_index=True)[["model_id", "layer", "curve", "frequency", "power"]]
    caption = (
        "Power spectra at each convolution and pooling with a stride, averaged over directions, channels and the first "
        f"{IMAGES} images, relative to the dense map's total power without its mean. Between the output and the "
        "alias-free curve lies what has folded; the dotted line is the output's Nyquist frequency."
    )
    return Drawing(figure, data, caption)


def spectrum_rows(operation: OperationMaps) -> pd.DataFrame:
    """Azimuthally averaged spectra of D, O and A over all maps: `curve`, `frequency`, `power` (relative to Σ P_D)."""
    spectra = power_spectra(operation.maps, stride=operation.stride)
    total = spectra.dense.mean((0, 1)).sum() or 1.0
    step = (float(operation.stride[0]), float(operation.stride[1]))
    width = 1 / min(operation.maps.shape[-2:])
    curves = (
        ("dense", spectra.dense, (1.0, 1.0)),
        ("output", spectra.output, step),
        ("alias-free", spectra.alias_free, step),
    )
    parts = []
    for name, power, distance in curves:
        frequency, mean = radial_mean(power.mean((0, 1)) / total, step=distance, width=width)
        parts.append(pd.DataFrame({"curve": name, "frequency": frequency, "power": mean}))
    return pd.concat(parts, ignore_index=True)


def layer_title(name: str) -> str:
    """Name a layer in a figure: one of `torch.nn.Sequential`, whose name is a number such as `6`, as `layer 6`."""
    return f"layer {name}" if name.replace(".", "").isdigit() else name


def _curves(axis: Axes, part: pd.DataFrame, operation: OperationMaps) -> None:
    scale = current_style().lines
    looks = {
        "dense": {"color": NEUTRAL, "linewidth": 1.0 * scale, "linestyle": ":"},
        "alias-free": {"color": "black", "linewidth": 1.4 * scale, "linestyle": "--"},
        "output": {"color": SERIES[0][0], "linewidth": 1.4 * scale, "linestyle": "-"},
    }
    for name, look in looks.items():
        own = part[(part["curve"] == name) & (part["power"] > 0)]
        axis.plot(own["frequency"], own["power"], label=name, **look)  # type: ignore[arg-type]
    axis.axvline(0.5 / max(operation.stride), color="black", linewidth=0.6, linestyle=":")
    axis.set_title(short(layer_title(operation.layer), 24))


def draw_example(run: RunData) -> Drawing | None:
    """Draw one map of each example model: dense, subsampled, alias-free, and what aliasing added."""
    chosen = [
        (model_id, typical_map(operation)) for model_id in example_models(run) if (operation := _main(run, model_id))
    ]
    if not chosen:
        return None
    figure = new_figure(0.45 + 1.65 * len(chosen))
    axes = figure.subplots(len(chosen), 4, squeeze=False)
    parts = []
    for row, (model_id, example) in zip(axes, chosen, strict=True):
        pictures = example.pictures()
        spread = max(float(np.abs(pictures["dense"] - pictures["dense"].mean()).max()), 1e-30)
        middle = float(pictures["dense"].mean())
        for axis, (name, picture) in zip(row, pictures.items(), strict=True):
            centre = 0.0 if name == "difference" else middle
            shown = axis.imshow(picture, cmap=diverging(), vmin=centre - spread, vmax=centre + spread, aspect="equal")
            axis.set_xticks([])
            axis.set_yticks([])
            axis.grid(visible=False)
            y, x = np.indices(picture.shape).reshape(2, -1)
            values = {"row": y, "column": x, "value": picture.ravel()}
            parts.append(pd.DataFrame({"model_id": model_id, "picture": name, **values}))
        row[0].set_ylabel(f"{short(model_id, 22)}\n{short(layer_title(example.layer), 22)}, map {example.channel}")
        figure.colorbar(shown, ax=row[-1], shrink=0.8, label="activation")
    for axis, name in zip(axes[0], ("dense", "subsampled", "alias-free", "difference"), strict=True):
        axis.set_title(name)
    caption = (
        "One map of the first image at the first strided convolution (or else pooling): the dense map, its "
        "subsampling, the subsampling after an ideal low-pass filter, and the difference of the two, which is what "
        "aliasing added. The map is the one whose relative aliasing is the median of its layer; within a row one "
        "colour scale, centred at the dense map's mean, for the difference at 0."
    )
    return Drawing(figure, pd.concat(parts, ignore_index=True), caption)


def _main(run: RunData, model_id: str) -> OperationMaps | None:
    operations = list(first_maps(run, model_id))
    return next((o for o in operations if o.kind == "main"), operations[0] if operations else None)


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One dense map, (s_h H, s_w W), of one channel."""

    layer: str
    channel: int
    stride: tuple[int, int]
    dense: Array

    def pictures(self) -> dict[str, Array]:
        """Return the four pictures by heading."""
        subsampled = self.dense[:: self.stride[0], :: self.stride[1]]
        without = alias_free(self.dense, stride=self.stride)
        return {
            "dense": self.dense,
            "subsampled": subsampled,
            "alias-free": without,
            "difference": subsampled - without,
        }


def typical_map(operation: OperationMaps) -> Example:
    """Choose the first image's map whose relative aliasing is the median of its layer; constant maps stand back."""
    spectra = power_spectra(operation.maps[0], stride=operation.stride)
    power = spectra.dense.sum((-2, -1))
    excess = np.abs(spectra.output - spectra.alias_free).sum((-2, -1))
    alive = np.flatnonzero(power > 1e-12 * power.max()) if power.max() > 0 else np.arange(len(power))
    relative = excess[alive] / np.maximum(power[alive], 1e-300)
    channel = int(alive[np.argsort(relative, kind="stable")[len(alive) // 2]])
    return Example(operation.layer, channel, operation.stride, operation.maps[0, channel])
