"""The first stage: what the first convolution really puts out, however a network spells it."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from filterlens.loaders.model import Classifier
from filterlens.tracing.first_stage import FirstStage, first_stage

IMAGES = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def batch_norm(channels: int = 4) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels)
    nn.init.uniform_(norm.weight, 0.5, 2)
    nn.init.normal_(norm.bias)
    norm.get_buffer("running_mean").normal_(0, 0.3)
    norm.get_buffer("running_var").uniform_(0.5, 2)
    return norm.eval()


Stage = Callable[["Network", Tensor], Tensor]


class Network(nn.Module):
    """A first stage spelt in a given way, and more behind it."""

    def __init__(self, stage: Stage, *, norm: nn.Module | None = None) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.conv = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.norm = norm or batch_norm()
        self.later = nn.Conv2d(4, 2, 3)
        self.stage = stage

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.later(self.stage(self, x)).mean(dim=(2, 3))
        return out


def pre_activation(net: Network, x: Tensor) -> Tensor:
    out: Tensor = net.conv(x)
    return out + functional.relu(net.norm(out))


def in_place(net: Network, x: Tensor) -> Tensor:
    out = functional.relu_(net.norm(net.conv(x)))
    out += 1  # what is recorded must not change with it
    return out


CONV = ("conv2d",)
SPELLINGS: dict[str, tuple[Stage, Stage]] = {
    "modules": (lambda net, x: nn.ReLU()(net.norm(net.conv(x))), lambda net, x: net.norm(net.conv(x)).relu()),
    "functions": (
        lambda net, x: functional.conv2d(x, net.conv.weight, None, 2, 1).relu(),
        lambda net, x: functional.conv2d(x, net.conv.weight, None, 2, 1).relu(),
    ),
    "in place": (in_place, lambda net, x: net.norm(net.conv(x)).relu()),
    "clipped": (
        lambda net, x: functional.relu6(net.norm(net.conv(x))),
        lambda net, x: net.norm(net.conv(x)).clamp(0, 6),
    ),
    "smooth": (lambda net, x: functional.silu(net.conv(x)), lambda net, x: functional.silu(net.conv(x))),
    "signed": (lambda net, x: functional.leaky_relu(net.conv(x)), lambda net, x: functional.leaky_relu(net.conv(x))),
    "pre-activation": (pre_activation, lambda net, x: net.norm(net.conv(x)).relu()),
    "normalised only": (
        lambda net, x: functional.max_pool2d(net.norm(net.conv(x)), 2, 1),
        lambda net, x: net.norm(net.conv(x)),
    ),
    "pooled before its activation": (
        lambda net, x: functional.max_pool2d(net.conv(x), 2, 1).relu(),
        lambda net, x: net.conv(x),
    ),
    "no activation": (lambda net, x: net.conv(x) + 1, lambda net, x: net.conv(x)),
    "detached": (lambda net, x: net.conv(x).detach().relu(), lambda net, x: net.conv(x).relu()),
}  # fmt: skip


def traced(network: nn.Module, images: Tensor) -> FirstStage:
    found = first_stage(network, images)
    assert found is not None
    return found


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_the_first_stage_is_what_the_network_computes(spelling: str) -> None:
    stage, slow = SPELLINGS[spelling]
    network = Network(stage).eval()
    classifier = Classifier(network, (0.5, 0.4, 0.3), (0.2, 0.3, 0.2)).eval()
    found = first_stage(classifier, IMAGES, network=network)
    assert found is not None
    with torch.no_grad():
        normalised = (IMAGES - classifier.get_buffer("mean")) / classifier.get_buffer("std")
        torch.testing.assert_close(found.activation, slow(network, normalised))
    assert found.layer == ("conv2d" if spelling == "functions" else "conv")
    assert found.operations[0] == "conv2d"
    assert torch.equal(found.weight, network.conv.weight)


def test_what_runs_is_named() -> None:
    network = Network(lambda net, x: net.norm(net.conv(x)).relu()).eval()
    operations = traced(network, IMAGES).operations
    assert operations[0] == "conv2d"
    assert "batch_norm" in operations[1]
    assert operations[2:] == ("relu",)
    group = Network(lambda net, x: net.norm(net.conv(x)).relu(), norm=nn.GroupNorm(2, 4)).eval()
    assert traced(group, IMAGES).operations == ("conv2d", "native_group_norm", "relu")


def test_a_network_that_normalises_its_input_itself_is_run_with_it() -> None:
    """What the old figure got wrong: bare filters on raw images."""

    class Normalising(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.conv((x - 0.4) / 0.1).relu().mean(dim=(2, 3))
            return out

    network = Normalising().eval()
    with torch.no_grad():
        expected = network.conv((IMAGES - 0.4) / 0.1).relu()
    torch.testing.assert_close(traced(network, IMAGES).activation, expected)


def test_a_network_without_a_convolution_has_no_first_stage() -> None:
    assert first_stage(nn.Sequential(nn.Flatten(), nn.Linear(192, 2)), IMAGES) is None


@pytest.mark.parametrize("fails", [False, True])
def test_the_network_is_left_as_it_was(fails: bool) -> None:
    def stage(net: Network, x: Tensor) -> Tensor:
        if fails:
            raise RuntimeError("stop")
        out: Tensor = net.norm(net.conv(x)).relu()
        return out

    network = Network(stage)
    network.train()
    before = copy.deepcopy(network.state_dict())
    if fails:
        with pytest.raises(RuntimeError, match="stop"):
            first_stage(network, IMAGES)
    else:
        first_stage(network, IMAGES)
    assert network.training
    assert network.norm.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    for module in network.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
