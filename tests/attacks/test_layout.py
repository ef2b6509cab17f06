"""Models run in the layout that is faster, are changed in nothing by it, and run where their code knows only one."""

from __future__ import annotations

from contextlib import AbstractContextManager

import pytest
import torch
from flatness_cases import images, loaded, network_with_batchnorm
from torch import Tensor, nn

from filterlens.attacks.evaluation import Running, running
from filterlens.errors import InputError
from filterlens.lens import RunSettings


class Viewing(nn.Module):
    """Takes a view of its feature map, which exists in the ordinary layout only."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4 * 16, 4)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.convolution(x).view(len(x), -1))
        return logits


def run(network: nn.Module) -> AbstractContextManager[Running]:
    settings = RunSettings(batch_size=8)
    return running(loaded(network), images(20), settings, lens="flatness", bf16=False, progress=lambda *_: None)


def logits_of(runner: Running) -> Tensor:
    with torch.no_grad():
        return torch.cat([runner(batch.pixels) for batch in runner.batches()])


@pytest.mark.parametrize("own", [torch.contiguous_format, torch.channels_last])
def test_kernels_are_channels_last_within_and_as_they_were_afterwards(own: torch.memory_format) -> None:
    network = network_with_batchnorm().to(memory_format=own)
    kernel = network.get_parameter("0.weight")
    strides, values = kernel.stride(), kernel.detach().clone()
    with torch.no_grad():
        expected = network.eval()(torch.from_numpy(images(20).pixels))

    def interrupted() -> None:
        with run(network) as runner:
            assert kernel.is_contiguous(memory_format=torch.channels_last)
            assert next(runner.batches()).pixels.is_contiguous(memory_format=torch.channels_last)
            torch.testing.assert_close(logits_of(runner), expected)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert kernel.stride() == strides
    assert torch.equal(kernel, values)


def test_a_network_that_views_its_feature_maps_runs_in_the_ordinary_layout() -> None:
    torch.manual_seed(0)
    network = Viewing()
    pixels = torch.from_numpy(images(20).pixels)
    with pytest.raises(RuntimeError, match="view"):
        network.to(memory_format=torch.channels_last)(pixels.contiguous(memory_format=torch.channels_last))
    network.to(memory_format=torch.contiguous_format)
    with torch.no_grad():
        expected = network(pixels)
    with run(network) as runner:
        assert torch.equal(logits_of(runner), expected)
        assert torch.equal(logits_of(runner.on(images(20))), expected)


def narrow(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, channels, 3), nn.Conv2d(channels, 16, 1, stride=2), nn.Flatten(), nn.Linear(64, 4)
    )


@pytest.mark.parametrize(("channels", "layout"), [(7, torch.contiguous_format), (8, torch.channels_last)])
def test_narrow_strided_shortcuts_stay_in_the_ordinary_layout(channels: int, layout: torch.memory_format) -> None:
    """On AVX2 oneDNN writes past its memory when it computes the gradient of their weights in the other."""
    with run(narrow(channels)) as runner:
        assert runner.layout == layout


def test_a_network_that_runs_in_no_layout_is_refused_with_the_reason() -> None:
    with (
        pytest.raises(InputError, match=r"cannot take random's images of 3 x 6 x 6 \(.*7 channels"),
        run(nn.Sequential(nn.Conv2d(7, 4, 3), nn.Flatten())),
    ):
        pass
