from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from filterlens.errors import LensSkipped
from filterlens.lenses.filters.layer import filter_maxima
from filterlens.lenses.filters.moments import Moments, shift
from filterlens.lenses.filters.pooling import FINE_BINS, Filters, Member, Pooled, pool_filters
from filterlens.score import DEPTH_GROUPS

Pieces = list[tuple[int, torch.Tensor]]


def pieces(seed: int, stretch: float = 1.0, n: int = 300) -> Pieces:
    """Return scaled filters in four pieces of different depth groups, the last without one."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for depth in (0, 3, 10, -1):
        rows = torch.randn(n, 9, generator=generator) * torch.linspace(1, stretch, 9)
        found.append((depth, rows / rows.abs().amax(dim=1, keepdim=True)))
    return found


def layers(data: Pieces) -> list[Filters]:
    return [Filters(depth, rows.numpy(), filter_maxima(rows.numpy()), 0.0) for depth, rows in data]


def moments(found: Iterable[Filters]) -> list[Moments]:
    cells = [Moments.empty(9) for _ in range(12)]
    for layer in found:
        cells[layer.depth] += Moments.of_scaled(layer.rows, layer.tops, layer.limit)
    return cells


def member(model_id: str, data: Pieces, robust: bool | None, match: str = "", dataset: str = "c") -> Member:
    return Member(model_id, dataset, robust, match, moments(layers(data)), partial(layers, data))


def rows_of(*data: Pieces, depth: int | None = None) -> torch.Tensor:
    return torch.cat([rows for piece in data for at, rows in piece if depth is None or at == depth]).double()


R1, R2, N1, N2, LONE = pieces(1, 3), pieces(2, 4), pieces(3), pieces(4), pieces(5, 9)


def listed(pooled: Pooled, table: str) -> Any:
    return pooled.lists[table]


@pytest.fixture(scope="module")
def pooled() -> Pooled:
    return pool_filters(
        [
            member("r1", R1, True, "n1"),
            member("r2", R2, True, "n1"),
            member("n1", N1, False),
            member("unpaired", N2, False),
            member("who knows", LONE, None),
            member("other", R1, True, dataset="d"),
            member("other normal", N2, False, dataset="d"),
            member("empty", [], True, dataset="e"),
        ],
        9,
    )


def test_models_without_filters_do_not_enter(pooled: Pooled) -> None:
    assert [model["model_id"] for model in listed(pooled, "models")] == [
        "r1",
        "r2",
        "n1",
        "unpaired",
        "who knows",
        "other",
        "other normal",
    ]
    assert {model["n_filters"] for model in listed(pooled, "models")} == {1200}
    assert pooled.lists["datasets"] == ["c", "d"]
    assert pooled.lists["depths"] == list(DEPTH_GROUPS)


def test_groups_hold_their_models(pooled: Pooled) -> None:
    found = [(group["label"], group["n_models"], group["n_filters"]) for group in listed(pooled, "groups")]
    assert found == [
        ("all", 7, 8400),
        ("robust", 2, 2400),
        ("normal", 1, 1200),
        ("c", 5, 6000),
        ("c robust", 2, 2400),
        ("c normal", 1, 1200),
        ("d", 2, 2400),
        ("d robust", 0, 0),
        ("d normal", 0, 0),
    ]


def test_bases_are_the_principal_components_of_each_group(pooled: Pooled) -> None:
    groups = {0: (R1, R2, N1, N2, LONE, R1, N2), 1: (R1, R2), 4: (R1, R2), 5: (N1,), 6: (R1, N2)}
    for row, data in groups.items():
        rows = rows_of(*data)
        expected = Moments.of(rows).principal_components()
        assert expected is not None
        np.testing.assert_allclose(pooled.arrays["means"][row], rows.mean(dim=0), atol=1e-12)
        np.testing.assert_allclose(pooled.arrays["explained_variance_ratio"][row], expected.ratio, atol=1e-12)
        overlap = np.abs((pooled.arrays["bases"][row] * expected.basis).sum(axis=1))
        np.testing.assert_allclose(overlap, 1, atol=1e-6)


def test_histograms_count_coefficients_under_the_common_basis(pooled: Pooled) -> None:
    every = rows_of(R1, R2, N1, N2, LONE, R1, N2)
    components = Moments.of(every).principal_components()
    assert components is not None
    coefficients = components.coefficients(every).numpy()
    edges = pooled.arrays["edges"]
    assert edges[[0, -1]] == pytest.approx([coefficients.min(), coefficients.max()])
    histograms = pooled.arrays["histograms"]
    assert histograms.shape == (9, 9, FINE_BINS)
    for i in range(9):
        expected, _ = np.histogram(coefficients[:, i], bins=edges)
        assert np.abs(histograms[0, i] - expected).sum() <= 4
    np.testing.assert_array_equal(histograms[3] + histograms[6], histograms[0])
    np.testing.assert_array_equal(histograms[4], histograms[1])


def test_the_shift_of_a_data_set_is_that_of_its_paired_models(pooled: Pooled) -> None:
    assert pooled.paired == [True, False]
    assert pooled.arrays["shift"][0] == pytest.approx(shift(rows_of(R1, R2), rows_of(N1)), rel=1e-6)
    assert pooled.arrays["shift_counts"][0].tolist() == [2400, 1200]


def test_the_shift_without_pairs_is_that_of_all_models(pooled: Pooled) -> None:
    assert pooled.arrays["shift"][1] == pytest.approx(shift(rows_of(R1), rows_of(N2)), rel=1e-6)


def test_chance_is_what_the_shift_would_be_with_sides_swapped_within_pairs() -> None:
    data = {
        f"{side}{i}": pieces(10 + i + 50 * (side == "n"), 3 if side == "r" else 1) for i in range(5) for side in "rn"
    }
    members = [member(name, own, name[0] == "r", f"n{name[1]}" * (name[0] == "r")) for name, own in data.items()]
    found = pool_filters(members, 9)
    null = found.arrays["shift_null"]
    assert null.shape == (1, 19)
    assert (found.arrays["shift"][0] > null[0]).all(), "robust and normal differ in every pair"
    splits = []
    for bits in range(1, 2**5 - 1):
        swapped = [bool(bits >> i & 1) for i in range(5)]
        sides = [[data[("rn" if swap else "nr")[side] + str(i)] for i, swap in enumerate(swapped)] for side in (1, 0)]
        splits.append(shift(rows_of(*sides[0]), rows_of(*sides[1])))
    for one in null[0]:
        assert np.abs(np.array(splits) - one).min() < 1e-6, "every draw is one of the 30 splits"
    alike = [member(n, pieces(i, 2), n[0] == "r", f"n{n[1]}" * (n[0] == "r")) for i, n in enumerate(data)]
    again = pool_filters(alike, 9)
    assert again.arrays["shift"][0] < again.arrays["shift_null"].max() * 2
    assert np.isfinite(again.arrays["shift_depths_null"][0, :, [0, 3, 10]]).all()
    assert np.isnan(again.arrays["shift_depths_null"][0, :, 1]).all()


def test_fewer_than_four_normal_models_have_no_level_of_chance(pooled: Pooled) -> None:
    assert pooled.arrays["shift_null"].shape == (2, 19)
    assert np.isnan(pooled.arrays["shift_null"]).all()


def test_shifts_by_coefficient_add_up(pooled: Pooled) -> None:
    components = Moments.of(rows_of(R1, R2, N1)).principal_components()
    assert components is not None
    assert components.ratio @ pooled.arrays["shift_components"][0] == pytest.approx(pooled.arrays["shift"][0])


def test_shifts_by_depth_are_each_on_their_own_union(pooled: Pooled) -> None:
    shifts, counts = pooled.arrays["shift_depths"], pooled.arrays["shift_depth_counts"]
    for depth in (0, 3, 10):
        expected = shift(rows_of(R1, R2, depth=depth), rows_of(N1, depth=depth))
        assert shifts[0, depth] == pytest.approx(expected, rel=1e-6)
        assert counts[0, depth].tolist() == [600, 300]
    assert np.isnan(shifts[:, [1, 2, 4, 5, 6, 7, 8, 9]]).all()


def test_models_are_compared_with_each_other(pooled: Pooled) -> None:
    found = pooled.arrays["shift_models"]
    assert found.shape == (7, 7)
    np.testing.assert_allclose(found, found.T)
    assert (np.diag(found) == 0).all()
    assert found[0, 5] == pytest.approx(0, abs=1e-9)  # the same filters in another data set
    assert found[2, 4] > found[2, 3] > 0


def test_the_order_of_pieces_does_not_matter(pooled: Pooled) -> None:
    again = pool_filters(
        [
            member("r1", R1[::-1], True, "n1"),
            member("r2", R2, True, "n1"),
            member("n1", N1[::-1], False),
            member("unpaired", N2, False),
            member("who knows", LONE, None),
            member("other", R1, True, dataset="d"),
            member("other normal", N2, False, dataset="d"),
        ],
        9,
    )
    assert again.arrays["shift"] == pytest.approx(pooled.arrays["shift"], rel=1e-6)


@pytest.mark.parametrize("data", [[], [(0, torch.ones(20, 9))], [(0, torch.empty(0, 9))]])
def test_without_filters_that_differ_there_is_no_distribution(data: list[tuple[int, torch.Tensor]]) -> None:
    with pytest.raises(LensSkipped, match="no distribution to pool"):
        pool_filters([member("m", data, True)], 9)


def test_a_side_without_models_has_no_shift() -> None:
    found = pool_filters([member("r", R1, True)], 9)
    assert np.isnan(found.arrays["shift"]).all()
    assert np.isnan(found.arrays["shift_depths"]).all()
    assert np.isnan(found.arrays["bases"][2]).all()
    assert found.arrays["shift_models"].tolist() == [[0]]


def peak() -> int:
    """Peak resident memory of this process in kB since it was last reset."""
    return int(re.findall(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text(encoding="utf-8"))[0])


def stream(seed: int) -> Iterator[Filters]:
    rng = np.random.default_rng(seed)
    for depth in range(10):
        rows = rng.standard_normal((50_000, 9), dtype=np.float32)
        yield Filters(depth, rows, filter_maxima(rows), 0.0)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells and resets a process's peak")
def test_memory_does_not_grow_with_the_number_of_filters() -> None:
    members = [
        Member(f"m{i}", "c", i % 2 == 0, f"m{i + 1}" if i % 2 == 0 else "", moments(stream(i)), partial(stream, i))
        for i in range(8)
    ]
    pool_filters(members[:1], 9)
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak is now what is held now
    before = peak()
    found = pool_filters(members, 9)
    after = peak()
    assert found.arrays["histograms"][0, 0].sum() == 4_000_000
    assert found.arrays["shift"][0] < 1e-3
    # 4 million filters are 144 MB.
    assert (after - before) * 1024 < 50e6
