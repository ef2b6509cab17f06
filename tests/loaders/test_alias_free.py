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
from filterlens.loaders.alias_free import AliasFreeDownsampling, Pooling, low_pass, without_aliasing
from filterlens.tracing.capture import Downsampling, capture_downsampling

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


POOLINGS: tuple[Pooling, ...] = ("ideal", "flc", "asap")


@pytest.mark.parametrize("pooling", ["ideal", "asap"])
@pytest.mark.parametrize(("size", "stride"), SIZES)
def test_low_passed_maps_do_not_alias(size: tuple[int, int], stride: tuple[int, int], pooling: Pooling) -> None:
    dense = low_pass(maps(2, 3, *size), stride=stride, pooling=pooling)
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


def wave(k: int, l: int, size: int = 16, phase: float = 0.4) -> Tensor:  # noqa: E741 - the formula's letter
    """One frequency: cos(2π (k m + l n) / N + φ)."""
    t = torch.arange(size, dtype=torch.float64)
    return torch.cos(2 * math.pi * (k * t[:, None] + l * t[None, :]) / size + phase).expand(1, 1, size, size)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_what_lies_above_the_cut_is_gone_and_a_constant_stays(pooling: Pooling) -> None:
    layer = AliasFreeDownsampling(2, pooling=pooling)
    for k, l in ((5, 0), (0, 6), (7, 3), (-5, 5), (8, 8)):  # noqa: E741
        assert float(layer(wave(k, l)).abs().max()) < 1e-12
    torch.testing.assert_close(layer(wave(0, 0)), wave(0, 0)[..., ::2, ::2])


@pytest.mark.parametrize(("k", "l"), [(1, 0), (3, 3), (-2, 3), (0, 2)])
def test_what_lies_below_passes_unchanged_and_through_asap_by_its_window(k: int, l: int) -> None:  # noqa: E741
    below = wave(k, l)[..., ::2, ::2]
    torch.testing.assert_close(AliasFreeDownsampling(2)(wave(k, l)), below)
    torch.testing.assert_close(AliasFreeDownsampling(2, pooling="flc")(wave(k, l)), below)
    kept = math.prod(math.sqrt(0.54 + 0.46 * math.cos(2 * math.pi * f / 16)) for f in (k, l))
    torch.testing.assert_close(AliasFreeDownsampling(2, pooling="asap")(wave(k, l)), kept * below)


def test_flc_keeps_half_of_the_nyquist_lines_which_fold_and_the_others_nothing() -> None:
    line = wave(4, 1)
    for pooling, kept in (("ideal", 0.0), ("flc", 0.5), ("asap", 0.0)):
        dense = low_pass(line, stride=(2, 2), pooling=pooling)  # type: ignore[arg-type]
        torch.testing.assert_close(dense, kept * line)
    noise = maps(2, 3, 16, 16)
    aliased = float(aliasing_relative(low_pass(noise, stride=(2, 2), pooling="flc"), stride=(2, 2)).mean())
    assert 0.01 < aliased < 0.5 * float(aliasing_relative(noise, stride=(2, 2)).mean())


