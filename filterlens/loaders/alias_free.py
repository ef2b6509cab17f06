"""Downsampling without aliasing: a low-pass filter before the subsampling, and a swap for a whole model."""

from __future__ import annotations

from collections import OrderedDict
from copy import deepcopy
from typing import Final, Literal, get_args

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor, nn

from filterlens.errors import InputError

__all__ = ["AliasFreeDownsampling", "Pooling", "low_pass", "without_aliasing"]

Pair = tuple[int, int]
Pooling = Literal["ideal", "flc", "asap"]
"""Which low-pass filter: the ideal one, that of FrequencyLowCut pooling, or that of ASAP."""
_Strided = nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d
_SWAPPED = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)
_HAMMING: Final = (0.54, 0.46)
_ROUNDING: Final = 1e-15


def low_pass(maps: Tensor, *, stride: Pair, pooling: Pooling = "ideal") -> Tensor:
    """Keep the frequencies that survive subsampling, and nothing else.

    Parameters
    ----------
    maps
        Real maps, shape (..., s_h H, s_w W).
    stride
        (s_h, s_w); an axis of stride 1 is left as it is.
    pooling
        `ideal`: the frequencies |k| < H / 2 and |l| < W / 2, unchanged. The Nyquist lines |k| = H / 2 are zero: half of
        one would fold on the other.

        `flc`: FrequencyLowCut pooling [Grabinski2022FLC]_. It crops -H / 2 … H / 2 - 1 and keeps the real part, so that
        of the Nyquist lines a half stays and folds.

        `asap`: ASAP [Grabinski2023]_. The ideal filter times a Hamming window √(w(k) w(l)) that is centred on frequency
        0, against the ringing (sinc artefacts) of a sharp cut: w(k) = 0.54 + 0.46 cos(2π k / (M - 1)), M the odd one of
        s_h H and s_h H + 1. Frequency 0 stays unchanged; at the cut of stride 2 an axis keeps 0.73 of the amplitude.

    Returns
    -------
        Maps of the same shape and dtype.

    Raises
    ------
    InputError
        No filter is called so.

    References
    ----------
    [Grabinski2022FLC]_; [Grabinski2023]_.

    Notes
    -----
    Subsampling the result equals cropping the spectrum and transforming back, as the published modules do; here these
    are two steps, for any whole stride, so that the downsampling lens sees them. The published crop is not the central
    block where a side is no multiple of four; ours is. The published window and crop are centred beside frequency 0
    where a side is even, for which one of the published variants pads a row and a column of zeros; ours are centred.
    """
    if pooling not in get_args(Pooling):
        raise InputError(f"pooling {pooling!r} is none of {', '.join(get_args(Pooling))}")
    single = maps.float() if maps.dtype in {torch.float16, torch.bfloat16} else maps
    rows, columns = (_filter(maps.shape[axis - 2], stride[axis], pooling).to(single.device) for axis in (0, 1))
    with torch.autocast(maps.device.type, enabled=False):
        kept = _separable(single, rows[0], columns[0])
        if pooling == "flc":  # the others' responses are symmetric: their filters are real
            kept = kept - _separable(single, rows[1], columns[1])
    return kept.to(maps.dtype)


