"""What is known of the filters of many models together: their moments, then ranges, then histograms.

The arrays are those of `pooled.h5`; `filterlens.lenses.filters.distribution` says what each one is. A model takes part
by itself, in whichever process, and in memory that holds one layer of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from filterlens.errors import LensSkipped
from filterlens.lens import Each
from filterlens.lenses.filters.moments import (
    BINS,
    Moments,
    PrincipalComponents,
    component_shifts,
    densities,
    pairwise_shifts,
)
from filterlens.score import DEPTH_GROUPS

__all__ = ["FINE_BINS", "Filters", "Member", "Pooled", "pool_filters"]

FINE_BINS = 10 * BINS
DRAWS = 19  # swaps of sides: one shift above all of them has p = 1 / 20
_MIN_UNITS = 4  # distinct normal models below which there are too few swaps that differ


@dataclass(frozen=True, slots=True, eq=False)
class Filters:
    """Filters of one layer.

    Parameters
    ----------
    depth
        Place in `DEPTH_GROUPS`, or -1.
    rows
        Shape (n, K), in C order, float32.
    tops
        Largest absolute weight of each, shape (n,).
    limit
        Filters whose top is not over it are sparse and take no part.
    """

    depth: int
    rows: NDArray[np.float32]
    tops: NDArray[np.float32]
    limit: float


@dataclass(frozen=True, slots=True)
class Member:
    """One model that takes part.

    Parameters
    ----------
    model_id, dataset, robust, match
        As in the catalog.
    moments
        Of its scaled filters that are not sparse, by depth group and last of those without one: twelve.
    filters
        Called anew for every pass, in any process: yields its filters layer by layer.
    """

    model_id: str
    dataset: str
    robust: bool | None
    match: str
    moments: Sequence[Moments]
    filters: Callable[[], Iterable[Filters]]


@dataclass(frozen=True, slots=True, eq=False)
class Pooled:
    """What is known of all filters together: arrays and lists by their names in `pooled.h5`."""

    arrays: dict[str, NDArray[np.float64] | NDArray[np.int64]]
    lists: dict[str, list[object]]
    paired: list[bool]


@dataclass(frozen=True, slots=True, eq=False)
class _Frames:
    """Frames in which a model's filters are looked at: principal components, each with a range and a number of bins.

    Parameters
    ----------
    filters
        Yields the model's filters.
    by_depth
        Which frames a depth group's filters are in; the last is of those without one.
    means, bases, ranges, bins
        Of F frames, shapes (F, K), (F, K, K), (F, 2) and (F,).
    """

    filters: Callable[[], Iterable[Filters]]
    by_depth: Sequence[Sequence[int]]
    means: NDArray[np.float32]
    bases: NDArray[np.float32]
    ranges: NDArray[np.float32]
    bins: NDArray[np.int64]

    def each(self) -> Iterator[tuple[Filters, list[int]]]:
        """Yield every layer, and which frames it is in."""
        for layer in self.filters():
            yield layer, list(self.by_depth[layer.depth])


def _ranges(frames: _Frames) -> NDArray[np.float32]:
    """Lowest and highest coefficient of one model's filters in each frame, shape (F, 2)."""
    from filterlens.lenses.filters import kernels  # Numba: not for the driver of an analysis in other processes

    ranges = frames.ranges.copy()
    for layer, chosen in frames.each():
        found = ranges[chosen]
        kernels.widen(layer.rows, layer.tops, layer.limit, frames.means[chosen], frames.bases[chosen], found)
        ranges[chosen] = found
    return ranges


def _counts(frames: _Frames) -> NDArray[np.int64]:
    """Histograms of one model's coefficients in each frame, shape (F, K, most bins)."""
    from filterlens.lenses.filters import kernels

    counts = np.zeros((*frames.means.shape, int(frames.bins.max())), dtype=np.int64)
    for layer, chosen in frames.each():
        found, means, bases = counts[chosen], frames.means[chosen], frames.bases[chosen]
        kernels.count(
            layer.rows, layer.tops, layer.limit, means, bases, frames.ranges[chosen], frames.bins[chosen], found
        )
        counts[chosen] = found
    return counts


