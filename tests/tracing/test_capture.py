"""Every downsampling operation of a forward pass is seen, and its dense map subsamples to its output."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from filterlens.errors import InputError
from filterlens.tracing import capture as capture_module
from filterlens.tracing.capture import Downsampling, capture_downsampling


def capture(network: nn.Module, images: Tensor, **options: object) -> list[Downsampling]:
    found: list[Downsampling] = []
    with torch.no_grad(), capture_downsampling(network, found.append, **options):  # type: ignore[arg-type]
        network(images)
    return found


def images(*size: int, n: int = 2, channels: int = 3) -> Tensor:
    return torch.randn(n, channels, *size, generator=torch.Generator().manual_seed(0))


class Functional(nn.Module):
    """Calls what it needs itself, as RobustBench's networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.block = nn.Sequential(OrderedDict(down=nn.Conv2d(6, 6, 1, stride=2)))

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.conv(x), 2)
        x = self.block(self.block(F.pad(x, (0, 1, 0, 1))))
        x = F.avg_pool2d(x, 2, padding=1, count_include_pad=False)
        return F.adaptive_avg_pool2d(x, 1).flatten(1)


def test_modules_functional_calls_and_second_calls_have_their_names() -> None:
    found = capture(Functional(), images(64, 64))
    assert [(d.layer, d.operation, d.kind) for d in found] == [
        ("conv", "conv2d", "main"),
        ("max_pool2d", "max_pool2d", "pool"),
        ("block.down", "conv2d", "shortcut"),
        ("block.down#2", "conv2d", "shortcut"),
        ("avg_pool2d", "avg_pool2d", "pool"),
    ]
    assert [tuple(d.dense.shape) for d in found][:2] == [(2, 6, 64, 64), (2, 6, 32, 32)]


def test_a_model_around_the_network_does_not_change_the_names() -> None:
    outer = nn.Sequential(nn.Identity(), nn.Conv2d(3, 4, 3, stride=2))
    found: list[Downsampling] = []
    with torch.no_grad(), capture_downsampling(outer[1], found.append):
        outer(images(8, 8))
    assert [d.layer for d in found] == ["conv2d"]


CONVOLUTIONS = [
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 1, "stride": 2},
    {"kernel_size": 1, "stride": 3},
    {"kernel_size": 7, "stride": 2, "padding": 3, "bias": False},
    {"kernel_size": 4, "stride": 4},
    {"kernel_size": 2, "stride": 3},
    {"kernel_size": (3, 5), "stride": (2, 1), "padding": (1, 2)},
    {"kernel_size": 3, "stride": 2, "dilation": 2, "padding": 2},
    {"kernel_size": 3, "stride": 2, "groups": 2, "padding": 1},
    {"kernel_size": 3, "stride": 2, "groups": 4, "padding": 1},
    {"kernel_size": 3, "stride": 2, "padding": 1, "padding_mode": "reflect"},
]


@pytest.mark.parametrize("size", [(16, 16), (15, 17), (13, 12)])
@pytest.mark.parametrize("arguments", CONVOLUTIONS)
@pytest.mark.parametrize("kept", [[0, 1, 2, 3, 4, 5, 6, 7], [1, 3, 6], [0, 1, 5, 7]])
def test_convolutions_of_every_shape(arguments: dict[str, object], size: tuple[int, int], kept: list[int]) -> None:
    conv = nn.Conv2d(4, 8, **arguments)  # type: ignore[arg-type]
    x = images(*size, channels=4)
    (found,) = capture(nn.Sequential(conv), x, choose=lambda layer, n: kept)
    output = conv(x)[:, kept]
    s_h, s_w = found.stride
    assert found.dense.shape == (2, len(kept), s_h * output.shape[2], s_w * output.shape[3])
    torch.testing.assert_close(found.dense[..., ::s_h, ::s_w], output, rtol=1e-4, atol=1e-5)
    assert found.channels == tuple(kept)
    assert found.n_channels == 8
    slow = slow_convolution(conv, x, torch.Size(found.dense.shape[2:]))[:, kept]
    torch.testing.assert_close(found.dense, slow, rtol=1e-4, atol=1e-5)


