"""How filters are distributed: principal components, coefficients, and the shift between groups of models.

Takes part: every scaled filter (divided by its largest absolute weight) that is not sparse in its layer, of the
run's most common kernel size (3x3 in nearly every network); K = k_h · k_w. Each set of weights enters once, under
however many names it was run and however many robust models share it as their normal partner. Memory is bounded,
whatever the number of filters: moments come with the scores, then ranges and histograms take a pass each.

Layout of `/filters` in `pooled.h5`
-----------------------------------
Lists are stored as UTF-8 JSON in a uint8 array: `json.loads(group.read("models").tobytes())`.

Attributes of the group: `kernel` (`"3x3"`), `n_components` (K), `threshold` (0.01: below this share of its layer's
maximum a filter is sparse), `bins` (70), `fine_bins` (700).

| array | shape, dtype | content |
|---|---|---|
| `models` | JSON | the M pooled models in order, each `{"model_id", "dataset", "robust": true/false/null, "n_filters"}` |
| `groups` | JSON | the G groups in order, each `{"label", "dataset": "" for every data set, "robust": true/false/null for both, "n_models", "n_filters"}`; first `all`, `robust`, `normal`, then for each data set `X`, `X robust`, `X normal`; a model without a partner or known robustness is in `all` and `X` only |
| `datasets` | JSON | the D data sets in order, as in the catalog (`unknown` where it says nothing) |
| `depths` | JSON | the 11 depth groups in order: `"0"`, `"(0.0, 0.1]"`, …, `"(0.9, 1.0]"` of conv_depth_norm, `"0"` being the first convolution (conv_depth 0) |
| `means` | (G, K) float64 | mean scaled filter of each group, row-major k_h x k_w |
| `bases` | (G, K, K) float64 | row i of group g is its principal component v_i: unit length, by falling variance, largest entry positive; NaN for a group with fewer than two filters or no variance |
| `explained_variance_ratio` | (G, K) float64 | share of variance of each component; sums to 1; NaN as above |
| `edges` | (fine_bins + 1,) float64 | common bin edges of all coefficients, centred on the mean of `all` and projected on the basis of `all` |
| `histograms` | (G, K, fine_bins) int64 | filters of the group whose coefficient c_i falls in each bin; sums of ten neighbours are the 70 bins that shifts use |
| `shift` | (D,) float64 | D(robust, normal) of each data set in nats: its paired models where it has pairs, else all its models, on the PCA of their union; NaN where a side is empty |
| `shift_components` | (D, K) float64 | symmetric KL of each coefficient; `shift` = Σ_i a_i of it |
| `shift_null` | (D, 19) float64 | the same after robust and normal were swapped at random within pairs, a normal model and its partners together: what chance gives; NaN with fewer than four paired normal models |
| `shift_counts` | (D, 2) int64 | filters on the robust and the normal side |
| `shift_depths` | (D, 11) float64 | the same by depth group, each on the PCA of its own union |
| `shift_depths_null` | (D, 19, 11) float64 | `shift_null` by depth group |
| `shift_depth_counts` | (D, 11, 2) int64 | filters on the robust and the normal side |
| `shift_models` | (M, M) float64 | symmetric KL between every two models, on the basis, range and explained variance of `all`; 0 on the diagonal |

`shift` and `shift_depths` carry the attribute `paired`: JSON list of D booleans, true where only paired models
took part. A run without any filter has no pooled group: `pool` raises `LensSkipped`.
"""  # noqa: E501 - a table's row is one line

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from filterlens.dumps import DumpGroup, DumpReader
from filterlens.dumps.memory import return_freed_memory
from filterlens.errors import DumpError, InputError, LensSkipped, NonFiniteWeightError
from filterlens.lens import OpenGroup, PoolContext, PooledModel
from filterlens.lenses.filters.conventions import LARGEST_KERNEL, SPARSITY_THRESHOLD
from filterlens.lenses.filters.layer import Layer
from filterlens.lenses.filters.moments import BINS, Moments
from filterlens.lenses.filters.pooling import FINE_BINS, Filters, Member, pool_filters
from filterlens.score import DEPTH_GROUPS, depth_group

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Summary", "pool", "scaled_filters"]

_LENS = "filters"


class Summary:
    """Moments of one model's scaled filters, by kernel size and depth group: what pooling needs of it."""

    def __init__(self) -> None:
        self._cells: dict[tuple[str, int], Moments] = {}

    def add(self, layer: Layer, attributes: Mapping[str, Any]) -> None:
        """Take in a layer, whose `maxima` are finite."""
        key = "x".join(str(side) for side in layer.kernel), _depth_group(attributes)
        found = layer.scaled_moments
        self._cells[key] = self._cells[key] + found if key in self._cells else found

    @property
    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """By kernel size (`3x3`), a row a depth group: its place, or -1, and the `packed` moments."""
        found: dict[str, list[NDArray[np.float64]]] = {}
        for (kernel, depth), moments in self._cells.items():
            found.setdefault(kernel, []).append(np.concatenate([[depth], moments.packed]))
        return {kernel: np.stack(rows) for kernel, rows in found.items()}


