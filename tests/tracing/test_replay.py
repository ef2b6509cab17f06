"""Capture is proved: a network that computes with its captured dense maps gives its own output, in every family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from scripts import load_script
from torch import Tensor, nn

import filterlens.tracing.aten as aten
from filterlens.errors import InputError
from filterlens.tracing.replay import Replay, replay_error

coverage = load_script("benchmarks/architecture_coverage.py")
FAMILIES = dict(sorted((family, name) for name, family in coverage.representatives()))
QUICK = ("resnet", "efficientnet", "convnext", "deit", "mobilenetv3")
TOLERANCE = 1e-5


def check(family: str) -> None:
    network = coverage.build(FAMILIES[family])
    error, n_replayed = replay_error(network, coverage.example(network, 1))
    assert n_replayed > 0
    assert error < TOLERANCE


@pytest.mark.parametrize("family", QUICK)
def test_dense_operations_replay_the_network(family: str) -> None:
    check(family)


@pytest.mark.slow
@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in QUICK])
def test_dense_operations_replay_the_network_of_every_family(family: str) -> None:
    check(family)


def test_every_family_of_timm_has_a_representative() -> None:
    assert len(FAMILIES) > 70
    assert set(QUICK) <= set(FAMILIES)


class Every(nn.Module):
    """Every operation that is captured, with every argument that matters, module and function."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            [
                nn.Conv2d(3, 8, 5, stride=(2, 1), padding=2),
                nn.Conv2d(8, 8, 3, stride=2, padding=2, dilation=2, groups=4, bias=False),
                nn.Conv2d(8, 8, 1, stride=2),
                nn.Conv2d(8, 16, 2, stride=3, groups=8),
            ]
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        for conv in self.convs[:2]:
            x = conv(x).relu()
        x = F.max_pool2d(x, 3, 2, padding=1, ceil_mode=True)
        x = F.avg_pool2d(x, 3, (1, 2), padding=1, count_include_pad=False) + 0.1
        early = F.adaptive_avg_pool2d(x, (3, x.shape[3]))
        x = F.avg_pool2d(self.convs[2](x), 2, 1, divisor_override=3)
        return early.mean((2, 3)), self.convs[3](x).amax((2, 3))


def test_every_operation_and_argument_replays_exactly() -> None:
    torch.manual_seed(0)
    network = Every().double()
    error, n_replayed = replay_error(network, torch.rand(2, 3, 64, 96, dtype=torch.float64))
    assert n_replayed == 7
    assert error < 1e-12


@pytest.mark.parametrize("part", ["conv_dense", "pool_dense"])
def test_a_wrong_dense_map_shows(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Maps that are one sample off everywhere: the error is what the tolerance would have to hide."""
    right: Callable[..., Tensor] = getattr(aten, part)

    def shifted(*args: Any, **kwargs: Any) -> Tensor:
        return right(*args, **kwargs).roll(1, -1)

    network = coverage.build("resnet18")
    images = coverage.example(network, 1)
    monkeypatch.setattr(aten, part, shifted)
    assert replay_error(network, images)[0] > 100 * TOLERANCE


def test_nothing_is_replayed_after_the_block_and_after_an_exception() -> None:
    network = nn.Conv2d(3, 4, 3, stride=2)
    with pytest.raises(RuntimeError), Replay() as replay:
        network(torch.rand(1, 2, 8, 8))
    network(torch.rand(1, 3, 8, 8))
    assert replay.n_replayed == 0


def test_an_output_that_shows_nothing_is_no_proof() -> None:
    network = nn.Conv2d(3, 4, 3, stride=2, bias=False)
    nn.init.zeros_(network.weight)
    with pytest.raises(InputError, match="the largest output of Conv2d is 0: a replay shows nothing"):
        replay_error(network, torch.rand(1, 3, 8, 8))
