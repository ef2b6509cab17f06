"""Places of convolutions in graphs whose answer is known."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from filterlens.tracing.depth import example_sizes, trace, trace_first


def conv(c_in: int, c_out: int, k: int = 3, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, k, padding=k // 2, **options)


def places(network: nn.Module, *shape: int) -> dict[str, int]:
    return trace(network, torch.rand(shape or (1, 3, 8, 8))).places


def test_a_chain_counts_from_zero() -> None:
    chain = nn.Sequential(conv(3, 4), nn.ReLU(inplace=True), conv(4, 4, 1), nn.MaxPool2d(2), conv(4, 4, 5))
    assert places(chain) == {"0": 0, "2": 1, "4": 2}


class Block(nn.Module):
    """A basic block whose shortcut is a 1x1 convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 4)
        self.shortcut = conv(4, 8, 1, stride=2)
        self.conv1 = conv(4, 8, 3, stride=2)
        self.conv2 = conv(8, 8)
        self.last = conv(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.conv2(F.relu(self.conv1(x)))
        y += self.shortcut(x)
        out: Tensor = self.last(F.relu_(y))
        return out


def test_a_shortcut_shares_the_place_of_the_block_s_first_convolution() -> None:
    assert places(Block()) == {"stem": 0, "shortcut": 1, "conv1": 1, "conv2": 2, "last": 3}


def test_places_are_told_in_execution_order() -> None:
    assert list(places(Block())) == ["stem", "conv1", "conv2", "shortcut", "last"]


class Dense(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(conv(3 + 2 * i, 2) for i in range(4))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.cat([x, layer(x)], dim=1)
        return x


def test_dense_connections_are_as_deep_as_their_longest_path() -> None:
    assert places(Dense()) == {f"layers.{i}": i for i in range(4)}


class Split(nn.Module):
    """Two branches over the halves of one map, written into one buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.left, self.right1, self.right2, self.end = (
            conv(3, 4),
            conv(2, 2),
            conv(2, 2),
            conv(2, 2),
            conv(4, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.stem(x).chunk(2, dim=1)
        out = torch.zeros(x.shape[0], 4, *x.shape[2:])
        out[:, :2] = self.left(a)
        out[:, 2:].copy_(self.right2(self.right1(b)))
        logits: Tensor = self.end(out)
        return logits


def test_views_several_outputs_and_writes_into_buffers_are_followed() -> None:
    assert places(Split()) == {"stem": 0, "left": 1, "right1": 1, "right2": 2, "end": 3}


def test_a_module_that_is_called_twice_keeps_its_first_place_and_its_second_call_counts() -> None:
    shared, last = conv(3, 3), conv(3, 3)
    network = nn.Sequential(shared, nn.Sequential(shared, last))
    assert places(network) == {"0": 0, "1.1": 2}


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.unused = conv(3, 4), conv(4, 4), conv(4, 4)
        self.kernel = nn.Parameter(torch.randn(4, 4, 3, 3))
        self.up = nn.ConvTranspose2d(4, 4, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.conv2d(x, self.a.weight, padding="same")  # the layer's weight without the layer
        x = F.conv2d(x, self.kernel)  # nobody's: counts, but has no name
        out: Tensor = self.b(self.up(x))
        return out


def test_functional_convolutions_count_and_transposed_ones_do_not() -> None:
    assert places(Functional()) == {"a": 0, "b": 2}


@pytest.mark.parametrize("how", ["weight_norm", "spectral_norm"])
def test_parametrised_convolutions_are_known_by_their_module(how: str) -> None:
    layer = getattr(nn.utils.parametrizations, how)(conv(3, 4))
    assert places(nn.Sequential(layer, conv(4, 4))) == {"0": 0, "1": 1}


class Failing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = conv(3, 4)
        self.drop = nn.Dropout()

    def forward(self, x: Tensor) -> Tensor:
        self.conv(x)
        raise RuntimeError("no such size")


def test_a_failed_pass_leaves_no_hook_and_no_mode_behind() -> None:
    network = Failing().train()
    network.drop.eval()
    with pytest.raises(RuntimeError, match="no such size"):
        trace(network, torch.rand(1, 3, 8, 8))
    assert network.training
    assert not network.drop.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())
    assert trace_first(network, [(3, 8, 8)]) is None


def test_a_pass_leaves_statistics_modes_and_random_state_alone() -> None:
    network = nn.Sequential(conv(3, 4), nn.BatchNorm2d(4), nn.Dropout(), conv(4, 4)).train()
    example = torch.rand(2, 3, 8, 8)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state = torch.random.get_rng_state()
    trace(network, example)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert all(module.training for module in network.modules())


def test_the_first_size_that_a_network_takes_is_used() -> None:
    network = nn.Sequential(conv(1, 2), nn.Flatten(), nn.Linear(2 * 28 * 28, 3))
    sizes = example_sizes(network, None)
    assert sizes[0] == (1, 32, 32)
    found = trace_first(network, sizes)
    assert found is not None
    assert found.places == {"0": 0}


def test_the_known_size_is_tried_first_and_once() -> None:
    sizes = example_sizes(nn.Sequential(conv(3, 4)), (3, 64, 64))
    assert sizes[0] == (3, 64, 64)
    assert sizes.count((3, 64, 64)) == 1


def test_batchnorm_directly_behind_a_convolution_is_seen() -> None:
    network = nn.Sequential(conv(3, 4), nn.BatchNorm2d(4), conv(4, 4), nn.ReLU(inplace=True), nn.BatchNorm2d(4))
    assert trace(network, torch.rand(1, 3, 8, 8)).norms == {"0": "1"}


@pytest.mark.parametrize(
    ("name", "deepest"), [("resnet18", 16), ("densenet121", 119), ("googlenet", 20), ("mobilenet_v2", 51)]
)
def test_torchvision_networks_have_the_depth_that_their_papers_draw(name: str, deepest: int) -> None:
    import torchvision

    options = {"init_weights": False} if name == "googlenet" else {}
    found = trace(getattr(torchvision.models, name)(**options), torch.rand(1, 3, 64, 64))
    assert found.deepest == deepest
    assert set(found.places.values()) == set(range(deepest + 1))


@pytest.mark.parametrize(("name", "shared"), [("resnetv2_50", 4), ("convnext_atto", 0)])
def test_timm_networks_share_places_only_at_shortcuts(name: str, shared: int) -> None:
    import timm

    found = trace(timm.create_model(name), torch.rand(1, 3, 64, 64))
    assert len(found.places) - len(set(found.places.values())) == shared
