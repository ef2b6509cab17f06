"""`module:package.mod:factory?weights=PATH`: the user's own architecture, with weights from a file.

Such a source is code. It runs where the user typed it, or where `allow_code` says that the catalog may bring it.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

from torch import nn

from filterlens.errors import CheckpointError, UnsafeCheckpointError
from filterlens.loaders.file import named_weights, read_weights
from filterlens.loaders.model import Classifier, LoadedModel
from filterlens.loaders.registry import Request
from filterlens.loaders.weights import file_digest, load_weights, to_eval
from filterlens.process.printable import printable

__all__ = ["build", "call_factory", "load"]

_IMPORTING = threading.RLock()


def load(request: Request) -> LoadedModel:
    """Build the network with the user's factory and fill it; see `filterlens.loaders.load_model`.

    Raises
    ------
    UnsafeCheckpointError
        Nobody allowed the catalog to bring code.
    CheckpointError
        The module, its factory or the weights are not there, or do not belong together.
    """
    entry = request.entry
    if not request.allow_code:
        raise UnsafeCheckpointError(
            f"the row {entry.model_id!r} is code that a catalog brings ({entry.source!r}): read it, and pass "
            "--allow-code (Python: allow_code=True) if you trust it"
        )
    target, path = named_weights(request)
    network = build(target, request.folder)
    notes: tuple[str, ...] = ()
    if path is None:
        notes = ("no weights given: the factory's own are used, and changes of what it reads are not seen",)
    else:
        weights, _, notes = read_weights(path, trust_pickle=request.trust_pickle)
        notes += load_weights(network, weights, str(path))
    return LoadedModel(
        model_id=entry.model_id,
        source=entry.source,
        sha256="" if path is None else file_digest(path),
        weights=to_eval(network).state_dict(),
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
        Where modules are looked up, beside the installed ones.

    Raises
    ------
    CheckpointError
        There is none, it fails, or it makes no network.
    """
    network = call_factory(target, folder)
    if not isinstance(network, nn.Module):
        raise CheckpointError(f"module:{target} made a {type(network).__name__}: a torch.nn.Module was expected")
    return network


def call_factory(target: str, folder: Path) -> object:
    """Call the function or class that `package.mod:factory` names; a network that is there already is returned.

    The folder is on the module path, after everything else, while the code runs, and the working directory is not.
    Afterwards the path is as it was, and modules of the folder are forgotten: another folder may have one of the
    same name.

    Raises
    ------
    CheckpointError
        The name is none of the user's modules, or of two; the factory is not defined in it, or fails.
    """
    name, _, factory = target.partition(":")
    if not factory or not all(part.isidentifier() for part in [*name.split("."), factory]):
        raise CheckpointError(f"module:{target} was expected to read module:package.mod:factory")
    with _IMPORTING, _path_with(folder.resolve()):
        _check_place(name.partition(".")[0], folder.resolve())
        try:
            found = getattr(importlib.import_module(name), factory)
            if isinstance(found, nn.Module):
                return found
            _check_own(found, target)
            return found()
        except CheckpointError:
            raise
        except (Exception, SystemExit) as error:  # the user's code may raise anything
            raise CheckpointError(
                f"module:{target} could not be built: {type(error).__name__}: {printable(str(error)[:500])} "
                f"(looked in {folder} too)"
            ) from error


def _check_own(found: object, target: str) -> None:
    """Refuse what the module only imported: `os.abort` under another name."""
    top = target.partition(":")[0].partition(".")[0]
    defined = str(getattr(found, "__module__", "")).partition(".")[0]
    if not (inspect.isclass(found) or inspect.isfunction(found)) or defined != top:
        raise CheckpointError(
            f"module:{target} names a {type(found).__name__} of {defined or 'nowhere'}: a function or class that "
            f"{top} defines was expected, or a torch.nn.Module"
        )


def _check_place(top: str, folder: Path) -> None:
    """Refuse Python's own modules, and a name that would stand for two."""
    if top in sys.stdlib_module_names or top in sys.builtin_module_names:
        raise CheckpointError(f"module:{top} is a part of Python: a module of yours was expected")
    own = _place(PathFinder.find_spec(top, [str(folder)]))
    installed = _installed(top)
    if own and installed and own != installed:
        raise CheckpointError(
            f"module:{top} is in two places, {own} and {installed}: rename the one that is meant, or move it"
        )
    if not own and not installed:
        raise CheckpointError(f"there is no module {top!r} in {folder}, nor is one installed: check the source")


def _installed(top: str) -> str:
    """Say where Python would find a module without the folder, which is the last on the path; empty for nowhere."""
    if top in sys.modules:
        return str(Path(getattr(sys.modules[top], "__file__", None) or "this process").resolve())
    last = sys.path.pop()
    try:
        return _place(importlib.util.find_spec(top))
    finally:
        sys.path.append(last)


def _place(spec: ModuleSpec | None) -> str:
    """Say where a module lies; empty where there is none."""
    if spec is None:
        return ""
    return str(Path(spec.origin or next(iter(spec.submodule_search_locations or ["nowhere"]))).resolve())


@contextmanager
def _path_with(folder: Path) -> Iterator[None]:
    """Put the folder last on the module path, without the working directory; restore path and modules."""
    path, modules, writes = list(sys.path), dict(sys.modules), sys.dont_write_bytecode
    sys.path[:] = [*(entry for entry in path if not _is_implicit(entry, path)), str(folder)]
    sys.dont_write_bytecode = True
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = path
        sys.dont_write_bytecode = writes
        brought = [name for name, module in sys.modules.items() if name not in modules and _is_inside(module, folder)]
        for name in brought:
            del sys.modules[name]
        sys.modules.update(modules)


def _is_implicit(entry: str, path: list[str]) -> bool:
    """Whether Python itself put the working directory there: `python -m` and `python -c` do."""
    return entry in {"", "."} or (entry == path[0] and not sys.flags.safe_path and Path(entry).resolve() == Path.cwd())


def _is_inside(module: ModuleType, folder: Path) -> bool:
    spec = getattr(module, "__spec__", None)
    return spec is not None and folder in Path(_place(spec)).parents
