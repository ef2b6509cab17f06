"""Scores by depth: the first convolution apart, then ten deciles of relative depth."""

from __future__ import annotations

import pandas as pd

from filterlens.score import DEPTH_GROUPS, depth_group, model_scores

__all__ = ["by_depth"]


def by_depth(scores: pd.DataFrame) -> pd.DataFrame:
    """Weighted mean of every metric over each depth group of each model.

    Parameters
    ----------
    scores
        The tidy score table.

    Returns
    -------
        Columns `model_id`, `metric`, `group` (index into `DEPTH_GROUPS`), `value`; only groups with a value.
    """
    group = depth_group(scores["conv_depth"], scores["conv_depth_norm"])
    columns = ["model_id", "metric", "group", "value"]
    parts = []
    for index in range(len(DEPTH_GROUPS)):
        part = scores[group == index]
        if len(part):
            wide = model_scores(part).rename_axis(columns="metric").reset_index()
            parts.append(wide.melt(id_vars="model_id", value_name="value").assign(group=index))
    if not parts:
        return pd.DataFrame(columns=columns)
    long: pd.DataFrame = pd.concat(parts, ignore_index=True)
    return long[long["value"].notna()][columns].reset_index(drop=True)
