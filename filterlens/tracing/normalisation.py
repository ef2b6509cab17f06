"""Whether a network normalises its input itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn

from filterlens.tracing.dispatch import Watching

__all__ = ["takes_images_as_they_are"]

_ATEN: Final = torch.ops.aten
#: operations with weights, and the place of their input
_WEIGHTED: Final = {
    _ATEN.convolution.default: 0,
    _ATEN.linear.default: 0,
    _ATEN.addmm.default: 1,
    _ATEN.mm.default: 0,
    _ATEN.bmm.default: 0,
    _ATEN.mv.default: 0,
}
_COLOURS: Final = (0.3137, 0.5772, 0.8119)
_TOLERANCE: Final = 1e-5


def takes_images_as_they_are(network: nn.Module, shape: Sequence[int]) -> bool | None:
    """Tell whether pixels reach the first layer with weights unchanged.

    An image of one colour is run: whatever only moves, resizes, crops or pads keeps its values, subtracting a mean,
    dividing by a standard deviation and batch normalisation do not.

    Parameters
    ----------
    network
        In eval mode, on the CPU.
    shape
        (channels, height, width) of an image.

    Returns
    -------
        None where no such layer is reached.

    Examples
    --------
    >>> takes_images_as_they_are(nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(3, 4, 3)), (3, 8, 8))
    True
    >>> takes_images_as_they_are(nn.Sequential(nn.InstanceNorm2d(3), nn.Conv2d(3, 4, 3)), (3, 8, 8))
    False
    """
    colours = torch.tensor([_COLOURS[place % len(_COLOURS)] for place in range(shape[0])])
    image = colours.view(1, -1, 1, 1).expand(1, *shape).contiguous()
    first = _FirstLayer()  # type: ignore[no-untyped-call]  # torch does not annotate it
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad(), first:
            network(image)
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError, KeyError):
        pass  # the lens says so, if its images fare no better
    if first.received is None:
        return None
    values = torch.unique(first.received.float())
    values = values[values.abs() > _TOLERANCE]  # padding is black
    return len(values) > 0 and bool(((values[:, None] - colours).abs().min(dim=1).values < _TOLERANCE).all())


class _FirstLayer(Watching):
    """Keeps what the first operation with weights receives."""

    received: Tensor | None = None

    def __torch_dispatch__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        if self.received is None and func in _WEIGHTED:
            self.received = args[_WEIGHTED[func]].detach().clone()
        return func(*args, **(kwargs or {}))
