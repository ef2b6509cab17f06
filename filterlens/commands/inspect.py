"""`inspect`: one checkpoint, layer by layer, and its place among a reference zoo."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from filterlens.commands.reference import Place, comparable, describe, place, reference_scores
from filterlens.commands.scoring import score_one_model
from filterlens.lens import Options, RunSettings, all_scores
from filterlens.report.cautions import unnormalised

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Inspection", "inspect", "outstanding"]

_OUTSTANDING = 3.5  # robust z-score: Iglewicz & Hoaglin (1993)
_NOTABLE = 0.01  # of the median


@dataclass(frozen=True, slots=True, eq=False)
class Inspection:
    """What there is to say of one checkpoint.

    Parameters
    ----------
    layers
        The tidy score table (see `filterlens.score`): every score of every layer and of the model.
    places
        Where the model's mean of each score stands among a reference zoo's models; empty where that zoo is not of its
        kind.
    comparison
        What it is compared with, or why with nothing.
    outstanding
        The layers that stand out most within the model: `layer`, `metric`, `value`, `median`, `z`.
    left_out
        Lenses that do not apply to it, and why. Where none of those asked for does (a language model has no
        convolutions), all others take their place that need weights only.
    """

    layers: pd.DataFrame
    places: tuple[Place, ...]
    outstanding: pd.DataFrame
    comparison: str
    left_out: tuple[str, ...] = ()

    @property
    def cautions(self) -> list[str]:
        """What to know before acting on the numbers."""
        return unnormalised(self.layers)


def inspect(
    source: str | Path | nn.Module,
    *,
    lenses: Sequence[str] | Mapping[str, Options] = ("filters",),
    fast: bool = True,
    reference: str | Path | None = None,
    settings: RunSettings | None = None,
    **options: Any,  # noqa: ANN401 - of lenses, and what `score_source` takes besides
) -> Inspection:
    """Look at one checkpoint: every layer, its place among a reference zoo, and what stands out.

    Parameters
    ----------
    source
        A path, a source such as `timm:resnet18`, a catalog's model as `CATALOG/MODEL_ID`, or a network in memory.
    lenses, fast, settings, options
        As for `filterlens.extract`; `arch`, `eps`, `mean` and `std` of a checkpoint as on the command line.
    reference
        Folder of a finished audit to place it in; the bundled zoos where None, for networks of their data sets and
        sizes.

    Raises
    ------
    CheckpointError
        The model cannot be loaded or scored.
    InputError
        The source is a run of several models, the reference is no audit, or an option is wrong.

    Examples
    --------
    >>> import filterlens
    >>> found = filterlens.inspect("fonts-linf/preact_resnet-pgd-s0")
    >>> [place.looks for place in found.places if place.metric == "orthogonality"]
    ['robust']
    """
    found = score_one_model(source, lenses=lenses, fast=fast, settings=settings, leave_out=True, **options)
    zoo, why_not = comparable(found, reference_scores(reference), settings)
    said = why_not or describe(zoo)
    return Inspection(found.scores, tuple(place(found.scores, zoo)), outstanding(found.scores), said, found.left_out)


def outstanding(scores: pd.DataFrame, n: int = 3) -> pd.DataFrame:
    """Return the layers that stand out most within their own model; none where none does.

    A layer stands out where a score of it is more than 3.5 from the model's median layer, in units of 1.4826 times the
    median absolute deviation (the robust z-score and its usual bound), and differs from it by a hundredth: layers
    of random filters differ by next to nothing. Fewer than 4 layers say nothing and give none.

    Returns
    -------
        Columns `layer`, `metric`, `value`, `median`, `z`, the most outstanding layer first.
    """
    main = {name for name, score in all_scores().items() if not score.auxiliary}
    layers = scores[(scores["layer"] != "") & scores["metric"].isin(main) & scores["value"].notna()]
    found = []
    for _, rows in layers.groupby("metric", sort=False):
        values = rows["value"].to_numpy(float)
        median = float(np.median(values))
        spread = 1.4826 * float(np.median(np.abs(values - median)))
        if len(values) >= 4 and spread > 0:
            found.append(rows[["layer", "metric", "value"]].assign(median=median, z=(values - median) / spread))
    if not found:
        return pd.DataFrame(columns=["layer", "metric", "value", "median", "z"])
    every = pd.concat(found)
    differs = (every["value"] - every["median"]).abs() >= _NOTABLE * every["median"].abs()
    every = every[differs & (every["z"].abs() > _OUTSTANDING)]
    order = every["z"].abs().sort_values(ascending=False, kind="stable").index
    return every.loc[order].drop_duplicates("layer").head(n).reset_index(drop=True)
