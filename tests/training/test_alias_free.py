"""The ideal low-pass filter is ideal, and swapped models do not alias."""

from __future__ import annotations

import math
from collections import OrderedDict

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from filterlens.errors import InputError
from filterlens.lenses.downsampling.aliasing import alias_energy, aliasing, aliasing_relative
from filterlens.tracing.capture import Downsampling, capture_downsampling
from filterlens.training.alias_free import AliasFreeDownsampling, low_pass, without_aliasing

SIZES = [
    ((8, 8), (2, 2)),
    ((12, 18), (3, 3)),
    ((10, 14), (2, 2)),
    ((8, 15), (2, 3)),
    ((16, 4), (4, 4)),
    ((6, 7), (2, 1)),
]


def maps(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64) + 0.5


@pytest.mark.parametrize(("size", "stride"), SIZES)
def test_low_passed_maps_do_not_alias(size: tuple[int, int], stride: tuple[int, int]) -> None:
    dense = low_pass(maps(2, 3, *size), stride=stride)
    assert dense.std() > 0.1
    for score in (aliasing, aliasing_relative, alias_energy):
        assert float(score(dense, stride=stride).max()) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("size", "stride"), SIZES)
def test_the_low_pass_is_a_projection_that_keeps_exactly_the_low_frequencies(
    size: tuple[int, int], stride: tuple[int, int]
) -> None:
    dense = maps(*size)
    passed = low_pass(dense, stride=stride)
    torch.testing.assert_close(low_pass(passed, stride=stride), passed)
    before, after = np.fft.fft2(dense.numpy()), np.fft.fft2(passed.numpy())
    for k in range(size[0]):
        for l in range(size[1]):  # noqa: E741 - the formula's letter
            low = [s == 1 or min(f, n - f) < n / s / 2 for f, n, s in zip((k, l), size, stride, strict=True)]
            assert abs(after[k, l] - (before[k, l] if all(low) else 0)) < 1e-10


def test_the_module_subsamples_the_low_passed_map_and_repeats_the_edge_of_odd_sizes() -> None:
    x = maps(2, 3, 7, 9)
    padded = F.pad(x, (0, 1, 0, 1), mode="replicate")
    expected = low_pass(padded, stride=(2, 2))[..., ::2, ::2]
    torch.testing.assert_close(AliasFreeDownsampling(2)(x), expected)
    assert AliasFreeDownsampling((4, 1))(x).shape == (2, 3, 2, 9)
    assert AliasFreeDownsampling(2)(x.half()).dtype == torch.half


def test_gradients_flow_through_the_module() -> None:
    x = maps(1, 1, 6, 6).requires_grad_()
    assert torch.autograd.gradcheck(AliasFreeDownsampling(3), (x,))


def test_a_stride_below_one_is_refused() -> None:
    with pytest.raises(InputError, match="at least 1, got 0"):
        AliasFreeDownsampling(0)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(3, 8, 3, stride=2, padding=1),
            relu=nn.ReLU(),
            pool=nn.MaxPool2d(3, 2, 1),
            shortcut=nn.Conv2d(8, 6, 1, stride=2),
            mean=nn.AvgPool2d(2),
            plain=nn.Conv2d(6, 4, 1),
        )
    )


def captured(model: nn.Module, x: Tensor) -> list[Downsampling]:
    found: list[Downsampling] = []
    with torch.no_grad(), capture_downsampling(model, found.append):
        model(x)
    return found


@pytest.mark.parametrize("size", [32, 29, 26])
def test_a_swapped_model_keeps_shapes_and_weights_and_does_not_alias(size: int) -> None:
    model, x = network(), maps(2, 3, size, size).float()
    swapped, names = without_aliasing(model)
    assert names == ["conv", "pool", "shortcut", "mean"]
    assert swapped(x).shape == model(x).shape
    renamed = {key.replace(".dense", ""): value for key, value in swapped.state_dict().items()}
    assert renamed.keys() == model.state_dict().keys()
    assert all(torch.equal(renamed[key], value) for key, value in model.state_dict().items())
    before, after = captured(model, x), captured(swapped, x)
    assert [d.layer for d in before] == names
    assert [d.layer for d in after] == [f"{name}.subsample" for name in names]
    for d in before:
        assert float(aliasing_relative(d.dense, stride=d.stride).mean()) > 0.05
    for d in after:
        assert float(aliasing(d.dense, stride=d.stride).max()) < 1e-6
        assert float(aliasing_relative(d.dense, stride=d.stride).max()) < 1e-4


def test_the_original_model_is_left_alone_and_shortcuts_on_request() -> None:
    model, x = network(), maps(1, 3, 32, 32).float()
    expected = model(x)
    _, names = without_aliasing(model, shortcuts=False)
    assert names == ["conv", "pool", "mean"]
    torch.testing.assert_close(model(x), expected, rtol=0, atol=0)


def test_a_module_in_two_places_stays_one_and_a_lone_module_is_swapped_itself() -> None:
    pool = nn.MaxPool2d(2)
    swapped, names = without_aliasing(nn.Sequential(pool, nn.ReLU(), pool))
    assert names == ["0", "2"]
    assert swapped.get_submodule("0") is swapped.get_submodule("2")
    assert swapped(torch.zeros(1, 1, 8, 8)).shape == (1, 1, 2, 2)
    alone, names = without_aliasing(nn.AvgPool2d(2))
    assert names == [""]
    assert alone(torch.ones(1, 1, 4, 4)).mean() == pytest.approx(1)


class SameConv(nn.Conv2d):
    pass


def test_what_cannot_be_split_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="0 is a SameConv"):
        without_aliasing(nn.Sequential(SameConv(3, 3, 3, stride=2)))
    with pytest.raises(InputError, match="0 pools with ceil_mode"):
        without_aliasing(nn.Sequential(nn.MaxPool2d(2, ceil_mode=True)))
    with pytest.raises(InputError, match="Sequential holds no strided"):
        without_aliasing(nn.Sequential(nn.Conv2d(3, 3, 3)))


def test_a_sine_above_the_new_nyquist_vanishes_and_one_below_stays() -> None:
    t = torch.arange(16, dtype=torch.float64)
    low = torch.cos(2 * math.pi * 3 * t / 16).expand(1, 1, 16, 16)
    high = torch.cos(2 * math.pi * 5 * t / 16).expand(1, 1, 16, 16)
    torch.testing.assert_close(AliasFreeDownsampling(2)(low + high), low[..., ::2, ::2])
