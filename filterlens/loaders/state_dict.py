"""Find the weights in what a checkpoint holds; each container is looked into once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

from torch import Tensor, nn

from filterlens.errors import CheckpointError, UnsafeCheckpointError
from filterlens.pickles import Placeholder

__all__ = ["CONTAINERS", "find_state_dict", "list_names", "part_of", "strip_prefixes"]

#: Where people keep weights, in the order of trust.
CONTAINERS: Final = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "last",
    "best",
    "ema",
    "model_ema",
    "ema_state_dict",
    "state_dict_ema",
    "module",
    "params",
    "weights",
)
PREFIXES: Final = ("module.", "model.", "_orig_mod.")
_COUNT: Final = "n_averaged"  # beside `module.`, by torch.optim.swa_utils.AveragedModel
_DEPTH: Final = 6
_NESTING: Final = 100
#: Characters of all names of a whole pickled network: a file could name one module without end.
_NAMES: Final = 50_000_000

_Found = tuple[dict[str, Tensor], str]


def find_state_dict(content: object, path: Path) -> tuple[dict[str, Tensor], str]:
    """Find the weights in what a checkpoint holds.

    Parameters
    ----------
    content
        Content of a `Checkpoint`.
    path
        Named in errors.

    Returns
    -------
        Weights by name, prefixes kept; and the keys that led there, joined by dots (empty: the top).

    Raises
    ------
    UnsafeCheckpointError
        There are objects that only code of theirs can turn into weights.
    CheckpointError
        There are no weights, or several sets of them.
    """
    found = _Search(path).search(content, _DEPTH)
    if found is not None:
        return found
    names = sorted({value.name for value in _placeholders(content)})
    if names:
        raise UnsafeCheckpointError(
            f"{path} holds no weights that can be read without running {list_names(names, 5)}: save its state_dict(), "
            "or pass --trust-pickle if you made the file yourself"
        )
    keys = (
        f" (its keys: {', '.join(f'{key!r:.60}' for key in islice(content, 8))})"
        if isinstance(content, Mapping)
        else ""
    )
    raise CheckpointError(f"{path} holds no weights{keys}: a state dict, name to tensor, was expected")


def list_names(names: Iterable[str], count: int) -> str:
    """List some names of a file in one line."""
    found = [name[:100] if name.isprintable() else f"{name[:100]!r}" for name in islice(names, count + 1)]
    return ", ".join([*found[:count], "…"] if len(found) > count else found)


def _children(value: object) -> Iterable[object]:
    if isinstance(value, Mapping):
        return value.values()
    if isinstance(value, list | tuple | set | frozenset):
        return value
    if isinstance(value, Placeholder):
        return (value.state, value.items)
    return ()


def _placeholders(content: object) -> Iterator[Placeholder]:
    seen: set[int] = set()
    waiting = [content]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Placeholder):
            yield value
        if id(value) not in seen and not isinstance(value, Tensor):
            seen.add(id(value))
            waiting.extend(_children(value))


@dataclass(slots=True)
class _Search:
    path: Path
    seen: dict[tuple[int, int], _Found | None] = field(default_factory=dict)

    def search(self, content: object, depth: int) -> _Found | None:
        """Look for a whole network, in the containers that are known, at this level, then in the only other one."""
        place = id(content), depth
        if place not in self.seen:
            self.seen[place] = None
            self.seen[place] = self._look(content, depth)
        return self.seen[place]

    def _look(self, content: object, depth: int) -> _Found | None:
        if isinstance(content, nn.Module):
            return _only_tensors(content.state_dict()), ""
        if isinstance(content, Placeholder):
            if isinstance(content.state, Mapping) and "_modules" in content.state:
                return _module_tensors(content, self.path), ""
            content = content.items or content.state
        if depth == 0 or not isinstance(content, Mapping):
            return None
        for key in CONTAINERS:
            if key in content and (found := self.search(content[key], depth - 1)):
                return found[0], f"{key}.{found[1]}".rstrip(".")
        own = _only_tensors(content)
        if any(value.ndim > 1 for value in own.values()):
            return own, ""
        return self._only_container(content, depth) or ((own, "") if own else None)

    def _only_container(self, content: Mapping[Any, object], depth: int) -> _Found | None:
        """Look in containers of any name; there may be one with weights, besides an optimiser's state."""
        others = {
            key: found
            for key, value in content.items()
            if isinstance(key, str) and "optim" not in key.lower() and (found := self.search(value, depth - 1))
        }
        if len(others) > 1:
            raise CheckpointError(
                f"{self.path} holds several sets of weights ({list_names(others, 5)}): save the one that is meant alone"
            )
        for key, (weights, below) in others.items():
            return weights, f"{key}.{below}".rstrip(".")
        return None


