"""Which image size a network takes: the images' own, the one that it names, or a usual one; else it is said."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import Tensor, nn

import filterlens
from filterlens.errors import InputError
from filterlens.tracing.sizes import run_error, size_taken


class Windows(nn.Module):
    """Takes images whose sides are multiples of a window, as window attention does."""

    def __init__(self, window: int, most: int = 1000) -> None:
        super().__init__()
        self.window, self.most = window, most
        self.conv = nn.Conv2d(3, 4, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2] % self.window or x.shape[2] > self.most:
            raise AssertionError(f"height ({x.shape[2]}) must be divisible by window ({self.window})")
        maps: Tensor = self.conv(x)
        return maps.mean((2, 3))


def test_a_network_that_runs_on_the_images_takes_their_size() -> None:
    assert size_taken(Windows(14), (3, 28, 28)) == (28, 28)
    assert size_taken(nn.Conv2d(1, 1, 3), (1, 17, 19)) == (17, 19)


def test_a_network_that_does_not_takes_the_first_usual_size_at_which_it_runs() -> None:
    assert size_taken(Windows(8), (3, 28, 28)) == (224, 224)
    assert size_taken(Windows(8, most=40), (3, 28, 28)) == (32, 32)


def test_a_size_that_the_network_names_comes_before_the_usual_ones() -> None:
    assert size_taken(timm.create_model("vit_tiny_patch16_384"), (3, 32, 32)) == (384, 384)

    class Named(Windows):
        image_size = 96

    network = Named(8)
    assert size_taken(network, (3, 28, 28)) == (96, 96)


def test_a_network_that_runs_at_no_usual_size_is_refused_with_what_it_says() -> None:
    said = r"Windows does not run on images of 3x28x28 \(height \(28\) must be divisible by window \(1021\)\)"
    with pytest.raises(InputError, match=said):
        size_taken(Windows(1021), (3, 28, 28))
    network = timm.create_model("resnet18")
    with pytest.raises(
        InputError, match=r"expected input.* to have 3 channels.*; it names 224x224 itself: give images"
    ):
        size_taken(network, (1, 28, 28))


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "vit_tiny_patch16_224"])
def test_measuring_at_another_size_is_refused_with_the_size_that_is_wanted(name: str) -> None:
    with pytest.raises(
        InputError, match=r"does not run on images of 3x28x28 \(.*28.*\): it takes 224x224; resize them"
    ):
        filterlens.measure(timm.create_model(name), torch.rand(1, 3, 28, 28), lens="downsampling")


def test_an_error_that_is_not_of_the_size_stays_what_it_is() -> None:
    class Second(nn.Module):
        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            if self.calls == 1:
                raise KeyError("first call")
            return x

    with pytest.raises(KeyError, match="first call"):
        filterlens.measure(Second(), torch.rand(1, 3, 8, 8), lens="downsampling")


def test_asking_leaves_the_network_as_it_was() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout()).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    state = torch.get_rng_state()
    assert run_error(network, (3, 8, 8)) is None
    assert run_error(network, (3, 1, 1))
    assert all(module.training for module in network.modules())
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