def pool(context: PoolContext) -> None:
    """Describe the filters of a whole run; the layout is this module's docstring.

    Parameters
    ----------
    context
        The models with their `Summary.arrays`, and `/filters` of `pooled.h5`.

    Raises
    ------
    LensSkipped
        No dump holds a filter.
    DumpError
        A dump is damaged.

    References
    ----------
    [Gavrikov2022DB]_, section 5; [Gavrikov2022Lens]_, section 4.
    """
    summaries = [_checked(model) for model in context.models]
    kernel = _common_kernel(summaries)
    if kernel is None:
        raise LensSkipped("no dump holds convolution filters, so that there is no distribution to pool")
    name, k = f"{kernel[0]}x{kernel[1]}", math.prod(kernel)
    members = [
        Member(
            found.entry.model_id,
            found.entry.dataset,
            found.entry.robust,
            found.entry.match,
            _moments(summary.get(kernel), k),
            partial(_filters, found.group, kernel),
        )
        for found, summary in zip(context.models, summaries, strict=True)
    ]
    group = context.group
    pooled = pool_filters(members, k, context.each)
    group.set_attributes(
        kernel=name,
        n_components=k,
        threshold=SPARSITY_THRESHOLD,
        bins=BINS,
        fine_bins=FINE_BINS,
    )
    for title, entries in pooled.lists.items():
        group.write(title, np.frombuffer(json.dumps(entries, ensure_ascii=False).encode(), dtype=np.uint8))
    paired = json.dumps(pooled.paired)
    for title, array in pooled.arrays.items():
        attributes = {"paired": paired} if title in {"shift", "shift_depths"} else {}
        group.write(title, array, **attributes)


def _checked(model: PooledModel) -> dict[tuple[int, int], NDArray[np.float64]]:
    """Return a model's `Summary.arrays` by kernel size."""
    found = {}
    for name, rows in model.summary.items():
        height, _, width = name.partition("x")
        k = int(height) * int(width) if height.isdecimal() and width.isdecimal() else 0
        if not 0 < k <= LARGEST_KERNEL or rows.shape[1:] != (2 + k + k * k,) or not _are_moments(rows):
            raise DumpError(
                f"what is kept of the filters of {model.entry.model_id} is damaged: run `filterlens analyze` again"
            )
        found[int(height), int(width)] = rows
    return found


def _are_moments(rows: NDArray[np.float64]) -> bool:
    depths, counts = rows[:, 0], rows[:, 1]
    return bool(np.isfinite(rows).all() and np.isin(depths, range(-1, len(DEPTH_GROUPS))).all() and (counts >= 0).all())


def _common_kernel(summaries: Sequence[Mapping[tuple[int, int], NDArray[np.float64]]]) -> tuple[int, int] | None:
    """3x3 where there are any, else the kernel size of most filters."""
    filters: Counter[tuple[int, int]] = Counter()
    for summary in summaries:
        for kernel, rows in summary.items():
            filters[kernel] += int(rows[:, 1].sum())
    filters = +filters  # without sizes of which no filter is left
    if not filters:
        return None
    return (3, 3) if (3, 3) in filters else filters.most_common(1)[0][0]


def _moments(rows: NDArray[np.float64] | None, k: int) -> list[Moments]:
    """Moments of one model by depth group, last of filters without one."""
    cells = [Moments.empty(k) for _ in range(len(DEPTH_GROUPS) + 1)]
    for row in () if rows is None else rows:
        cells[int(row[0])] += Moments.unpack(row[1:])
    return cells


def _filters(opened: OpenGroup, kernel: tuple[int, int]) -> Iterator[Filters]:
    """Go through a model's layers of one kernel size."""
    with opened() as group:
        for depth, layer in _layers(group, kernel):
            yield Filters(depth, layer.rows, layer.maxima, layer.limit)
    return_freed_memory()


def scaled_filters(path: Path, kernel: tuple[int, int], *, sparse: bool = False) -> Iterator[Tensor]:
    """Go through a dump's scaled filters of one kernel size, layer by layer.

    Parameters
    ----------
    path
        The dump.
    kernel
        Height and width.
    sparse
        Sparse filters too; one that is all zero stays so.

    Yields
    ------
        Float32 rows of shape (n, k_h * k_w).

    Raises
    ------
    DumpError
        The dump is damaged, or holds scores instead of filters.
    """
    import torch

    with DumpReader(path) as reader:
        if _LENS not in reader.held:
            return
        for _, layer in _layers(reader.lens(_LENS), kernel):
            tops = layer.maxima[:, None]
            scaled = layer.rows / np.where(tops == 0, 1, tops)
            yield torch.from_numpy(scaled if sparse else scaled[~layer.sparse])
    return_freed_memory()


def _layers(group: DumpGroup, kernel: tuple[int, int]) -> Iterator[tuple[int, Layer]]:
    """Yield depth group and layer, in float32; none that holds NaN or Inf, or has no score otherwise."""
    import torch  # where models are read: the driver of an analysis in other processes does without

    for name in group.names():
        if group.shape(name)[2:] != kernel:
            continue
        try:
            layer = Layer(torch.from_numpy(group.read(name)).float())
            _ = layer.maxima
        except (InputError, NonFiniteWeightError):
            continue
        yield _depth_group(group.attributes_of(name)), layer


def _depth_group(attributes: Mapping[str, Any]) -> int:
    """Place in `DEPTH_GROUPS` of a convolution; -1 where its depth is not known."""
    depth, norm = (float(attributes.get(name, math.nan)) for name in ("conv_depth", "conv_depth_norm"))
    return int(depth_group(math.nan if depth < 0 else depth, norm))
