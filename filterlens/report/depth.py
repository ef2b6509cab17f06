"""Scores by depth: the first convolution apart, then ten deciles of relative depth."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from filterlens.scores import model_scores

__all__ = ["DEPTH_GROUPS", "by_depth", "depth_group"]

DEPTH_GROUPS: tuple[str, ...] = ("0", *(f"({i / 10:.1f}, {(i + 1) / 10:.1f}]" for i in range(10)))


def depth_group(conv_depth: ArrayLike, conv_depth_norm: ArrayLike) -> NDArray[np.int64]:
    """Place of each layer in `DEPTH_GROUPS`: 0 for the first convolution, 1 … 10 for (0, 0.1] … (0.9, 1].

    Parameters
    ----------
    conv_depth, conv_depth_norm
        Shape (n,): place in execution order and that divided by the last place; NaN where unknown.

    Returns
    -------
        Shape (n,), int64; -1 where the depth is unknown.

    Examples
    --------
    >>> depth_group([0, 1, 10, np.nan], [0.0, 0.1, 1.0, np.nan]).tolist()
    [0, 1, 10, -1]
    """
    depth, norm = np.asarray(conv_depth, dtype=np.float64), np.asarray(conv_depth_norm, dtype=np.float64)
    decile = np.ceil(10 * norm - 1e-9)  # 3/10 is the end of (0.2, 0.3] whichever way it is rounded
    group = np.where(depth == 0, 0.0, np.clip(decile, 1, 10))
    return np.where(np.isfinite(group) & np.isfinite(depth), group, -1.0).astype(np.int64)


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