def published(x: Tensor, window: bool = False) -> Tensor:
    """Half the size as the authors' modules do it: shifted spectrum, window, central block, real part."""
    spectrum = torch.fft.fftshift(torch.fft.fft2(x, norm="forward"), dim=(-2, -1))
    height, width = x.shape[-2:]
    if window:
        spectrum = spectrum * torch.from_numpy(np.sqrt(np.outer(np.hamming(height), np.hamming(width))))
    block = spectrum[..., height // 4 : height // 4 * 3, width // 4 : width // 4 * 3]
    half: Tensor = torch.fft.ifft2(torch.fft.ifftshift(block, dim=(-2, -1)), norm="forward").real
    return half


@pytest.mark.parametrize("size", [(8, 8), (16, 12), (32, 4)])
def test_flc_is_the_published_module(size: tuple[int, int]) -> None:
    x = maps(2, 3, *size)
    torch.testing.assert_close(AliasFreeDownsampling(2, pooling="flc")(x), published(x))


@pytest.mark.parametrize("size", [9, 15, 21])
def test_asap_is_the_published_window_where_sides_are_odd_and_the_window_is_centred(size: int) -> None:
    x = maps(2, 3, size, size)
    spectrum = torch.fft.fftshift(torch.fft.fft2(x, norm="forward"), dim=(-2, -1))
    spectrum = spectrum * torch.from_numpy(np.sqrt(np.outer(np.hamming(size), np.hamming(size))))
    third, middle = size // 3, size // 2
    block = slice(middle - third // 2, middle + third // 2 + 1)
    expected = torch.fft.ifft2(torch.fft.ifftshift(spectrum[..., block, block], dim=(-2, -1)), norm="forward").real
    torch.testing.assert_close(AliasFreeDownsampling(3, pooling="asap")(x), expected)


def test_asap_does_not_shift_maps_as_the_published_window_does_at_even_sides() -> None:
    """A map that is its own mirror image stays so; np.hamming of an even size is centred beside frequency 0."""
    t = torch.arange(16, dtype=torch.float64)
    bump = torch.exp(-((torch.minimum(t, 16 - t) / 2) ** 2))
    x = (bump[:, None] * bump).expand(1, 1, 16, 16)
    mirrored = AliasFreeDownsampling(2, pooling="asap")(x)
    torch.testing.assert_close(mirrored, mirrored.flip(2, 3).roll((1, 1), (2, 3)))
    assert float((published(x, window=True) - mirrored).abs().max()) > 1e-3


def test_asap_rings_less_than_a_sharp_cut() -> None:
    """The sinc artefacts: what a low-passed edge overshoots its own range by, and how far one sample reaches."""
    edge = torch.zeros(1, 1, 64, 64, dtype=torch.float64)
    edge[..., 16:48] = 1
    overshoot = {p: float(low_pass(edge, stride=(2, 2), pooling=p).max()) - 1 for p in POOLINGS}
    assert overshoot["ideal"] > 0.06  # Gibbs' 9 % where samples meet the peak
    assert overshoot["asap"] < 0.85 * min(overshoot["ideal"], overshoot["flc"])
    sample = torch.zeros(1, 1, 64, 64, dtype=torch.float64)
    sample[..., 0, 0] = 1
    far = {p: float(low_pass(sample, stride=(2, 2), pooling=p)[0, 0, 0, 8:57].abs().max()) for p in POOLINGS}
    assert far["asap"] < 0.75 * min(far["ideal"], far["flc"])


@pytest.mark.parametrize("pooling", POOLINGS)
def test_every_pooling_swaps_a_model_keeps_shapes_and_aliases_less(pooling: Pooling) -> None:
    model, x = network(), maps(2, 3, 32, 32).float()
    swapped, names = without_aliasing(model, pooling=pooling)
    assert names == ["conv", "pool", "shortcut", "mean"]
    assert swapped(x).shape == model(x).shape
    assert f"pooling={pooling}" in str(swapped)
    before, after = captured(model, x), captured(swapped, x)
    for d, e in zip(before, after, strict=True):
        old, new = (float(aliasing_relative(f.dense, stride=f.stride).mean()) for f in (d, e))
        most = 1e-4 if pooling != "flc" else 0.5 if min(d.dense.shape[2:]) > 8 else 1  # of a small map, lines are much
        assert new < most * old


@pytest.mark.parametrize("pooling", POOLINGS)
def test_gradients_flow_through_every_pooling(pooling: Pooling) -> None:
    assert torch.autograd.gradcheck(AliasFreeDownsampling(2, pooling=pooling), (maps(1, 1, 6, 8).requires_grad_(),))


def test_another_pooling_is_refused_with_those_that_there_are() -> None:
    for make in (
        lambda: AliasFreeDownsampling(2, pooling="blur"),  # type: ignore[arg-type]
        lambda: low_pass(maps(4, 4), stride=(2, 2), pooling="blur"),  # type: ignore[arg-type]
        lambda: without_aliasing(network(), pooling="blur"),  # type: ignore[arg-type]
    ):
        with pytest.raises(InputError, match="pooling 'blur' is none of ideal, flc, asap"):
            make()
