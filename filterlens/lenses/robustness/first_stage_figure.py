"""What an attack does to the first stage: filter, clean activation, attacked activation and difference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from filterlens.errors import DumpError, InputError
from filterlens.lenses.robustness.first_stage import Array, RecordedStage, read_stage
from filterlens.report.comparison import pair_models
from filterlens.report.data import RunData
from filterlens.report.figure import Drawing
from filterlens.report.marks import NEUTRAL
from filterlens.report.style import diverging, new_figure, sequential, short

__all__ = ["draw_first_stage"]

FILTERS = 6
_LARGEST = 32  # pixels a side of a drawn map; larger ones are averaged block by block
_SHOWN = ("filter", "clean", "attacked", "difference")


@dataclass(frozen=True, slots=True, eq=False)
class _Pictures:
    """One model's first stage on its first recorded image: pictures by name and filter."""

    model_id: str
    stage: RecordedStage
    pictures: dict[str, Array]


def draw_first_stage(run: RunData) -> Drawing | None:
    """Draw filter, clean activation, attacked activation and difference of a robust model and of its normal one."""
    shown = _chosen(run)
    if not shown:
        return None
    figure = new_figure(2.7)
    blocks = figure.subfigures(1, len(shown), squeeze=False)[0]
    robust = run.models["robust"]
    for block, model in zip(blocks, shown, strict=True):
        side = {True: "robust: ", False: "normal: "}.get(robust[model.model_id], "")
        block.suptitle(side + short(model.model_id, 32))
        change = model.stage.change
        n = len(model.pictures["filter"])
        axes = block.subplots(len(_SHOWN), n, squeeze=False)
        top = max(float(np.abs([model.pictures["clean"], model.pictures["attacked"]]).max()), 1e-30)
        signed = float(model.stage.clean.min()) < 0  # an activation that lets negative values through, or none
        for i, name in enumerate(_SHOWN):
            limit = top if name in {"clean", "attacked"} else float(np.abs(model.pictures[name]).max()) or 1.0
            two_sided = signed or name in {"filter", "difference"}
            low, colours = (-limit, diverging()) if two_sided else (0.0, sequential())
            for j in range(n):
                axes[i, j].imshow(model.pictures[name][j], cmap=colours, vmin=low, vmax=limit)
                axes[i, j].set(xticks=[], yticks=[])
                axes[i, j].grid(visible=False)
                axes[i, j].spines[:].set(visible=True, linewidth=0.3, color=NEUTRAL)
            axes[i, 0].set_ylabel(name, fontsize="small")
        for j in range(n):
            axes[-1, j].set_xlabel(f"{change[j]:.2f}", fontsize="small")
    who = "; ".join(f"{m.model_id}: {m.stage.operations}, {len(m.stage.clean)} images" for m in shown)
    caption = (
        "First stage under attack: filter (mean over its input channels), what the network puts out behind it on a "
        f"clean image and on the attacked one, and their difference ({who}). Below: relative change "
        "‖r(x) − r(x̃)‖₂ / ‖r(x)‖₂ over all recorded images."
    )
    return Drawing(figure, pd.DataFrame(list(_numbers(shown))), caption)


def _chosen(run: RunData) -> list[_Pictures]:
    """Return the pair that was asked for, or the first of which both models have a record, or the first such model."""
    pairs = pair_models(run.models)
    if run.first_stage_pair:
        pairs = pairs[pairs["robust"] == run.first_stage_pair]
        if pairs.empty:
            raise InputError(f"{run.first_stage_pair} is no robust model of this run with a matched normal one")
    for robust, normal in zip(pairs["robust"], pairs["normal"], strict=True):
        found = [_pictures(run, robust), _pictures(run, normal)]
        if all(found):
            return [model for model in found if model is not None]
    if run.first_stage_pair:
        run.opened.clear()  # no dump is at fault
        raise InputError(
            f"the dumps of {run.first_stage_pair} and of its normal model do not both hold a first stage: audit them "
            "with the robustness lens"
        )
    alone = (_pictures(run, entry.model_id) for entry in run.catalog)
    return [model for model in alone if model is not None][:1]


def _pictures(run: RunData, model_id: str) -> _Pictures | None:
    try:
        with run.dump(model_id) as reader:
            stage = read_stage(reader.lens("robustness")) if "robustness" in reader.lenses else None
    except DumpError:
        return None  # a model that failed has no dump; the ledger says why
    if stage is None:
        return None
    clean, attacked = _averaged(stage.clean[0, :FILTERS]), _averaged(stage.attacked[0, :FILTERS])
    pictures = {
        "filter": stage.weight[:FILTERS].mean(axis=1),
        "clean": clean,
        "attacked": attacked,
        "difference": attacked - clean,
    }
    return _Pictures(model_id, stage, pictures)


def _averaged(maps: Array) -> Array:
    """Average blocks, so that a map is at most `_LARGEST` pixels a side; what does not fill a block is cut."""
    n, h, w = maps.shape
    b = -(-max(h, w) // _LARGEST)
    cut = maps[:, : max(1, h // b) * b, : max(1, w // b) * b]
    averaged: Array = cut.reshape(n, -1, min(b, h), max(1, w // b), min(b, w)).mean(axis=(2, 4))
    return averaged


def _numbers(shown: list[_Pictures]) -> Iterator[dict[str, object]]:
    for model in shown:
        change = model.stage.change
        for name, pictures in model.pictures.items():
            for j, row, column in np.ndindex(pictures.shape):
                facts = {"model_id": model.model_id, "shown": name, "filter": j, "row": row, "column": column}
                yield facts | {"value": float(pictures[j, row, column]), "relative_change": float(change[j])}