class _Comparison:
    """Robust against normal models of one data set: of all depths together, and of each depth group.

    Parameters
    ----------
    members
        The models that take part.
    k
        Weights a filter.
    is_whole
        They are all models of the run: their union, all depths together, is in the frame of all models.
    """

    def __init__(self, members: Sequence[Member], k: int, *, is_whole: bool) -> None:
        self.is_whole = is_whole
        self.swaps = _swaps(members)
        cells = [[cell for m in members for cell in m.moments]] + [
            [m.moments[depth] for m in members] for depth in range(len(DEPTH_GROUPS))
        ]
        found = [_total(cell, k).principal_components() for cell in cells]
        self.components = {place: own for place, own in enumerate(found) if own is not None}
        self.ranges = _no_ranges(len(cells))
        self.counts = np.zeros((len(cells), 2, k, BINS), dtype=np.int64)
        self.swapped = np.zeros((DRAWS if self.swaps else 0, *self.counts.shape), dtype=np.int64)

    @property
    def places(self) -> list[int]:
        """Which of its cells have a frame of their own: 0 is all depths, 1 … 11 the depth groups."""
        return [place for place in self.components if place or not self.is_whole]

    def widen(self, whole: NDArray[np.float32], own: NDArray[np.float32]) -> None:
        """Widen the ranges by one model's: in the frame of all models, and in its own."""
        _widen(self.ranges, self.places, own)
        if self.is_whole:
            _widen(self.ranges, [0], whole)

    def add(self, member: Member, side: int, whole: NDArray[np.int64], own: NDArray[np.int64]) -> None:
        """Count one model's filters on its side, and on the side that each swap puts it on."""
        counts = np.zeros_like(self.counts[:, 0])
        counts[self.places] = own
        if self.is_whole:
            counts[0] = whole
        self.counts[:, side] += counts
        for swapped, swap in zip(self.swapped, self.swaps.get(_unit(member), ()), strict=False):
            swapped[:, side ^ swap] += counts

    def shifts(self, counts: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """Shift of each coefficient in each cell, shape (12, K), NaN where a side is empty."""
        counts = self.counts if counts is None else counts
        shifts = np.full((len(counts), counts.shape[2]), np.nan)
        for place in self.components:
            if counts[place, :, 0].sum(axis=-1).all():
                low, high = self.ranges[place]
                p, q = densities(counts[place], float(high - low) / BINS)
                shifts[place] = component_shifts(p, q)
        return shifts

    def null(self) -> NDArray[np.float64]:
        """Shift in each cell after each swap, shape (DRAWS, 12); NaN with fewer than four normal models."""
        found = np.full((DRAWS, len(self.counts)), np.nan)
        for draw, counts in enumerate(self.swapped):
            found[draw] = self.shift(self.shifts(counts))
        return found

    def shift(self, shifts: NDArray[np.float64]) -> NDArray[np.float64]:
        """Weight the coefficients by their share of the variance, shape (12,)."""
        found = np.full(len(shifts), np.nan)
        for place, own in self.components.items():
            found[place] = own.ratio @ shifts[place]
        return found


def pool_filters(members: Sequence[Member], k: int, each: Each = map) -> Pooled:
    """Describe the filters of many models in two passes, in memory that does not grow with their number.

    Parameters
    ----------
    members
        The models, each set of weights once.
    k
        Weights a filter.
    each
        Calls a function for every model, in order: `map`, or in the run's processes.

    Raises
    ------
    LensSkipped
        No model holds a filter that is not sparse, or all are equal.
    """
    members = [member for member in members if any(cell.n for cell in member.moments)]
    components = _total([cell for member in members for cell in member.moments], k).principal_components()
    if components is None:
        raise LensSkipped("fewer than two different filters in all models: there is no distribution to pool")
    datasets = list(dict.fromkeys(_dataset(member) for member in members))
    sides, paired = _sides(members, datasets)
    taking = {
        name: [m for m, side in zip(members, sides, strict=True) if side is not None and _dataset(m) == name]
        for name in datasets
    }
    compared = {name: _Comparison(taking[name], k, is_whole=len(taking[name]) == len(members)) for name in datasets}
    own = [None if side is None else compared[_dataset(m)] for m, side in zip(members, sides, strict=True)]
    frames = [_frames(member, components, part) for member, part in zip(members, own, strict=True)]

    whole = _no_ranges(1)
    for part, found in zip(own, each(_ranges, frames), strict=True):
        _widen(whole, [0], found[:1])
        if part is not None:
            part.widen(found[:1], found[1:])

    in_pairs = _in_pairs(members)
    kinds = [(_dataset(m), m.robust if m.model_id in in_pairs else None) for m in members]
    fine = {kind: np.zeros((k, FINE_BINS), dtype=np.int64) for kind in kinds}
    coarse = np.zeros((len(members), k, BINS), dtype=np.int64)
    ranged = [
        replace(found, ranges=whole if part is None else np.concatenate([whole, part.ranges[part.places]]))
        for part, found in zip(own, frames, strict=True)
    ]
    for i, (part, counts) in enumerate(zip(own, each(_counts, ranged), strict=True)):
        fine[kinds[i]] += counts[0]
        coarse[i] = counts[0].reshape(k, BINS, -1).sum(axis=2)
        if part is not None:
            part.add(members[i], int(sides[i] or 0), coarse[i], counts[1:, :, :BINS])

    each_shift = np.stack([part.shifts() for part in compared.values()])  # (D, 12, K)
    shifts = np.stack([part.shift(found) for part, found in zip(compared.values(), each_shift, strict=True)])
    nulls = np.stack([part.null() for part in compared.values()])  # (D, draws, 12)
    sizes = np.stack([part.counts[:, :, 0].sum(axis=-1) for part in compared.values()])  # (D, 12, 2)
    described, groups = _groups(members, kinds, fine, k)
    low, high = (float(end) for end in whole[0])
    return Pooled(
        arrays={
            **described,
            "edges": np.linspace(low, high, FINE_BINS + 1),
            "shift": shifts[:, 0],
            "shift_components": each_shift[:, 0],
            "shift_counts": sizes[:, 0],
            "shift_null": nulls[:, :, 0],
            "shift_depths": shifts[:, 1:],
            "shift_depths_null": nulls[:, :, 1:],
            "shift_depth_counts": sizes[:, 1:],
            "shift_models": pairwise_shifts(densities(coarse, (high - low) / BINS), components.ratio),
        },
        lists={
            "models": [
                {"model_id": m.model_id, "dataset": _dataset(m), "robust": m.robust, "n_filters": n}
                for m, n in zip(members, (_total(m.moments, k).n for m in members), strict=True)
            ],
            "groups": groups,
            "datasets": list(datasets),
            "depths": list(DEPTH_GROUPS),
        },
        paired=paired,
    )


def _frames(member: Member, whole: PrincipalComponents, part: _Comparison | None) -> _Frames:
    """Frames of one model: the whole's, and those of its data set's comparison where it takes part."""
    places = part.places if part else []
    found = [whole, *(part.components[place] for place in places if part)]
    union = [1 + places.index(0)] if 0 in places else []
    by_depth = [
        [0, *union, *([1 + places.index(1 + depth)] if 1 + depth in places else [])]
        for depth in range(len(DEPTH_GROUPS))
    ]
    return _Frames(
        filters=member.filters,
        by_depth=[*by_depth, [0, *union]],
        means=np.stack([own.mean for own in found]).astype(np.float32),
        bases=np.stack([own.basis for own in found]).astype(np.float32),
        ranges=_no_ranges(len(found)),
        bins=np.array([FINE_BINS] + [BINS] * len(places)),
    )


def _no_ranges(n: int) -> NDArray[np.float32]:
    """Ranges that hold nothing yet, shape (n, 2)."""
    return np.tile(np.array([math.inf, -math.inf], np.float32), (n, 1))


def _widen(ranges: NDArray[np.float32], places: list[int], found: NDArray[np.float32]) -> None:
    """Widen some ranges in place."""
    ranges[places, 0] = np.minimum(ranges[places, 0], found[:, 0])
    ranges[places, 1] = np.maximum(ranges[places, 1], found[:, 1])


def _sides(members: Sequence[Member], datasets: Sequence[str]) -> tuple[list[int | None], list[bool]]:
    """Side of each member in its data set's comparison (0 robust, 1 normal, None), and which data sets have pairs."""
    in_pairs = _in_pairs(members)
    paired = {_dataset(m) for m in members if m.robust and m.model_id in in_pairs}
    sides = [
        None if m.robust is None or (_dataset(m) in paired and m.model_id not in in_pairs) else int(not m.robust)
        for m in members
    ]
    return sides, [name in paired for name in datasets]


def _in_pairs(members: Sequence[Member]) -> set[str]:
    """Robust models whose normal one is there, and those normal ones."""
    known = {m.model_id for m in members}
    pairs = [(m.model_id, m.match) for m in members if m.robust and m.match in known]
    return {model_id for pair in pairs for model_id in pair}


def _unit(member: Member) -> str:
    """Return the normal model whose pairs a model is in."""
    return member.match if member.robust else member.model_id


def _swaps(members: Sequence[Member]) -> dict[str, NDArray[np.int64]]:
    """Which draws swap the two sides of a normal model and its robust partners, (DRAWS,) of 0 and 1 by normal model.

    Under the null hypothesis it makes no difference which model of a pair is called robust. No draw swaps none or all:
    both leave the shift as it is. Empty where there are fewer than four normal models with a partner.
    """
    known = {m.model_id for m in members}
    units = list(dict.fromkeys(m.match for m in members if m.robust and m.match in known))
    if len(units) < _MIN_UNITS:
        return {}
    rng = np.random.default_rng(0)
    draws: list[NDArray[np.int64]] = []
    while len(draws) < DRAWS:
        swap = rng.integers(0, 2, len(units))
        if 0 < swap.sum() < len(units):
            draws.append(swap)
    return dict(zip(units, np.stack(draws, axis=1), strict=True))


def _groups(
    members: Sequence[Member],
    kinds: Sequence[tuple[str, bool | None]],
    fine: dict[tuple[str, bool | None], NDArray[np.int64]],
    k: int,
) -> tuple[dict[str, NDArray[np.float64] | NDArray[np.int64]], list[object]]:
    """Arrays with one row a group, and the groups; `kinds` are each model's data set and its side of a pair."""
    means, bases, ratios, counts, groups = [], [], [], [], []
    for name in ("", *dict.fromkeys(dataset for dataset, _ in kinds)):
        for robust in (None, True, False):
            chosen = [
                i
                for i, (dataset, side) in enumerate(kinds)
                if name in {"", dataset} and (robust is None or side is robust)
            ]
            total = _total([cell for i in chosen for cell in members[i].moments], k)
            found = total.principal_components()
            means.append(total.mean if total.n else np.full(k, np.nan))
            bases.append(found.basis if found else np.full((k, k), np.nan))
            ratios.append(found.ratio if found else np.full(k, np.nan))
            own = {kinds[i] for i in chosen}
            counts.append(sum((fine[kind] for kind in own), np.zeros((k, FINE_BINS), dtype=np.int64)))
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


def _dataset(member: Member) -> str:
    return member.dataset or "unknown"
