"""How filters are distributed: principal components, coefficients, and the shift between groups of models.

Takes part: every scaled filter (divided by its largest absolute weight) that is not sparse in its layer, of the
run's most common kernel size (3x3 in nearly every network); K = k_h · k_w. Each set of weights enters once, under
however many names it was run and however many robust models share it as their normal partner. Memory is bounded: moments, then ranges, then histograms, each in
one pass over the dumps, whatever the number of filters.

Layout of `/filters` in `pooled.h5`
-----------------------------------
Lists are stored as UTF-8 JSON in a uint8 array: `json.loads(group.read("models").tobytes())`.

Attributes of the group: `kernel` (`"3x3"`), `n_components` (K), `threshold` (0.01: below this share of its layer's
maximum a filter is sparse), `bins` (70), `fine_bins` (700).

| array | shape, dtype | content |
|---|---|---|
| `models` | JSON | the M pooled models in order, each `{"model_id", "dataset", "robust": true/false/null, "n_filters"}` |
| `groups` | JSON | the G groups in order, each `{"label", "dataset": "" for every data set, "robust": true/false/null for both, "n_models", "n_filters"}`; first `all`, `robust`, `normal`, then for each data set `X`, `X robust`, `X normal`; a model without known robustness is in `all` and `X` only |
| `datasets` | JSON | the D data sets in order, as in the catalog (`unknown` where it says nothing) |
| `depths` | JSON | the 11 depth groups in order: `"0"`, `"(0.0, 0.1]"`, …, `"(0.9, 1.0]"` of conv_depth_norm, `"0"` being the first convolution (conv_depth 0) |
| `means` | (G, K) float64 | mean scaled filter of each group, row-major k_h x k_w |
| `bases` | (G, K, K) float64 | row i of group g is its principal component v_i: unit length, by falling variance, largest entry positive; NaN for a group with fewer than two filters or no variance |
| `explained_variance_ratio` | (G, K) float64 | share of variance of each component; sums to 1; NaN as above |
| `edges` | (fine_bins + 1,) float64 | common bin edges of all coefficients, centred on the mean of `all` and projected on the basis of `all` |
| `histograms` | (G, K, fine_bins) int64 | filters of the group whose coefficient c_i falls in each bin; sums of ten neighbours are the 70 bins that shifts use |
| `shift` | (D,) float64 | D(robust, normal) of each data set in nats: its paired models where it has pairs, else all its models, on the PCA of their union; NaN where a side is empty |
| `shift_components` | (D, K) float64 | symmetric KL of each coefficient; `shift` = Σ_i a_i of it |
| `shift_counts` | (D, 2) int64 | filters on the robust and the normal side |
| `shift_depths` | (D, 11) float64 | the same by depth group, each on the PCA of its own union |
| `shift_depth_counts` | (D, 11, 2) int64 | filters on the robust and the normal side |
| `shift_models` | (M, M) float64 | symmetric KL between every two models, on the basis, range and explained variance of `all`; 0 on the diagonal |

`shift` and `shift_depths` carry the attribute `paired`: JSON list of D booleans, true where only paired models
took part. A run without any filter has no pooled group: `pool` raises `LensSkipped`.
"""  # noqa: E501 - a table's row is one line

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from filterlens.dumps import DumpGroup, DumpReader, WritableGroup
from filterlens.dumps.memory import return_freed_memory
from filterlens.errors import LensSkipped
from filterlens.lenses.filters.conventions import LARGEST_KERNEL, SPARSITY_THRESHOLD
from filterlens.lenses.filters.layer import filter_maxima
from filterlens.lenses.filters.moments import BINS
from filterlens.lenses.filters.pooling import FINE_BINS, Member, pool_filters
from filterlens.lenses.kernels import main_kernel
from filterlens.score import depth_group

__all__ = ["filters_of", "pool"]

_BATCH = 1 << 18  # filters in memory at once
_SMALLEST = float(np.finfo(np.float32).tiny)
_LENS = "filters"


class _Row(Protocol):
    """What is used of a catalog's `Entry`."""

    @property
    def model_id(self) -> str: ...
    @property
    def dataset(self) -> str: ...
    @property
    def robust(self) -> bool | None: ...
    @property
    def match(self) -> str: ...


