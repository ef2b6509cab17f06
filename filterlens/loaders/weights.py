"""Weights as plain tensors: checked, counted, and put into a network."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from filterlens.errors import CheckpointError
from filterlens.loaders.state_dict import list_names, part_of, strip_prefixes
from filterlens.process import digests

__all__ = ["assign_weights", "check_weights", "file_digest", "load_weights", "to_eval"]

_LOCK: Final = threading.RLock()


def file_digest(path: Path) -> str:
    """SHA-256 of a checkpoint, in hexadecimal.

    Raises
    ------
    CheckpointError
        It cannot be read.
    """
    try:
        return digests.file_digest(path)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror or error})") from error


def check_weights(weights: Mapping[str, Tensor], source: str) -> None:
    """Refuse convolution weights that are no real numbers. NaN and Inf pass: they are a finding, not a fault.

    Parameters
    ----------
    weights
        Tensors by name.
    source
        Named in errors.

    Raises
    ------
    CheckpointError
        A weight is complex, quantised, integer, sparse or without data; the message names the layer.
    """
    for name, weight in weights.items():
        if weight.ndim < 2:
            continue
        if weight.is_quantized or (weight.ndim == 4 and not weight.is_complex() and not weight.is_floating_point()):
            what = f"quantised or integer ({weight.dtype})"
        elif weight.is_complex():
            what = f"complex ({weight.dtype})"
        elif weight.layout is not torch.strided:
            what = f"sparse ({weight.layout})"
        elif weight.device.type != "cpu":
            what = f"without data (on {weight.device})"
        else:
            continue
        raise CheckpointError(f"layer {name} of {source} is {what}: real floating-point weights were expected")


def load_weights(
    network: nn.Module, weights: Mapping[str, Tensor], source: str, *, optional: tuple[str, ...] = ()
) -> tuple[str, ...]:
    """Put weights into a network; their names must be the network's, but for wrappers' prefixes.

    A module that trained the network, such as Lightning's, may have other weights beside it: those are left out.

    Parameters
    ----------
    network
        Changed in place.
    weights
        Tensors by name.
    source
        Named in errors.
    optional
        Last parts of names that the weights need not have: the network keeps its own, such as its normalisation.

    Returns
    -------
        A note where only a part of the weights are the network's.

    Raises
    ------
    CheckpointError
        Names or shapes differ; the message lists them.
    """
    check_weights(weights, source)
    expected = network.state_dict()
    # counted by BatchNorm since torch 0.4.1; no forward pass in eval mode reads it
    spared = {"num_batches_tracked", *optional}
    needed = [key for key in expected if key.rpartition(".")[2] not in spared]
    part, prefix = part_of(weights, needed, source)
    candidates = (dict(weights), strip_prefixes(weights), part)
    chosen = max(candidates, key=lambda keys: len(keys.keys() & expected.keys()))
    missing = [key for key in needed if key not in chosen]
    unexpected = [key for key in chosen if key not in expected and not key.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise CheckpointError(
            f"the weights of {source} do not belong to this {type(network).__name__}: "
            f"{len(missing)} of its {len(expected)} names are missing{_some(missing)}, "
            f"{len(unexpected)} are unknown to it{_some(unexpected)}"
        )
    for key, value in chosen.items():
        if key in expected and expected[key].shape != value.shape:
            raise CheckpointError(
                f"{key} of {source} has shape {tuple(value.shape)} where {type(network).__name__} has "
                f"{tuple(expected[key].shape)}: it is another architecture or number of classes; where you changed a "
                "layer, such as the stem for small images, name the function that makes it: module:package.mod:factory"
            )
    with assign_weights():
        network.load_state_dict({key: value for key, value in chosen.items() if key in expected}, strict=False)
    others = [key for key in weights if not key.startswith(prefix)]
    return (f"the network is {prefix!r} of the weights; left out: {list_names(others, 5)}",) if others else ()


@contextmanager
def assign_weights() -> Iterator[None]:
    """Let networks take a state dict's tensors as their own instead of copying them, until the block ends.

    A mapped checkpoint so stays on the disk until its weights are used, and memory holds them once. What is written to
    them later stays in memory: the mapping is private. Tensors of another type or layout are copied as ever, and so are
    all of a network that shares parameters between layers, which would no longer be shared.
    """
    copy = nn.Module.load_state_dict

    def take(network: nn.Module, state_dict: Mapping[str, Any], *args: Any, **options: Any) -> Any:  # noqa: ANN401 - torch's
        own = network.state_dict()
        shared = len(list(network.named_parameters(remove_duplicate=False))) > len(list(network.parameters()))
        if args or options.keys() - {"strict"} or shared:
            return copy(network, state_dict, *args, **options)
        fitted = OrderedDict((key, _like(value, own.get(key))) for key, value in state_dict.items())
        fitted.__dict__["_metadata"] = getattr(
            state_dict, "_metadata", {}
        )  # versions, by which BatchNorm reads old files
        return copy(network, fitted, assign=True, **options)

    with _LOCK:
        nn.Module.load_state_dict = take  # type: ignore[method-assign,assignment]
        try:
            yield
        finally:
            nn.Module.load_state_dict = copy  # type: ignore[method-assign]


def _like(value: Any, own: Tensor | None) -> Any:  # noqa: ANN401 - state dicts may hold anything
    """Return a tensor of the type and layout in which the network keeps it."""
    if not isinstance(value, Tensor) or own is None or value.shape != own.shape:
        return value
    plain = value.detach().as_subclass(Tensor)
    fits = plain.dtype == own.dtype and plain.stride() == own.stride() and plain.device == own.device
    return plain if fits else torch.empty_like(own).copy_(plain)


def _some(names: list[str]) -> str:
    return f" ({', '.join(names[:5])}{', …' if len(names) > 5 else ''})" if names else ""


def to_eval(network: nn.Module) -> nn.Module:
    """Set a network to eval mode and float32, on the CPU."""
    return network.to("cpu", torch.float32).eval()
