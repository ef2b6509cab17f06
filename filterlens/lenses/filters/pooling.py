"""What is known of the filters of many models together, in three passes and bounded memory.

The arrays are those of `pooled.h5`; `filterlens.lenses.filters.distribution` says what each one is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from filterlens.errors import LensSkipped
from filterlens.lenses.filters.moments import (
    BINS,
    Moments,
    PrincipalComponents,
    component_shifts,
    densities,
    histograms,
    pairwise_shifts,
)
from filterlens.score import DEPTH_GROUPS

__all__ = ["FINE_BINS", "Member", "Pooled", "pool_filters"]

FINE_BINS = 10 * BINS


@dataclass(frozen=True, slots=True)
class Member:
    """One model that takes part.

    Parameters
    ----------
    model_id, dataset, robust, match
        As in the catalog.
    filters
        Called anew for every pass: yields (depth group or -1, scaled non-sparse filters (n, K)) piece by piece.
    """

    model_id: str
    dataset: str
    robust: bool | None
    match: str
    filters: Callable[[], Iterator[tuple[int, Tensor]]]


@dataclass(frozen=True, slots=True, eq=False)
class Pooled:
    """What is known of all filters together: arrays and lists by their names in `pooled.h5`."""

    arrays: dict[str, NDArray[np.float64] | NDArray[np.int64]]
    lists: dict[str, list[object]]
    paired: list[bool]


@dataclass(slots=True, eq=False)
class _Frame:
    """Principal components with the range of all coefficients under them."""

    components: PrincipalComponents
    low: float = math.inf
    high: float = -math.inf

    def widen(self, rows: Tensor) -> None:
        low, high = torch.aminmax(self.components.coefficients(rows))
        self.low, self.high = min(self.low, float(low)), max(self.high, float(high))

    def count(self, rows: Tensor, bins: int) -> NDArray[np.int64]:
        return histograms(self.components.coefficients(rows), self.low, self.high, bins)


def pool_filters(members: Sequence[Member], k: int) -> Pooled:
    """Describe the filters of many models in three passes, in memory that does not grow with their number.

    Parameters
    ----------
    members
        The models, each set of weights once.
    k
        Weights a filter.

    Raises
    ------
    LensSkipped
        No model holds a filter that is not sparse, or all are equal.
    """
    members, moments = _first_pass(members, k)
    every = _total([cell for cells in moments for cell in cells], k)
    components = every.principal_components()
    if components is None:
        raise LensSkipped("fewer than two different filters in all models: there is no distribution to pool")
    datasets = list(dict.fromkeys(_dataset(member) for member in members))
    sides, paired = _sides(members, datasets)
    taking = [
        [i for i, member in enumerate(members) if sides[i] is not None and _dataset(member) == name]
        for name in datasets
    ]

    whole = _Frame(components)
    unions = [_frame(_total([c for i in rows for c in moments[i]], k)) for rows in taking]
    cells = [[_frame(_total([moments[i][depth] for i in rows], k)) for depth in range(11)] for rows in taking]

    def frames(i: int, depth: int) -> Iterator[tuple[_Frame, tuple[int, ...]]]:
        """Where a member's filters of one depth are counted besides the whole."""
        side = sides[i]
        if side is None:
            return
        d = datasets.index(_dataset(members[i]))
        if (union := unions[d]) is not None:
            yield union, (d, 0, side)
        if depth >= 0 and (cell := cells[d][depth]) is not None:
            yield cell, (d, 1 + depth, side)

    for i, member in enumerate(members):
        for depth, rows in member.filters():
            whole.widen(rows)
            for frame, _ in frames(i, depth):
                frame.widen(rows)

    kinds = [(_dataset(m), m.robust) for m in members]
    fine = {kind: np.zeros((k, FINE_BINS), dtype=np.int64) for kind in kinds}
    coarse = np.zeros((len(members), k, BINS), dtype=np.int64)
    compared = np.zeros((len(datasets), 12, 2, k, BINS), dtype=np.int64)
    for i, member in enumerate(members):
        for depth, rows in member.filters():
            counts = whole.count(rows, FINE_BINS)
            fine[kinds[i]] += counts
            coarse[i] += counts.reshape(k, BINS, -1).sum(axis=2)
            for frame, place in frames(i, depth):
                compared[place] += frame.count(rows, BINS)

    shifts, parts = _shifts([[u, *c] for u, c in zip(unions, cells, strict=True)], compared)
    described, groups = _groups(members, moments, datasets, fine, k)
    models_p = densities(coarse, (whole.high - whole.low) / BINS)
    counts = compared[:, :, :, 0].sum(axis=-1)  # (D, 12, 2)
    sizes = [_total(m, k).n for m in moments]
    return Pooled(
        arrays={
            **described,
            "edges": np.linspace(whole.low, whole.high, FINE_BINS + 1),
            "shift": shifts[:, 0],
            "shift_components": parts,
            "shift_counts": counts[:, 0],
            "shift_depths": shifts[:, 1:],
            "shift_depth_counts": counts[:, 1:],
            "shift_models": pairwise_shifts(models_p, components.ratio),
        },
        lists={
            "models": [
                {"model_id": m.model_id, "dataset": _dataset(m), "robust": m.robust, "n_filters": n}
                for m, n in zip(members, sizes, strict=True)
            ],
            "groups": groups,
            "datasets": list(datasets),
            "depths": list(DEPTH_GROUPS),
        },
        paired=paired,
    )


