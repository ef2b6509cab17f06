"""`module:package.mod:factory?weights=PATH`: the user's own architecture, with weights from a file."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from torch import nn

from filterlens.errors import CheckpointError
from filterlens.loaders.file import named_weights, read_weights
from filterlens.loaders.model import Classifier, LoadedModel
from filterlens.loaders.registry import Request
from filterlens.loaders.weights import file_digest, fit, ready

__all__ = ["build", "load"]

_IMPORTING = threading.RLock()


def load(request: Request) -> LoadedModel:
    """Build the network with the user's factory and fill it; see `filterlens.loaders.load_model`.

    Raises
    ------
    CheckpointError
        The module, its factory or the weights are not there, or do not belong together.
    """
    target, path = named_weights(request)
    network = build(target, request.folder)
    notes: tuple[str, ...] = ()
    if path is None:
        notes = ("no weights given: the factory's own are used",)
    else:
        weights, _, notes = read_weights(path, trust_pickle=request.trust_pickle)
        fit(network, weights, str(path))
    entry = request.entry
    return LoadedModel(
        model_id=entry.model_id,
        source=entry.source,
        sha256="" if path is None else file_digest(path),
        weights=ready(network).state_dict(),
        classifier=Classifier(network, entry.mean, entry.std),
        notes=notes,
    )


def build(target: str, folder: Path) -> nn.Module:
    """Call `package.mod:factory` and return the network it makes.

    Parameters
    ----------
    target
        Module and the name of a function without arguments, a class, or a network in it.
    folder
        Where modules are looked up first.

    Raises
    ------
    CheckpointError
        There is none, it fails, or it makes no network.
    """
    name, _, factory = target.partition(":")
    if not factory or not all(part.isidentifier() for part in [*name.split("."), factory]):
        raise CheckpointError(f"module:{target} was expected to read module:package.mod:factory?weights=PATH")
    with _IMPORTING, _first_on_path(folder):
        try:
            # the user's code may raise anything
            made = getattr(_import(name, folder), factory)
            network = made if isinstance(made, nn.Module) else made()
        except Exception as error:
            raise CheckpointError(
                f"module:{target} could not be built: {type(error).__name__}: {error} (looked in {folder} first)"
            ) from error
    if not isinstance(network, nn.Module):
        raise CheckpointError(f"module:{target} made a {type(network).__name__}: a torch.nn.Module was expected")
    return network


@contextmanager
def _first_on_path(folder: Path) -> Iterator[None]:
    text = str(folder.resolve())
    sys.path.insert(0, text)
    try:
        yield
    finally:
        sys.path.remove(text)


def _import(name: str, folder: Path) -> ModuleType:
    """Import a module; one of the same name that another catalog's folder brought makes room."""
    top = name.partition(".")[0]
    here = folder.resolve()
    own = (here / f"{top}.py").is_file() or (here / top).is_dir()
    cached = sys.modules.get(top)
    if own and cached is not None and here not in Path(str(getattr(cached, "__file__", None) or "/")).resolve().parents:
        for loaded in [key for key in sys.modules if key == top or key.startswith(f"{top}.")]:
            del sys.modules[loaded]
    importlib.invalidate_caches()
    return importlib.import_module(name)
