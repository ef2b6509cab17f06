"""The proof of capture: a network whose downsampling is replaced by the captured dense maps gives its own output."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from filterlens.errors import InputError
from filterlens.tracing.aten import read_call
from filterlens.tracing.dispatch import Watching
from filterlens.tracing.modes import in_eval_mode

__all__ = ["Replay", "replay_error"]


class Replay(Watching):
    """While it is entered, every downsampling operation is its dense map, subsampled.

    What the capture reads of an operation (kernel, stride, padding, groups, …) is then all that the network computes
    with: where it reads something wrong, everything after it is wrong too.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.n_replayed = 0

    def __torch_dispatch__(  # torch's own signature
        self,
        func: Any,  # noqa: ANN401
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        output = func(*args, **(kwargs or {}))
        call = read_call(func, args, kwargs or {}, output)
        if call is None:
            return output
        self.n_replayed += 1
        maps: Tensor = output[0] if isinstance(output, tuple) else output
        replayed = call.dense(tuple(range(maps.shape[1])))[:, :, :: call.stride[0], :: call.stride[1]].contiguous()
        return (replayed, *output[1:]) if isinstance(output, tuple) else replayed


def replay_error(network: nn.Module, images: Tensor) -> tuple[float, int]:
    """Compare a network's output with the one that its dense downsampling maps give.

    Parameters
    ----------
    network
        In eval mode while it runs, without gradients; left as it was.
    images
        A batch as the network takes it, shape (n, channels, height, width).

    Returns
    -------
        Largest absolute difference over the outputs, relative to the largest output, and how many operations were
        replayed.

    Raises
    ------
    InputError
        The output is zero everywhere or not finite, so that a comparison shows nothing; or an operation cannot be
        captured.

    Examples
    --------
    >>> network = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.MaxPool2d(2))
    >>> error, n_replayed = replay_error(network, torch.rand(1, 3, 16, 16))
    >>> error < 1e-5, n_replayed
    (True, 2)
    """
    with in_eval_mode(network), torch.no_grad():
        own = [leaf for leaf in tree_leaves(network(images)) if isinstance(leaf, Tensor)]
        with Replay() as replay:
            again = [leaf for leaf in tree_leaves(network(images)) if isinstance(leaf, Tensor)]
    largest = max(float(output.abs().max()) for output in own)
    if not 0 < largest < float("inf"):
        raise InputError(f"the largest output of {type(network).__name__} is {largest:g}: a replay shows nothing")
    return max(float((a - b).abs().max()) for a, b in zip(own, again, strict=True)) / largest, replay.n_replayed