def pool(dumps: Sequence[tuple[_Row, Path]], group: WritableGroup) -> None:
    """Describe the filters of a whole run; the layout is this module's docstring.

    Parameters
    ----------
    dumps
        Catalog entry and dump of each model; models without a filters lens are passed over.
    group
        `/filters` of `pooled.h5`.

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
    kernel = _common_kernel([path for _, path in dumps])
    if kernel is None:
        raise LensSkipped("no dump holds convolution filters, so that there is no distribution to pool")
    members = [
        Member(row.model_id, row.dataset, row.robust, row.match, filters_of(path, kernel)) for row, path in dumps
    ]
    pooled = pool_filters(members, math.prod(kernel))
    group.set_attributes(
        kernel=f"{kernel[0]}x{kernel[1]}",
        n_components=math.prod(kernel),
        threshold=SPARSITY_THRESHOLD,
        bins=BINS,
        fine_bins=FINE_BINS,
    )
    for name, entries in pooled.lists.items():
        group.write(name, np.frombuffer(json.dumps(entries, ensure_ascii=False).encode(), dtype=np.uint8))
    paired = json.dumps(pooled.paired)
    for name, array in pooled.arrays.items():
        attributes = {"paired": paired} if name in {"shift", "shift_depths"} else {}
        group.write(name, array, **attributes)


@contextmanager
def _opened(path: Path) -> Iterator[DumpGroup | None]:
    with DumpReader(path) as reader:
        yield reader.lens(_LENS) if _LENS in reader.lenses else None


def _common_kernel(paths: Sequence[Path]) -> tuple[int, int] | None:
    """3x3 where there are any, else the most frequent filter size of all models' convolutions."""
    kernels: list[tuple[int, int]] = []
    for path in paths:
        with _opened(path) as group:
            for name in group.names() if group is not None else ():
                shape = group.shape(name) if group is not None else ()
                if math.prod(shape) and len(shape) == 4 and shape[2] * shape[3] <= LARGEST_KERNEL:
                    kernels.append((shape[2], shape[3]))
    return main_kernel(kernels) if kernels else None


def filters_of(
    path: Path, kernel: tuple[int, int], *, sparse: bool = False
) -> Callable[[], Iterator[tuple[int, Tensor]]]:
    """Return what goes through a dump's scaled filters of one kernel size, in pieces of bounded size.

    Parameters
    ----------
    path
        The dump.
    kernel
        Height and width.
    sparse
        Sparse filters too; one that is all zero stays so.

    Returns
    -------
        Each call begins anew and yields `depth_group` and float32 rows of shape (n, k_h * k_w).
    """

    def filters() -> Iterator[tuple[int, Tensor]]:
        with _opened(path) as group:
            if group is None:
                return
            for name in group.names():
                shape = group.shape(name)
                if shape[2:] != kernel or not math.prod(shape):
                    continue
                attributes = group.attributes_of(name)
                depth = _depth_group(attributes)
                for rows in _scaled(group, name, sparse=sparse):
                    yield depth, rows
        return_freed_memory()

    return filters


def _depth_group(attributes: Mapping[str, Any]) -> int:
    """Place in `DEPTH_GROUPS` of a convolution; -1 where its depth is not known."""
    depth, norm = (float(attributes.get(name, math.nan)) for name in ("conv_depth", "conv_depth_norm"))
    return int(depth_group(math.nan if depth < 0 else depth, norm))


def _scaled(group: DumpGroup, name: str, *, sparse: bool) -> Iterator[Tensor]:
    """Scaled filters of one layer; nothing of a layer that holds NaN or Inf, or only denormal weights."""
    shape = group.shape(name)
    size = max(1, _BATCH // shape[1])

    def pieces() -> Iterator[Tensor]:
        for batch in group.batches(name, size):
            yield torch.from_numpy(np.ascontiguousarray(batch, dtype=np.float32)).flatten(2).flatten(0, 1)

    # One piece stays in memory; a larger layer is read twice, for its maximum and for its filters.
    held = list(pieces()) if size >= shape[0] else None
    tops = [float(filter_maxima(piece).max()) for piece in held or pieces()]
    if not all(math.isfinite(top) for top in tops) or max(tops, default=0.0) < _SMALLEST:
        return
    limit = SPARSITY_THRESHOLD * max(tops)
    for piece in held or pieces():
        maxima = filter_maxima(piece)
        if sparse:
            yield piece / torch.where(maxima == 0, 1, maxima)[:, None]
            continue
        kept = maxima.double() > limit
        yield piece[kept] / maxima[kept, None]
