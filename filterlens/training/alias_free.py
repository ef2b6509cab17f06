"""Downsampling without aliasing: an ideal low-pass filter before the subsampling, and a swap for a whole model."""

from __future__ import annotations

from collections import OrderedDict
from copy import deepcopy

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor, nn

from filterlens.errors import InputError

__all__ = ["AliasFreeDownsampling", "low_pass", "without_aliasing"]

Pair = tuple[int, int]
_Strided = nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d
_SWAPPED = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)


def low_pass(maps: Tensor, *, stride: Pair) -> Tensor:
    """Keep the frequencies that survive subsampling, and nothing else.

    Parameters
    ----------
    maps
        Real maps, shape (..., s_h H, s_w W).
    stride
        (s_h, s_w); an axis of stride 1 is left as it is.

    Returns
    -------
        Maps of the same shape and dtype, whose frequencies k satisfy |k| < H / 2 and |l| < W / 2. The Nyquist lines
        |k| = H / 2 are zero: half of one would fold on the other, and keeping one alone would make the result complex.

    References
    ----------
    Grabinski2022; the published pooling crops the spectrum asymmetrically, -H/2 without H/2, and drops what becomes
    imaginary.
    """
    height, width = maps.shape[-2:]
    single = maps.float() if maps.dtype in {torch.float16, torch.bfloat16} else maps
    rows = torch.fft.fftfreq(height, 1 / height, device=maps.device).abs()[:, None]
    columns = torch.fft.rfftfreq(width, 1 / width, device=maps.device)[None, :]
    kept_rows = rows < height / stride[0] / 2 if stride[0] > 1 else torch.ones_like(rows, dtype=torch.bool)
    kept_columns = columns < width / stride[1] / 2 if stride[1] > 1 else torch.ones_like(columns, dtype=torch.bool)
    spectrum = torch.fft.rfft2(single) * (kept_rows & kept_columns)
    kept: Tensor = torch.fft.irfft2(spectrum, s=(height, width)).to(maps.dtype)
    return kept


class AliasFreeDownsampling(nn.Module):
    """Subsample maps of stride 1 after an ideal low-pass filter: the aliasing score is 0 to rounding.

    A drop-in replacement of a stride: `nn.Conv2d(…, stride=2)` becomes the same convolution at stride 1 followed by
    `AliasFreeDownsampling(2)`, which has no parameters. Maps whose size is no multiple of the stride repeat their last
    row or column first. The subsampling itself is an average over one sample, so that the downsampling lens sees it.

    Parameters
    ----------
    stride
        One number, or (s_h, s_w).

    Raises
    ------
    InputError
        The stride is below 1.

    Examples
    --------
    >>> AliasFreeDownsampling(2)(torch.ones(1, 1, 4, 4)).tolist()
    [[[[1.0, 1.0], [1.0, 1.0]]]]
    """

    def __init__(self, stride: int | Pair) -> None:
        super().__init__()
        self.stride: Pair = (stride, stride) if isinstance(stride, int) else (int(stride[0]), int(stride[1]))
        if min(self.stride) < 1:
            raise InputError(f"a stride is at least 1, got {stride}")

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps of shape (n, c, ⌈h / s_h⌉, ⌈w / s_w⌉) from maps of shape (n, c, h, w)."""
        bottom, right = -maps.shape[-2] % self.stride[0], -maps.shape[-1] % self.stride[1]
        if bottom or right:
            maps = F.pad(maps, (0, right, 0, bottom), mode="replicate")
        return F.avg_pool2d(low_pass(maps, stride=self.stride), 1, self.stride)

    def extra_repr(self) -> str:
        """Show the stride when printed."""
        return f"stride={self.stride}"


def without_aliasing(model: nn.Module, *, shortcuts: bool = True) -> tuple[nn.Module, list[str]]:
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

    Returns
    -------
        The copy, and the names of what was swapped.

    Raises
    ------
    InputError
        There is nothing to swap, or a module downsamples in a way that cannot be split (`ceil_mode`, a subclass that
        pads by its stride); the message names it.
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
        swapped[module] = swapped.get(module) or _split(name, module)
        if not name:
            return swapped[module], [name]
        parent, _, child = name.rpartition(".")
        setattr(copy.get_submodule(parent), child, swapped[module])
    return copy, list(found)


def _downsamples(module: _Strided, *, shortcuts: bool) -> bool:
    is_shortcut = isinstance(module, nn.Conv2d) and _pair(module.kernel_size) == (1, 1)
    return _pair(module.stride) != (1, 1) and (shortcuts or not is_shortcut)


def _split(name: str, module: _Strided) -> nn.Sequential:
    if type(module) not in _SWAPPED:
        raise InputError(
            f"{name} is a {type(module).__name__}, which may pad by its stride: replace it by hand with the layer at "
            "stride 1 followed by AliasFreeDownsampling"
        )
    if getattr(module, "ceil_mode", False):
        raise InputError(f"{name} pools with ceil_mode, which has no counterpart at stride 1: replace it by hand")
    stride = _pair(module.stride)
    module.stride = (1, 1)
    return nn.Sequential(OrderedDict(dense=module, subsample=AliasFreeDownsampling(stride)))


def _pair(value: int | tuple[int, ...]) -> Pair:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[-1]))
