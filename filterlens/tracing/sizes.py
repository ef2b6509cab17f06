"""Which image size a network takes, where nobody says: what it names itself, or the first usual one that it runs on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import torch
from torch import nn

from filterlens.errors import InputError
from filterlens.tracing.modes import in_eval_mode

__all__ = ["USUAL_SIZES", "refuse_size", "run_error", "size_taken"]

USUAL_SIZES: Final = (224, 256, 32, 64, 28, 384, 299, 240, 288, 320, 336, 192, 448, 512)
"""Height and width of images, as pretrained networks take them; the most frequent first."""


def run_error(network: nn.Module, shape: Sequence[int]) -> str | None:
    """Run one image of noise through a network, and say what the network says against it; None where it runs.

    Parameters
    ----------
    network
        In eval mode while it runs, without gradients; left as it was.
    shape
        (channels, height, width) of the image.
    """
    parameter = next((p for p in network.parameters() if p.is_floating_point()), torch.empty(0))
    image = torch.rand((1, *shape), generator=torch.Generator().manual_seed(0)).to(parameter.device, parameter.dtype)
    cuda = [parameter.device] if parameter.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=cuda), in_eval_mode(network), torch.no_grad():
            network(image)
    except Exception as error:  # noqa: BLE001 - a network raises anything at a size that is not its own
        return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    return None


def size_taken(network: nn.Module, shape: Sequence[int]) -> tuple[int, int]:
    """Return the height and width that a network takes: those of the images, where it runs on them.

    Parameters
    ----------
    network
        Left as it was.
    shape
        (channels, height, width) of the images.

    Returns
    -------
        Else the size that it names itself, or the first of `USUAL_SIZES`, at which it runs.

    Raises
    ------
    InputError
        It runs at none of them: the message says what it says against the images, and what it wants where it names it.

    Examples
    --------
    >>> size_taken(nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 10)), (3, 32, 32))
    (64, 64)
    """
    channels, height, width = shape
    refusal = run_error(network, shape)
    if refusal is None:
        return height, width
    named = list(_named_sizes(network))
    for size in dict.fromkeys([*named, *((side, side) for side in USUAL_SIZES)]):
        if run_error(network, (channels, *size)) is None:
            return size
    wanted = f"; it names {named[0][0]}x{named[0][1]} itself" if named else ""
    raise InputError(
        f"{type(network).__name__} does not run on images of {channels}x{height}x{width} ({refusal}), nor resized to a "
        f"usual size from 28x28 to 512x512{wanted}: give images as it was trained on with --data"
    )


def refuse_size(network: nn.Module, shape: Sequence[int]) -> None:
    """Say which size a network takes, where it does not run on images of this one.

    Parameters
    ----------
    network
        Left as it was.
    shape
        (channels, height, width) of the images.

    Raises
    ------
    InputError
        It does not run on them.
    """
    refusal = run_error(network, shape)
    if refusal is None:
        return
    height, width = size_taken(network, shape)
    raise InputError(
        f"{type(network).__name__} does not run on images of {'x'.join(map(str, shape))} ({refusal}): it takes "
        f"{height}x{width}; resize them"
    )


def _named_sizes(network: nn.Module) -> Iterator[tuple[int, int]]:
    """Sizes that libraries keep on their networks: `pretrained_cfg` of timm, `image_size` of torchvision."""
    for module in network.modules():
        cfg = getattr(module, "pretrained_cfg", None)
        size = cfg.get("input_size") if isinstance(cfg, dict) else getattr(module, "image_size", None)
        sides = [size, size] if isinstance(size, int) else list(size)[-2:] if isinstance(size, (tuple, list)) else []
        if len(sides) == 2 and all(isinstance(side, int) and 0 < side <= 1 << 12 for side in sides):
            yield int(sides[0]), int(sides[1])