def slow_convolution(conv: nn.Conv2d, x: Tensor, size: torch.Size) -> Tensor:
    """The output of the strided layer on the input moved by each offset, interleaved."""
    s_h, s_w = conv.stride
    p_h, p_w = conv.padding if isinstance(conv.padding, tuple) else (0, 0)
    mode = {"zeros": "constant"}.get(conv.padding_mode, conv.padding_mode)
    padded = F.pad(F.pad(x, (p_w, p_w, p_h, p_h), mode=mode), (0, 2 * s_w, 0, 2 * s_h))
    dense = x.new_zeros(x.shape[0], conv.out_channels, *size)
    for i in range(s_h):
        for j in range(s_w):
            moved = F.conv2d(padded[:, :, i:, j:], conv.weight, conv.bias, conv.stride, 0, conv.dilation, conv.groups)
            dense[:, :, i::s_h, j::s_w] = moved[:, :, : size[0] // s_h, : size[1] // s_w]
    return dense


POOLS = [
    nn.MaxPool2d(2),
    nn.MaxPool2d(3, 2, 1),
    nn.MaxPool2d(3, 2, ceil_mode=True),
    nn.MaxPool2d(2, 2, ceil_mode=True),
    nn.MaxPool2d(1, 2),
    nn.MaxPool2d(2, 3),
    nn.MaxPool2d((3, 2), (2, 1), (1, 0)),
    nn.MaxPool2d(3, 2, 1, dilation=2),
    nn.AvgPool2d(2),
    nn.AvgPool2d(3, 2, 1),
    nn.AvgPool2d(3, 2, 1, count_include_pad=False),
    nn.AvgPool2d(3, 2, 1, ceil_mode=True),
    nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False),
    nn.AvgPool2d(2, 2, ceil_mode=True),
    nn.AvgPool2d(3, 2, divisor_override=5),
    nn.AvgPool2d(1, 2),
    nn.AvgPool2d(4, 3, 2),
    nn.LPPool2d(2, 2),
]


@pytest.mark.parametrize("size", [(16, 16), (15, 17), (9, 14), (7, 6)])
@pytest.mark.parametrize("pool", POOLS, ids=str)
def test_pools_of_every_shape(pool: nn.Module, size: tuple[int, int]) -> None:
    x = images(*size, channels=5).abs()
    (found,) = capture(nn.Sequential(pool), x, choose=lambda layer, n: [4, 1])
    assert found.kind == "pool"
    assert found.layer == "0"
    assert found.dense.isfinite().all()
    every = capture(nn.Sequential(pool), x)[0].dense
    torch.testing.assert_close(every[:, [4, 1]], found.dense)


def test_an_average_counts_added_zeros_as_input() -> None:
    """The last window of a 2x2 mean at stride 1 reaches over the end: zeros there, divided by four all the same."""
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    (found,) = capture(nn.Sequential(nn.AvgPool2d(2)), x)
    padded = F.pad(x, (0, 1, 0, 1))
    expected = (padded[..., :-1, :-1] + padded[..., 1:, :-1] + padded[..., :-1, 1:] + padded[..., 1:, 1:]) / 4
    torch.testing.assert_close(found.dense, expected)


def test_a_maximum_never_sees_the_padding() -> None:
    x = -torch.arange(1.0, 17.0).reshape(1, 1, 4, 4)
    (found,) = capture(nn.Sequential(nn.MaxPool2d(2)), x)
    torch.testing.assert_close(found.dense, x)  # each window's maximum is its upper left sample


