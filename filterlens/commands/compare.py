"""`compare`: two checkpoints, or two audits, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from filterlens.commands.bounds import unlike_layers
from filterlens.commands.scoring import Scored, carries_its_own, score_source
from filterlens.errors import InputError
from filterlens.lens import Options, RunSettings, all_scores
from filterlens.report.kernels import is_size, main_sizes, per_kernel_lenses
from filterlens.score import UNNORMALISED, model_scores

if TYPE_CHECKING:
    from torch import nn

__all__ = ["compare", "compare_scores"]

_FEW_LAYERS: Final = 4  # fewer say nothing of what is usual
_USUAL: Final = 3 * 1.4826  # three robust standard deviations, in medians of the absolute value
_NOTES: Final = {
    "retraining": "* beyond every change between the first and its retrainings (--noise)",
    "interval": "* beyond the 95 % intervals of both sides",
    "layers": "* of layers: more than 4.4 times what the score changes in the median layer; retrainings with another "
    "seed (--noise) would say what is noise",
}
_UNLIKE = "not compared: filters of"


def compare(
    first: str | Path | nn.Module,
    second: str | Path | nn.Module,
    *,
    noise: Sequence[str | Path | nn.Module] = (),
    top: int | None = None,
    lenses: Sequence[str] | Mapping[str, Options] = ("filters",),
    fast: bool = True,
    settings: RunSettings | None = None,
    **options: Any,  # noqa: ANN401 - of lenses, and what `score_source` takes besides
) -> pd.DataFrame:
    """Compare two checkpoints, before and after fine-tuning say, or two finished audits.

    Parameters
    ----------
    first, second
        Each a path, a source, `CATALOG/MODEL_ID`, the folder of a finished audit, or a network in memory. Catalogs and
        audits carry their own normalisation; `arch`, `eps`, `mean` and `std` are those of sides that are checkpoints.
    noise
        The first one trained again with other seeds: what changes no more than between these is noise.
    top
        How many layers' rows are kept, those that changed most; all where None.
    lenses, fast, settings, options
        As for `filterlens.extract`; `arch`, `eps`, `mean` and `std` of a checkpoint as on the command line.

    Returns
    -------
        As `compare_scores`: one row a model, layer and score. `attrs["left_out"]` says which lenses do not apply, and
        why, and filters of which sizes are not compared; where none of the lenses asked for applies, all others take
        their place that need weights only. `attrs["notes"]` says what `outside` means here, and how many rows `top` has
        left out.

    Raises
    ------
    InputError
        `top` is negative.
    CheckpointError
        A model cannot be loaded or scored.

    Examples
    --------
    >>> import filterlens
    >>> one, other = "fonts-linf/preact_resnet-normal-s0", "fonts-linf/preact_resnet-pgd-s0"
    >>> change = filterlens.compare(one, other).set_index(["layer", "metric"])["difference"]
    >>> bool(change["", "variance_entropy"] > 0)
    True
    """
    facts = {name: options.pop(name) for name in ("arch", "eps", "mean", "std") if name in options}
    own = [carries_its_own(source) for source in (first, second)]
    if top is not None and top < 0:
        raise InputError(f"--top {top}: give how many rows are shown, 0 or more")

    def scored(source: str | Path | nn.Module, *, has_its_own: bool) -> Scored:
        given = {} if has_its_own and not all(own) else facts
        how: dict[str, Any] = {"lenses": lenses, "fast": fast, "settings": settings} | given | options
        return score_source(source, leave_out=True, **how)

    sides = [scored(source, has_its_own=found) for source, found in zip((first, second), own, strict=True)]
    again = [scored(source, has_its_own=carries_its_own(source)).scores for source in noise]
    table = compare_scores(*(side.scores for side in sides), again=again)
    marked = set(table.loc[table["outside"].fillna(value=False), "noise_from"])
    notes = [said for kind, said in _NOTES.items() if kind in marked]
    notes += filter(None, [unlike_layers(*(side.scores for side in sides))])
    unlike = [said for note in table["note"].unique() for said in note.split("; ") if said.startswith(_UNLIKE)]
    layers = int((table["layer"] != "").sum())
    if top is not None and layers > top:
        table = table.head(len(table) - layers + top)
        notes.append(f"{layers - top} smaller changes of layers are left out (--top {layers} shows all)")
    table.attrs["left_out"] = list(dict.fromkeys([*(said for side in sides for said in side.left_out), *unlike]))
    table.attrs["notes"] = notes
    return table


def compare_scores(first: pd.DataFrame, second: pd.DataFrame, *, again: Sequence[pd.DataFrame] = ()) -> pd.DataFrame:
    """Compare the score tables of two checkpoints or runs.

    Parameters
    ----------
    first, second
        Score tables (see `filterlens.score`).
    again
        Those of the first one, trained again with other seeds.

    Returns
    -------
        Columns `model` (empty for two single models), `layer` (empty for the model's mean), `metric`, `first`,
        `second`, `difference` = second - first; `change`, its size as a share of the score's range, or of the larger
        value where the range is open; `noise`, the largest difference that is unremarkable, NaN where nobody knows;
        `noise_from`, which says how that is known; `outside`, whether the difference is larger; and `note`: which side
        was run without normalisation, or that filters of different sizes are not compared, whose difference is NaN. The
        means come first, each part in the order of `change`. A layer that only one side has is NaN on the other, and
        comes last.

    Notes
    -----
    `noise_from` is `retraining`: the largest difference between `first` and any of `again`, of the mean or in any
    layer; `interval`: √(h₁² + h₂²) of the half widths of both sides' 95 % intervals, for scores that have them;
    `layers`: 3 · 1.4826 times the median of the score's absolute differences over four or more layers, which tells a
    layer that changed unlike the others, not one that changed at all.
    """
    joined = _joined(first, second)
    joined["change"] = [
        _share(str(metric), one, other)
        for metric, one, other in zip(joined["metric"], joined["first"], joined["second"], strict=True)
    ]
    joined["change"] = joined["change"].where(joined["difference"].notna())
    joined["noise"], joined["noise_from"] = math.nan, ""
    for known, kind in ((_of_layers(joined), "layers"), (_of_intervals(joined, first, second), "interval")):
        _set_noise(joined, known, kind)
    if again:
        _set_noise(joined, _of_retrainings(joined, [_joined(first, other) for other in again]), "retraining")
    outside = (joined["difference"].abs() > joined["noise"]).astype("boolean")
    joined["outside"] = outside.mask(joined["noise"].isna() | joined["difference"].isna())
    joined["note"] = joined.pop("note")
    order = joined.assign(is_layer=joined["layer"] != "").sort_values(
        ["is_layer", "change"], ascending=[True, False], kind="stable", na_position="last"
    )
    return order.drop(columns="is_layer").reset_index(drop=True)


def _share(metric: str, first: float, second: float) -> float:
    """Return the size of a change as a share of the score's range, or of the larger value where that is open."""
    low, high = all_scores()[metric].bounds if metric in all_scores() else (None, None)
    size = high - low if low is not None and high is not None else max(abs(first), abs(second))
    return abs(second - first) / size if size else abs(second - first)


def _set_noise(table: pd.DataFrame, noise: pd.Series, kind: str) -> None:
    known = noise.notna()
    table.loc[known, "noise"] = noise[known]
    table.loc[known, "noise_from"] = kind


def _of_layers(table: pd.DataFrame) -> pd.Series:
    """Return what a score usually changes in a layer, for rows of layers."""
    sizes = table["difference"].abs().where(table["layer"] != "")
    groups = sizes.groupby([table["model"], table["metric"]])
    return (_USUAL * groups.transform("median")).where(sizes.notna() & (groups.transform("count") >= _FEW_LAYERS))


def _of_intervals(table: pd.DataFrame, first: pd.DataFrame, second: pd.DataFrame) -> pd.Series:
    """Return the half widths of both sides' intervals, put together, for means of scores that have them."""
    both = [model_scores(side) for side in (first, second)]

    def half(means: pd.DataFrame, model: str, metric: str) -> float:
        ends = [f"{metric}_low", f"{metric}_high"]
        rows = means if not model else means[means.index == model]
        return (
            float(np.diff(rows[ends].to_numpy(float)).item() / 2)
            if len(rows) == 1 and set(ends) <= {*rows}
            else math.nan
        )

    found = [
        math.hypot(*(half(means, str(model), str(metric)) for means in both)) if not layer else math.nan
        for model, layer, metric in zip(table["model"], table["layer"], table["metric"], strict=True)
    ]
    return pd.Series(found, index=table.index)


def _of_retrainings(table: pd.DataFrame, again: Sequence[pd.DataFrame]) -> pd.Series:
    """Return the largest difference between the first one and its retrainings: of the means, and in any layer."""
    every = pd.concat(again).assign(is_mean=lambda rows: rows["layer"] == "")
    largest = every.assign(size=every["difference"].abs()).groupby(["metric", "is_mean"])["size"].max()
    keys = zip(table["metric"], table["layer"] == "", strict=True)
    return pd.Series([largest.get(key, math.nan) for key in keys], index=table.index)


def _joined(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Put two score tables side by side, layer by layer."""
    single = len(set(first["model_id"])) == 1 and len(set(second["model_id"])) == 1
    sides, without = [], []
    for table, name in ((first, "first"), (second, "second")):
        main = table[table["metric"].map(lambda m: m not in all_scores() or not all_scores()[m].auxiliary)]
        means = model_scores(main).melt(ignore_index=False, value_name="value").reset_index().assign(layer="")
        layers = main[main["layer"] != ""][["model_id", "layer", "metric", "value"]]
        rows = pd.concat([means, layers], ignore_index=True)
        rows["model"] = "" if single else rows["model_id"]
        sides.append(rows.set_index(["model", "layer", "metric"])["value"].rename(name))
        cautioned = main[main["note"].str.contains(UNNORMALISED, regex=False)]
        without.append({("" if single else row.model_id, row.metric) for row in cautioned.itertuples()})
    joined: pd.DataFrame = pd.concat(sides, axis=1, sort=False)
    joined["difference"] = joined["second"] - joined["first"]
    joined["sizes"] = _unlike_sizes(first, second, single=single).reindex(joined.index)
    joined["difference"] = joined["difference"].where(joined["sizes"].isna())
    joined = joined.reset_index()
    joined["note"] = [
        "; ".join(
            f"{name} {UNNORMALISED}" for name, found in zip(("first", "second"), without, strict=True) if id_ in found
        )
        for id_ in zip(joined["model"], joined["metric"], strict=True)
    ]
    said = [
        "; ".join(filter(None, [note, None if pd.isna(sizes) else f"{_UNLIKE} {sizes}"]))
        for note, sizes in zip(joined["note"], joined.pop("sizes"), strict=True)
    ]
    return joined.assign(note=said)


def _unlike_sizes(first: pd.DataFrame, second: pd.DataFrame, *, single: bool) -> pd.Series:
    """Both sizes, by model, layer (empty: the means) and metric, where the filters of the two sides differ in size."""
    sides = []
    for table in (first, second):
        main = main_sizes(table)
        rows = table[table["lens"].isin(per_kernel_lenses()) & table["kind"].map(is_size).astype(bool)]
        kinds = [main.get(key) for key in zip(rows["model_id"], rows["lens"], strict=True)]
        means = rows.assign(layer="", kind=pd.Series(kinds, index=rows.index, dtype=object))
        every = pd.concat([rows, means]).assign(model=lambda found: "" if single else found["model_id"])
        sides.append(
            every.drop_duplicates(["model", "layer", "metric"]).set_index(["model", "layer", "metric"])["kind"]
        )
    both = pd.concat(sides, axis=1, keys=["first", "second"], join="inner").dropna()
    unlike = both[both["first"] != both["second"]]
    return unlike["first"] + " and of " + unlike["second"]
