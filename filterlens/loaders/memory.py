"""`memory:NAME-DIGEST`: a network that this process holds while it is audited, compared or checked.

The digest is of what decides what the network gives: its weights, its modules and the code of their classes. So a run
that is repeated with the same network, in another session too, is not done again.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from types import CodeType
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import nn

from filterlens.errors import CheckpointError
from filterlens.loaders.examine import tensor_digest
from filterlens.loaders.model import Classifier, LoadedModel
from filterlens.loaders.weights import check_weights, to_eval

if TYPE_CHECKING:
    from filterlens.loaders.registry import Request

__all__ = ["held", "load", "unwrapped"]

_NETWORKS: dict[str, nn.Module] = {}
_WRAPPERS: Final = {"DataParallel": "module", "DistributedDataParallel": "module", "OptimizedModule": "_orig_mod"}


@contextmanager
def held(networks: Iterable[nn.Module]) -> Iterator[list[str]]:
    """Hold networks for the block, and give their sources, in order."""
    known = dict(_NETWORKS)
    sources = []
    try:
        for network in map(unwrapped, networks):
            sources.append(f"memory:{type(network).__name__}-{_digest(network)[:32]}")
            _NETWORKS[sources[-1]] = network
        yield sources
    finally:
        _NETWORKS.clear()
        _NETWORKS.update(known)


def unwrapped(network: nn.Module) -> nn.Module:
    """Return the network within a wrapper of torch's for several devices, or of its compiler."""
    while inner := _WRAPPERS.get(type(network).__name__):
        network = getattr(network, inner)
    return network


def load(request: Request) -> LoadedModel:
    """Return a copy of a network that is held; see `filterlens.loaders.load_model`.

    Raises
    ------
    CheckpointError
        It is not held any more, cannot be copied, or its weights are no real numbers.
    """
    entry = request.entry
    network = _NETWORKS.get(entry.source)
    if network is None:
        raise CheckpointError(
            f"{entry.source} was in the memory of the process that audited it, and is not here: give the network "
            "again, or save a checkpoint and audit that; dumps and scores of it stay good"
        )
    try:
        own = to_eval(copy.deepcopy(network))
    except Exception as error:  # modules may hold anything
        raise CheckpointError(
            f"{type(network).__name__} cannot be copied ({type(error).__name__}: {error!s:.200}): save its weights, "
            "and audit the file with --arch"
        ) from error
    weights = own.state_dict()
    check_weights(weights, entry.source)
    return LoadedModel(
        model_id=entry.model_id,
        source=entry.source,
        sha256="",
        weights=weights,
        classifier=Classifier(own, entry.mean, entry.std),
    )


def _digest(network: nn.Module) -> str:
    digest = sha256(repr(network).encode())
    for kind in dict.fromkeys(type(module) for module in network.modules()):
        digest.update(f"{kind.__module__}.{kind.__qualname__}".encode())
        own = kind.__mro__[: kind.__mro__.index(nn.Module)]
        members = {name: value for one in reversed(own) for name, value in vars(one).items()}
        functions = {name: value.__code__ for name, value in members.items() if hasattr(value, "__code__")}
        for name in sorted(functions):
            _add_code(digest, functions[name])
    for name, tensor in (*network.state_dict().items(), *network.named_buffers()):
        digest.update(name.encode())
        if tensor.layout is torch.strided and not tensor.is_quantized and tensor.device.type != "meta":
            digest.update(tensor_digest(tensor))
    return digest.hexdigest()


def _add_code(digest: Any, code: object) -> None:  # noqa: ANN401 - a hash
    """Add what a function does, wherever it is written."""
    if not isinstance(code, CodeType):
        digest.update(repr(code).encode())
        return
    digest.update(code.co_code)
    digest.update(repr(code.co_names).encode())
    for constant in code.co_consts:
        _add_code(digest, constant)