def test_adaptive_pools_with_a_whole_stride_are_seen_and_others_refused_by_name() -> None:
    for pool, operation in ((nn.AdaptiveAvgPool2d((4, 2)), "avg_pool2d"), (nn.AdaptiveMaxPool2d((4, 2)), "max_pool2d")):
        (found,) = capture(nn.Sequential(pool), images(8, 8))
        assert (found.operation, found.kernel, found.stride) == (operation, (2, 4), (2, 4))
    assert capture(nn.AdaptiveAvgPool2d(8), images(8, 8)) == []
    assert capture(nn.AdaptiveAvgPool2d(9), images(8, 8)) == []
    with pytest.raises(InputError, match="last pools adaptively from 8x8 to 3x3: no whole stride"):
        capture(nn.Sequential(OrderedDict(last=nn.AdaptiveAvgPool2d(3))), images(8, 8))


def test_a_fixed_filter_shared_by_all_channels_is_a_pool() -> None:
    blur = nn.Conv2d(3, 3, 3, stride=2, padding=1, groups=3, bias=False)
    assert capture(nn.Sequential(blur), images(8, 8))[0].kind == "main"
    with torch.no_grad():
        blur.weight.fill_(1 / 9)
    assert capture(nn.Sequential(blur), images(8, 8))[0].kind == "pool"


def test_global_pooling_transposed_and_one_dimensional_operations_are_left_out() -> None:
    network = nn.Sequential(nn.ConvTranspose2d(3, 3, 2, stride=2), nn.Conv2d(3, 3, 3), nn.AdaptiveAvgPool2d(1))
    assert capture(network, images(8, 8)) == []
    assert capture(nn.AvgPool2d(8), images(8, 8)) == []
    assert capture(nn.Conv1d(3, 3, 3, stride=2), torch.zeros(2, 3, 8)) == []


def test_maps_without_a_batch_are_refused_by_name() -> None:
    with pytest.raises(InputError, match="0 downsamples one map of shape"):
        capture(nn.Sequential(nn.MaxPool2d(2)), torch.zeros(3, 8, 8))


def test_a_dense_map_that_does_not_fit_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    original = capture_module.read_call  # type: ignore[attr-defined]  # to be replaced

    class Wrong:
        operation, kind, kernel, stride, groups = "conv2d", "main", (3, 3), (2, 2), 1

        def __init__(self, change: int) -> None:
            self.change = change

        def dense(self, channels: tuple[int, ...]) -> Tensor:
            return torch.zeros(2, 3, 8 + self.change, 8)

    conv = nn.Sequential(nn.Conv2d(3, 3, 3, stride=2, padding=1))
    for change, message in ((0, "0: the dense map .* does not subsample"), (2, "0: the dense map .* is 10x8")):
        monkeypatch.setattr(
            capture_module, "read_call", lambda *given, c=change: None if original(*given) is None else Wrong(c)
        )
        with pytest.raises(InputError, match=message):
            capture(conv, images(8, 8))


def n_hooks(network: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules())


def test_no_hook_is_left_behind_even_after_an_exception() -> None:
    network = Functional()
    capture(network, images(64, 64))
    assert n_hooks(network) == 0
    with pytest.raises(RuntimeError, match="channels"):
        capture(network, images(64, 64, channels=4))
    assert n_hooks(network) == 0
    assert len(capture(network, images(64, 64))) == 5


def test_the_networks_output_is_the_same_with_and_without_capture() -> None:
    network, x = Functional(), images(64, 64)
    expected = network(x)
    with capture_downsampling(network, lambda _: None):
        observed = network(x)
    assert observed.requires_grad
    torch.testing.assert_close(observed, expected, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_are_captured_in_their_own(dtype: torch.dtype) -> None:
    found = capture(Functional().to(dtype), images(64, 64).to(dtype))
    assert {d.dense.dtype for d in found} == {dtype}
    assert len(found) == 5


def test_the_dense_map_is_independent_of_the_batch() -> None:
    network, x = Functional(), images(64, 64, n=4)
    whole = capture(network, x)
    halves = [capture(network, x[:1]), capture(network, x[1:])]
    for one, *parts in zip(whole, *halves, strict=True):
        torch.testing.assert_close(torch.cat([p.dense for p in parts]), one.dense, rtol=1e-4, atol=1e-5)
