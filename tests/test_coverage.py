"""The page on coverage says what its rows say; nothing failed, and every reason to refuse is one that a test knows."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
from scripts import ROOT, load_script
from torch import Tensor, nn

import filterlens
from filterlens.errors import FilterlensError

coverage = load_script("benchmarks/architecture_coverage.py")
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
    assert not [row for row in ROWS if row["status"] not in {"scored", "refused"}]
    errors = {row["family"]: float(row["replay_error"]) for row in ROWS if row["replay_error"]}
    assert len(errors) > 70
    assert max(errors.values()) < 1e-5


def test_an_architecture_has_one_row_a_lens() -> None:
    keys = [(row["architecture"], row["lens"]) for row in ROWS]
    assert len(keys) == len(set(keys))
    assert {lens for _, lens in keys} == {*coverage.LENSES, "downsampling"}


def test_the_page_is_written_from_the_rows() -> None:
    assert (ROOT / "docs" / "coverage.md").read_text(encoding="utf-8") == coverage.page(ROWS)
