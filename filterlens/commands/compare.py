"""`compare`: two checkpoints, or two audits, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from filterlens.commands.scoring import carries_its_own, score_source
from filterlens.lens import Options, RunSettings, all_scores
from filterlens.report.kernels import is_size, main_sizes, per_kernel_lenses
from filterlens.score import UNNORMALISED, model_scores

__all__ = ["compare", "compare_scores"]

_UNLIKE = "not compared: filters of"


def compare(
    first: str | Path,
    second: str | Path,
    *,
    lenses: Sequence[str] | Mapping[str, Options] = ("filters",),
    fast: bool = True,
    settings: RunSettings | None = None,
    **options: Any,  # noqa: ANN401 - of lenses, and what `score_source` takes besides
) -> pd.DataFrame:
    """Compare two checkpoints, before and after fine-tuning say, or two finished audits.

    Parameters
    ----------
    first, second
        Each a path, a source, `CATALOG/MODEL_ID`, or the folder of a finished audit. Catalogs and audits carry their
        own normalisation; `arch`, `eps`, `mean` and `std` are those of sides that are checkpoints.
    lenses, fast, settings, options
        As for `filterlens.extract`; `arch`, `eps`, `mean` and `std` of a checkpoint as on the command line.

    Returns
    -------
        As `compare_scores`: one row a model, layer and score. `attrs["left_out"]` says which lenses do not apply, and
        why, and filters of which sizes are not compared; where none of the lenses asked for applies, all others take
        their place that need weights only.

    Raises
    ------
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
    sides = []
    for source, has_its_own in zip((first, second), own, strict=True):
        given = {} if has_its_own and not all(own) else facts
        how: dict[str, Any] = {"lenses": lenses, "fast": fast, "settings": settings} | given | options
        sides.append(score_source(source, leave_out=True, **how))
    table = compare_scores(*(side.scores for side in sides))
    notes = [said for note in table["note"].unique() for said in note.split("; ") if said.startswith(_UNLIKE)]
    table.attrs["left_out"] = list(dict.fromkeys([*(said for side in sides for said in side.left_out), *notes]))
    return table


def compare_scores(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Compare the score tables of two checkpoints or runs.

    Returns
    -------
        Columns `model` (empty for two single models), `layer` (empty for the model's mean), `metric`, `first`,
        `second`, `difference` = second - first, and `note`: which side was run without normalisation, or that filters
        of different sizes are not compared, whose difference is NaN. A layer that only one side has is NaN on the
        other.
    """
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
