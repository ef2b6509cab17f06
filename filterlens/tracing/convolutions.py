"""A model's convolutions, told by type, with their weights and their places in the network."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from filterlens.errors import CheckpointError, LensSkipped
from filterlens.tracing.depth import Trace, example_sizes, trace_first
from filterlens.tracing.folding import can_fold, fold_weight

__all__ = ["Convolution", "check_layers", "network_convolutions", "weight_convolutions"]

Size = tuple[int, int]
_MOST_LAYERS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Convolution:
    """One convolution of a model.

    Parameters
    ----------
    name
        As the state dict names it, without `.weight`.
    kernel
        Height and width.
    read
        Returns the weight, float32 on the CPU, shape (c_out, c_in / groups, k_h, k_w).
    dtype
        In which the model keeps it.
    conv_depth
        Place among all convolutions, from 0; -1 where a traced pass never reached it.
    conv_depth_norm
        The same divided by the deepest place, in [0, 1]; NaN where it was never reached.
    depth_from
        `graph` from a traced forward pass, `source` where the source tells it, or `keys` from the order of the state
        dict.
    groups, stride
        Of the convolution; None where only the weight is known.
    folded
        Whether `read` folds the BatchNorm behind it into the weight.
    """

    name: str
    kernel: Size
    read: Callable[[], Tensor]
    dtype: str
    conv_depth: int
    conv_depth_norm: float
    depth_from: str
    groups: int | None = None
    stride: Size | None = None
    folded: bool = False


def network_convolutions(
    network: nn.Module,
    *,
    input_size: tuple[int, int, int] | None = None,
    fold: bool = False,
    traced: Trace | None = None,
) -> list[Convolution]:
    """List a network's convolutions in execution order, told by type.

    Parameters
    ----------
    network
        Any module; left as it was.
    input_size
        (channels, height, width) of one image, or None to try the usual ones.
    fold
        Fold each BatchNorm into the convolution whose output it takes.
    traced
        A trace made before, instead of a new one.

    Raises
    ------
    LensSkipped
        BatchNorm is to be folded, but the network runs at none of the sizes tried.
    CheckpointError
        A weight is of integers or complex numbers, or there are more than 10,000 convolutions.
    """
    modules = {name: module for name, module in network.named_modules() if isinstance(module, nn.Conv2d)}
    if not modules:
        return []
    check_layers(len(modules))
    found = traced or trace_first(network, example_sizes(network, input_size))
    if found is None and fold:
        raise LensSkipped("BatchNorm cannot be folded: the network runs at none of the input sizes tried")
    norms = found.norms if found is not None and fold else {}
    places = {name: i for i, name in enumerate(modules)} if found is None else found.places
    deepest = max(places.values(), default=0)
    layers = []
    for name, module in modules.items():
        norm = network.get_submodule(norms[name]) if name in norms else None
        folded = norm is not None and can_fold(norm)
        place = places.get(name, -1)
        layers.append(
            Convolution(
                name=name,
                kernel=(module.kernel_size[0], module.kernel_size[1]),
                read=_reader(module, norm if folded else None),
                dtype=_dtype(name, module.weight),
                conv_depth=place,
                conv_depth_norm=_share(place, deepest),
                depth_from="keys" if found is None else "graph",
                groups=module.groups,
                stride=(module.stride[0], module.stride[1]),
                folded=folded,
            )
        )
    order = {name: i for i, name in enumerate(places)}
    return sorted(layers, key=lambda layer: order.get(layer.name, len(order)))


def weight_convolutions(
    weights: Mapping[str, Tensor], depths: Mapping[str, tuple[int, float]] | None = None
) -> list[Convolution]:
    """List the convolutions of a bare state dict: its four-dimensional `weight` tensors, in the order of the keys.

    Parameters
    ----------
    weights
        Tensors by key.
    depths
        conv_depth and its normalised value by name, of convolutions whose source tells them.

    Raises
    ------
    CheckpointError
        Such a weight is of integers or complex numbers, or there are more than 10,000.
    """
    found = {key: w for key, w in weights.items() if w.dim() == 4 and key.rpartition(".")[2] == "weight"}
    check_layers(len(found))
    deepest = len(found) - 1
    told = depths or {}
    layers = []
    for place, (key, weight) in enumerate(found.items()):
        name = key.rpartition(".")[0]
        depth, norm = told.get(name, (place, _share(place, deepest)))
        layers.append(
            Convolution(
                name=name,
                kernel=(weight.shape[2], weight.shape[3]),
                read=lambda weight=weight: _float32(weight),  # type: ignore[misc]
                dtype=_dtype(name, weight),
                conv_depth=depth,
                conv_depth_norm=norm,
                depth_from="source" if name in told else "keys",
            )
        )
    return layers


def check_layers(n: int) -> None:
    """Refuse more layers than ten of the largest published networks have: a file of 2 MB can hold 20,000.

    Raises
    ------
    CheckpointError
        There are more than 10,000.
    """
    if n > _MOST_LAYERS:
        raise CheckpointError(f"it has {n:,} layers of weights: at most {_MOST_LAYERS:,} of a network are scored")


def _reader(module: nn.Conv2d, norm: nn.Module | None) -> Callable[[], Tensor]:
    def read() -> Tensor:
        weight = module.weight  # as the module exposes it: parametrisations and weight norm are applied
        return _float32(weight if norm is None else fold_weight(weight, norm))

    return read


def _float32(weight: Tensor) -> Tensor:
    return weight.detach().to("cpu", torch.float32).contiguous()


def _dtype(name: str, weight: Tensor) -> str:
    if not weight.is_floating_point():
        raise CheckpointError(
            f"the convolution {name or 'weight'!r} has weights of type {weight.dtype}: scores need floating-point "
            "weights; convert (dequantise) the checkpoint first"
        )
    return str(weight.dtype).removeprefix("torch.")


def _share(place: int, deepest: int) -> float:
    if place < 0:
        return math.nan
    return place / deepest if deepest else 0.0