def _only_tensors(content: Mapping[Any, object]) -> dict[str, Tensor]:
    return {key: value.detach() for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}


def _module_tensors(root: Placeholder, path: Path) -> dict[str, Tensor]:
    """Rebuild the state dict of a whole pickled network from what its modules kept."""
    weights: dict[str, Tensor] = {}
    waiting: list[tuple[str, int, object]] = [("", 0, root)]
    characters = 0
    while waiting:
        prefix, depth, module = waiting.pop()
        state = module.state if isinstance(module, Placeholder) else None
        if not isinstance(state, Mapping):
            continue
        own, below = list(_own_tensors(state)), _submodules(state)
        characters += sum(len(prefix) + len(name) + 1 for name in [*(name for name, _ in own), *below])
        if characters > _NAMES or depth > _NESTING:
            raise CheckpointError(f"{path} nests modules without end (over {_NESTING} deep): it is not trusted")
        weights.update((f"{prefix}{name}", value.detach()) for name, value in own)
        waiting.extend((f"{prefix}{name}.", depth + 1, child) for name, child in reversed(below.items()))
    return weights


def _own_tensors(state: Mapping[Any, object]) -> Iterator[tuple[str, Tensor]]:
    unsaved = state.get("_non_persistent_buffers_set", ())
    for kind in ("_parameters", "_buffers"):
        own = state.get(kind)
        for name, value in own.items() if isinstance(own, Mapping) else ():
            saved = not (isinstance(unsaved, set) and name in unsaved)
            if isinstance(name, str) and isinstance(value, Tensor) and saved:
                yield name, value


def _submodules(state: Mapping[Any, object]) -> dict[str, object]:
    below = state.get("_modules")
    return (
        {name: module for name, module in below.items() if isinstance(name, str)} if isinstance(below, Mapping) else {}
    )


def strip_prefixes(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Cut the prefixes of wrappers, only at the start of keys and only where every key carries them.

    Parameters
    ----------
    weights
        Tensors by name; kept as it is.

    Examples
    --------
    >>> import torch
    >>> list(strip_prefixes({"module.model.conv.weight": torch.zeros(1)}))
    ['conv.weight']
    """
    # what the first and the last key in order share, all keys share
    names = weights.keys() - {_COUNT}
    first, last = min(names, default=""), max(names, default="")
    start = 0
    while prefix := next((p for p in PREFIXES if first.startswith(p, start) and last.startswith(p, start)), ""):
        start += len(prefix)
    return {key[start:]: value for key, value in weights.items() if not start or key != _COUNT}


def part_of(weights: Mapping[str, Tensor], names: Collection[str], source: str) -> tuple[dict[str, Tensor], str]:
    """Find the network in the weights of a module that trained it: `net.conv.weight` beside `criterion.weight`.

    Parameters
    ----------
    weights
        Tensors by name; kept as it is.
    names
        All that the network's state dict must have.
    source
        Named in errors.

    Returns
    -------
        What is below the only prefix that has every name, by the network's names, and that prefix; all weights and an
        empty prefix where there is none, or where they are the network's own.

    Raises
    ------
    CheckpointError
        There are several such networks.

    Examples
    --------
    >>> import torch
    >>> part, prefix = part_of({"net.weight": torch.zeros(1), "loss.scale": torch.ones(1)}, ["weight"], "a.ckpt")
    >>> list(part), prefix
    (['weight'], 'net.')
    """
    one = min(names, default="")
    if not one or one in weights:
        return dict(weights), ""
    prefixes = [key.removesuffix(one) for key in weights if key.endswith(f".{one}")]
    found = [prefix for prefix in prefixes if all(f"{prefix}{name}" in weights for name in names)]
    if len(found) > 1:
        raise CheckpointError(
            f"{source} holds several networks of this architecture ({list_names(found, 5)}): save the one that is "
            "meant alone"
        )
    prefix = next(iter(found), "")
    return {key[len(prefix) :]: value for key, value in weights.items() if key.startswith(prefix)}, prefix
