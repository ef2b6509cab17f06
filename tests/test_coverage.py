"""The page on coverage says what its rows say; nothing failed, and every reason to refuse is one that a test knows."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from scripts import ROOT, load_script
from torch import Tensor, nn

import filterlens
from filterlens.errors import FilterlensError

coverage = load_script("benchmarks/architecture_coverage.py")
listing = sys.modules[coverage.networks.__module__]
ROWS = coverage.read(ROOT / "docs" / "coverage.csv")


class Attention(nn.Module):
    """No convolution at all."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


class Square(nn.Module):
    """Runs at one size only, as networks with windows or positions do."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2:] != (64, 64):
            raise AssertionError(f"height ({x.shape[2]}) must be divisible by window (64)")
        return x[..., ::2, ::2]


IMAGES = torch.rand(1, 3, 32, 32)
REFUSED: dict[str, tuple[str, Callable[[], nn.Module], str]] = {
    "no convolution": ("filters", Attention, r"holds no convolution weights: there are no filters to look at"),
    "only 1x1": ("frequency", lambda: nn.Conv2d(3, 4, 1), r"holds no convolution larger than 1x1, only 1 of 1x1"),
    "no matrix": ("spectra", nn.ReLU, r"holds no weight matri"),
    "no downsampling": ("downsampling", lambda: nn.Conv2d(3, 4, 3), r"has no downsampling but 1x1 shortcuts, or none"),
    "only shortcuts": ("downsampling", lambda: nn.Conv2d(3, 4, 1, stride=2), r"has no downsampling but 1x1 shortcuts"),
    "another size": ("downsampling", Square, r"does not run on images of 3x32x32 \(.*window \(64\)\): it takes 64x64"),
    "no whole stride": ("downsampling", lambda: nn.AdaptiveAvgPool2d(7), r"from 32x32 to 7x7: no whole stride"),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_a_lens_does_not_apply_to_is_refused_in_one_line_that_says_why(why: str) -> None:
    lens, make, message = REFUSED[why]
    with pytest.raises(FilterlensError, match=message) as refused:
        filterlens.measure(make(), IMAGES if lens == "downsampling" else None, lens=lens)
    assert "\n" not in str(refused.value)


def test_every_reason_of_the_table_is_one_of_these() -> None:
    reasons = {(row["lens"], row["reason"]) for row in ROWS if row["status"] == "refused"}
    known: dict[str, list[str]] = {}
    for lens, _, message in REFUSED.values():
        known.setdefault(lens, []).append(message)
    assert not {(lens, text) for lens, text in reasons if not any(re.search(one, text) for one in known[lens])}


def test_no_architecture_failed_and_every_replay_gave_the_networks_own_output() -> None:
    assert {row["status"] for row in ROWS} <= {"scored", "refused", "same", "not built"}
    errors = {row["family"]: float(row["replay_error"]) for row in ROWS if row["replay_error"]}
    assert set(errors) == {network.family for network in coverage.networks()}
    assert max(errors.values()) < 1e-5


def test_no_network_of_the_list_is_missing() -> None:
    whole = {row["architecture"] for row in ROWS if row["lens"] == coverage.LENSES[-1]}
    other = {row["architecture"] for row in ROWS if row["status"] in {"same", "not built"}}
    assert {network.name for network in coverage.networks()} - whole - other == set()


def test_what_cannot_be_built_says_why() -> None:
    unbuilt = {row["architecture"]: row["reason"] for row in ROWS if row["status"] == "not built"}
    assert {name: reason for name, reason in unbuilt.items() if "NVIDIA" not in reason} == {}


def test_an_architecture_has_one_row_a_lens() -> None:
    keys = [(row["architecture"], row["lens"]) for row in ROWS]
    assert len(keys) == len(set(keys))
    assert {row["lens"] for row in ROWS if row["status"] in {"scored", "refused"}} == {*coverage.LENSES, "downsampling"}
    assert {row["lens"] for row in ROWS if row["status"] in {"same", "not built"}} <= {""}


def test_every_row_is_of_a_network_of_the_list_and_what_is_the_same_was_run_as_another() -> None:
    digests = {network.name: network.digest for network in coverage.networks()}
    whole = {row["architecture"] for row in ROWS if row["lens"] == "spectra"}
    assert {row["architecture"] for row in ROWS} <= set(digests)
    same = {row["architecture"]: row["same_as"] for row in ROWS if row["status"] == "same"}
    assert same
    assert {name: twin for name, twin in same.items() if twin not in whole or digests[name] != digests[twin]} == {}
    assert not {row["architecture"] for row in ROWS if row["same_as"] and row["status"] != "same"}


@pytest.mark.parametrize(
    "name", ["gernet_s", "deit_tiny_patch16_224", "robustbench:cifar10/corruptions/Hendrycks2020AugMix_WRN"]
)
def test_the_list_and_the_rows_say_what_is_built_now(name: str) -> None:
    listed = next(network for network in coverage.networks() if network.name == name)
    found = listing.describe(name, listed.family)
    assert found == listed
    rows = {row["lens"]: row for row in ROWS if row["architecture"] == name}
    now = coverage.score(found, coverage.LENSES)
    assert [(row["lens"], row["rows"], row["kernels"]) for row in now] == [
        (lens, int(rows[lens]["rows"]), rows[lens]["kernels"]) for lens in coverage.LENSES
    ]


def test_a_network_without_memory_is_filled_and_what_its_layers_share_stays_shared() -> None:
    with listing.WithoutWeights():
        first, second = nn.Linear(8, 8), nn.Linear(8, 8)
        second.weight = first.weight
        network = nn.Sequential(first, second, nn.BatchNorm1d(8), nn.Conv1d(8, 8, 3))
    assert {parameter.is_meta for parameter in network.parameters()} == {True}
    assert not any(buffer.is_meta for buffer in network.buffers())
    assert listing.fill(network)
    assert not any(parameter.is_meta for parameter in network.parameters())
    assert second.weight is first.weight
    assert not torch.equal(first.bias, second.bias)
    assert 0.03 < float(torch.cat([parameter.flatten() for parameter in network.parameters()]).std()) < 0.07


def test_a_tensor_without_memory_that_is_no_parameter_is_told() -> None:
    with listing.WithoutWeights():
        network = nn.Linear(2, 2)
        network.table = torch.empty(3)
    assert not listing.fill(network)


class Heads(nn.Module):
    """Attention whose order of heads a flag says."""

    def __init__(self, *, head_first: bool = False) -> None:
        super().__init__()
        self.qkv = nn.Linear(8, 24)
        self.num_heads = 2
        self.head_first = head_first


def test_what_the_lenses_look_at_is_in_the_digest_and_nothing_else() -> None:
    def digest(network: nn.Module) -> str:
        return str(listing.digest(network))

    def convolution(**options: object) -> nn.Module:
        geometry: dict[str, Any] = {"kernel_size": 3, "padding": 1, **options}
        return nn.Sequential(nn.Conv2d(4, 8, **geometry), nn.ReLU())

    assert digest(convolution()) == digest(nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.GELU()))
    others = [
        *(convolution(stride=2), convolution(groups=2), convolution(kernel_size=5), convolution().half()),
        nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.BatchNorm2d(8)),
        nn.Sequential(nn.ReLU(), nn.Conv2d(4, 8, 3, padding=1)),
    ]
    assert len({digest(network) for network in [convolution(), *others]}) == 1 + len(others)
    assert digest(Heads()) != digest(Heads(head_first=True))
    apart, shared = (nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)) for _ in range(2))
    assert digest(apart) == digest(shared)
    shared[1].weight = shared[0].weight
    assert digest(apart) != digest(shared)


def test_a_score_outside_its_bounds_and_a_layer_without_any_are_failures() -> None:
    table = filterlens.measure(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)))
    coverage.check(table)
    with pytest.raises(ValueError, match=r"sparsity of 1\.5 is outside \[0\.0, 1\.0\]"):
        coverage.check(table.assign(sparsity=1.5))
    with pytest.raises(ValueError, match=r"sparsity of inf is outside"):
        coverage.check(table.assign(sparsity=float("inf")))
    scores = table.columns.difference(["layer", "kind", "conv_depth", "conv_depth_norm", "note"])
    with pytest.raises(ValueError, match=r"0 has no score, and no note says why"):
        coverage.check(table.assign(note="", **dict.fromkeys(scores, float("nan"))))


def test_the_page_is_written_from_the_rows() -> None:
    assert (ROOT / "docs" / "coverage.md").read_text(encoding="utf-8") == coverage.page(ROWS)
