"""What the filters lens pooled over all models of a run (layout: `filterlens.lenses.filters.distribution`)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterlens.dumps import DumpGroup
from filterlens.errors import DumpError
from filterlens.report.data import RunData

__all__ = ["FilterPool", "read_filter_pool"]

_ARRAYS = ("means", "bases", "explained_variance_ratio", "edges", "histograms")
_SHIFTS = ("shift", "shift_counts", "shift_depths", "shift_depth_counts", "shift_models")


@dataclass(frozen=True, slots=True, eq=False)
class FilterPool:
    """The pooled distribution of filters, read whole.

    Parameters
    ----------
    kernel
        `(k_h, k_w)`.
    models, groups, datasets, depths
        The lists of the layout, decoded.
    arrays
        Every array by its name in the layout.
    paired
        Whether each data set's shift is between paired models only, shape (D,).
    null, null_depths
        Shifts after random swaps of sides, (D, draws) and (D, draws, 11); NaN where there are none, as in runs that
        were analysed before there were any.
    """

    kernel: tuple[int, int]
    models: Sequence[Mapping[str, Any]]
    groups: Sequence[Mapping[str, Any]]
    datasets: Sequence[str]
    depths: Sequence[str]
    arrays: Mapping[str, NDArray[Any]]
    paired: Sequence[bool]
    null: NDArray[np.float64]
    null_depths: NDArray[np.float64]

    def group(self, label: str) -> int | None:
        """Place of the group of that label, None where it is missing or empty."""
        for place, group in enumerate(self.groups):
            if group["label"] == label and group["n_filters"]:
                return place
        return None


def read_filter_pool(run: RunData) -> FilterPool | None:
    """Read the pooled filters of a run, or None where nothing was pooled.

    Raises
    ------
    DumpError
        `pooled.h5` is damaged or of another layout.
    """
    with run.pooled("filters") as group:
        if group is None:
            return None
        try:
            return _read(group)
        except (ValueError, KeyError, TypeError) as error:
            raise DumpError(f"{group.path}: /filters is not of the known layout ({error}); analyze again") from error


def _read(group: DumpGroup) -> FilterPool:
    def listed(name: str) -> Any:  # noqa: ANN401 - JSON
        return json.loads(group.read(name).tobytes())

    height, width = (int(side) for side in str(group.attributes["kernel"]).split("x"))
    found = group.attributes_of("shift").get("paired", "[]")
    datasets, depths = listed("datasets"), listed("depths")
    null, by_depth = (
        group.read(name).astype(np.float64) if name in group else np.full(shape, np.nan)
        for name, shape in (
            ("shift_null", (len(datasets), 1)),
            ("shift_depths_null", (len(datasets), 1, len(depths))),
        )
    )
    return FilterPool(
        kernel=(height, width),
        models=listed("models"),
        groups=listed("groups"),
        datasets=datasets,
        depths=depths,
        arrays={name: np.asarray(group.read(name)) for name in (*_ARRAYS, *_SHIFTS)},
        paired=json.loads(found) if isinstance(found, str) else list(found),
        null=null,
        null_depths=by_depth,
    )