def _separable(maps: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    return rows.to(maps.dtype) @ maps @ columns.to(maps.dtype).T


def _filter(size: int, stride: int, pooling: Pooling) -> Tensor:
    """Real and imaginary part of one axis' filter as circulant matrices, shape (2, size, size), float64.

    At usual sizes a product with them is faster than an FFT.
    """
    complex_impulse = torch.fft.ifft(_response(size, stride, pooling))
    impulse = torch.stack([complex_impulse.real, complex_impulse.imag])
    impulse = torch.where(impulse.abs() < _ROUNDING, 0, impulse)  # products of rounding are slow subnormal numbers
    place = torch.arange(size)
    return impulse[:, (place[:, None] - place) % size]


def _response(size: int, stride: int, pooling: Pooling) -> Tensor:
    """Real response of one axis, float64, in the order of the FFT."""
    k = torch.fft.fftfreq(size, 1 / size, dtype=torch.float64)
    if stride == 1:
        return torch.ones_like(k)
    nyquist = size / stride / 2
    if pooling == "flc":
        cropped: Tensor = ((k >= -nyquist) & (k < nyquist)).to(k)
        return cropped
    ideal: Tensor = (k.abs() < nyquist).to(k)
    if pooling == "ideal":
        return ideal
    constant, cosine = _HAMMING
    period = max(size - size % 2, 1)
    return ideal * (constant + cosine * torch.cos(2 * torch.pi * k / period)).sqrt()


class AliasFreeDownsampling(nn.Module):
    """Subsample maps of stride 1 after a low-pass filter: the aliasing scores are 0 to rounding, but for `flc`.

    A drop-in replacement of a stride: `nn.Conv2d(…, stride=2)` becomes the same convolution at stride 1 followed by
    `AliasFreeDownsampling(2)`, which has no parameters. Maps whose size is no multiple of the stride repeat their last
    row or column first. The subsampling itself is an average over one sample, so that the downsampling lens sees it.

    Parameters
    ----------
    stride
        One number, or (s_h, s_w).
    pooling
        The filter, see `low_pass`: `ideal`, `flc` or `asap`.

    Raises
    ------
    InputError
        The stride is below 1, or no filter is called so.

    Examples
    --------
    >>> AliasFreeDownsampling(2)(torch.ones(1, 1, 4, 4)).tolist()
    [[[[1.0, 1.0], [1.0, 1.0]]]]
    """

    def __init__(self, stride: int | Pair, *, pooling: Pooling = "ideal") -> None:
        super().__init__()
        if pooling not in get_args(Pooling):
            raise InputError(f"pooling {pooling!r} is none of {', '.join(get_args(Pooling))}")
        self.pooling: Pooling = pooling
        self.stride: Pair = (stride, stride) if isinstance(stride, int) else (int(stride[0]), int(stride[1]))
        if min(self.stride) < 1:
            raise InputError(f"a stride is at least 1, got {stride}")

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps of shape (n, c, ⌈h / s_h⌉, ⌈w / s_w⌉) from maps of shape (n, c, h, w)."""
        bottom, right = -maps.shape[-2] % self.stride[0], -maps.shape[-1] % self.stride[1]
        if bottom or right:
            maps = F.pad(maps, (0, right, 0, bottom), mode="replicate")
        return F.avg_pool2d(low_pass(maps, stride=self.stride, pooling=self.pooling), 1, self.stride)

    def extra_repr(self) -> str:
        """Show stride and filter when printed."""
        return f"stride={self.stride}, pooling={self.pooling}"


def without_aliasing(
    model: nn.Module, *, shortcuts: bool = True, pooling: Pooling = "ideal"
) -> tuple[nn.Module, list[str]]:
    """Copy a model with every downsampling module made alias-free.

    A strided `Conv2d`, `MaxPool2d` or `AvgPool2d` becomes a `Sequential` of itself at stride 1, called `dense`, and
    `AliasFreeDownsampling`, called `subsample`; so do its state dict's keys gain `.dense`. Functional calls inside a
    forward cannot be swapped. The copy's weights are the model's: fine-tune it, the features have changed.

    Parameters
    ----------
    model
        Left as it is.
    shortcuts
        Whether 1x1 convolutions are swapped too.
    pooling
        The filter, see `low_pass`: `ideal`, `flc` or `asap`.

    Returns
    -------
        The copy, and the names of what was swapped.

    Raises
    ------
    InputError
        There is nothing to swap, or a module downsamples in a way that cannot be split (`ceil_mode`, a subclass that
        pads by its stride), the message names it; or no filter is called so.
    """
    copy = deepcopy(model)
    found = {
        name: module
        for name, module in copy.named_modules(remove_duplicate=False)
        if isinstance(module, _SWAPPED) and _downsamples(module, shortcuts=shortcuts)
    }
    if not found:
        raise InputError(f"{type(model).__name__} holds no strided convolution or pooling module to swap")
    swapped: dict[nn.Module, nn.Module] = {}  # a module that is used in two places stays one module
    for name, module in found.items():
        swapped[module] = swapped.get(module) or _split(name, module, pooling)
        if not name:
            return swapped[module], [name]
        parent, _, child = name.rpartition(".")
        setattr(copy.get_submodule(parent), child, swapped[module])
    return copy, list(found)


def _downsamples(module: _Strided, *, shortcuts: bool) -> bool:
    is_shortcut = isinstance(module, nn.Conv2d) and _pair(module.kernel_size) == (1, 1)
    return _pair(module.stride) != (1, 1) and (shortcuts or not is_shortcut)


def _split(name: str, module: _Strided, pooling: Pooling) -> nn.Sequential:
    if type(module) not in _SWAPPED:
        raise InputError(
            f"{name} is a {type(module).__name__}, which may pad by its stride: replace it by hand with the layer at "
            "stride 1 followed by AliasFreeDownsampling"
        )
    if getattr(module, "ceil_mode", False):
        raise InputError(f"{name} pools with ceil_mode, which has no counterpart at stride 1: replace it by hand")
    stride = _pair(module.stride)
    module.stride = (1, 1)
    return nn.Sequential(OrderedDict(dense=module, subsample=AliasFreeDownsampling(stride, pooling=pooling)))


def _pair(value: int | tuple[int, ...]) -> Pair:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[-1]))