def _first_pass(members: Sequence[Member], k: int) -> tuple[list[Member], list[list[Moments]]]:
    """Moments of each model that has filters, by depth group and last without one."""
    taking: list[Member] = []
    moments: list[list[Moments]] = []
    for member in members:
        cells = [Moments.empty(k) for _ in range(12)]
        for depth, rows in member.filters():
            cells[depth] += Moments.of(rows)
        if any(cell.n for cell in cells):
            taking.append(member)
            moments.append(cells)
    return taking, moments


def _sides(members: Sequence[Member], datasets: Sequence[str]) -> tuple[list[int | None], list[bool]]:
    """Side of each member in its data set's comparison (0 robust, 1 normal, None), and which data sets have pairs."""
    known = {m.model_id: m for m in members}
    pairs = [(m, known[m.match]) for m in members if m.robust and m.match in known]
    paired = {_dataset(robust) for robust, _ in pairs}
    in_pairs = {m.model_id for pair in pairs for m in pair}
    sides = [
        None if m.robust is None or (_dataset(m) in paired and m.model_id not in in_pairs) else int(not m.robust)
        for m in members
    ]
    return sides, [name in paired for name in datasets]


def _shifts(
    frames: Sequence[Sequence[_Frame | None]], counts: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shift of each data set and cell, shape (D, 12), and of each coefficient of the data sets, shape (D, K)."""
    shifts = np.full(counts.shape[:2], np.nan)
    parts = np.full((counts.shape[0], counts.shape[3]), np.nan)
    for d, row in enumerate(frames):
        for cell, frame in enumerate(row):
            if frame is None or not counts[d, cell, :, 0].sum(axis=-1).all():
                continue
            p, q = densities(counts[d, cell], (frame.high - frame.low) / BINS)
            each = component_shifts(p, q)
            shifts[d, cell] = frame.components.ratio @ each
            if cell == 0:
                parts[d] = each
    return shifts, parts


def _groups(
    members: Sequence[Member],
    moments: Sequence[Sequence[Moments]],
    datasets: Sequence[str],
    fine: dict[tuple[str, bool | None], NDArray[np.int64]],
    k: int,
) -> tuple[dict[str, NDArray[np.float64] | NDArray[np.int64]], list[object]]:
    """Arrays with one row a group, and the groups."""
    means, bases, ratios, counts, groups = [], [], [], [], []
    for name in ("", *datasets):
        for robust in (None, True, False):
            chosen = [
                i for i, m in enumerate(members) if name in {"", _dataset(m)} and (robust is None or m.robust is robust)
            ]
            total = _total([cell for i in chosen for cell in moments[i]], k)
            found = total.principal_components()
            means.append(total.mean if total.n else np.full(k, np.nan))
            bases.append(found.basis if found else np.full((k, k), np.nan))
            ratios.append(found.ratio if found else np.full(k, np.nan))
            kinds = {(_dataset(members[i]), members[i].robust) for i in chosen}
            counts.append(sum((fine[kind] for kind in kinds), np.zeros((k, FINE_BINS), dtype=np.int64)))
            word = {None: "" if name else "all", True: "robust", False: "normal"}[robust]
            groups.append(
                {
                    "label": f"{name} {word}".strip(),
                    "dataset": name,
                    "robust": robust,
                    "n_models": len(chosen),
                    "n_filters": total.n,
                }
            )
    arrays: dict[str, NDArray[np.float64] | NDArray[np.int64]] = {
        "means": np.stack(means),
        "bases": np.stack(bases),
        "explained_variance_ratio": np.stack(ratios),
        "histograms": np.stack(counts),
    }
    return arrays, list(groups)


def _total(cells: Sequence[Moments], k: int) -> Moments:
    return sum(cells, Moments.empty(k))


def _frame(moments: Moments) -> _Frame | None:
    components = moments.principal_components()
    return None if components is None else _Frame(components)


def _dataset(member: Member) -> str:
    return member.dataset or "unknown"
