"""Which loader answers which source: a scheme, a colon, and what the loader makes of the rest.

Third parties add a scheme through the entry point group `filterlens.sources`, whose name is the scheme and whose
object is a function from a `Request` to a `LoadedModel`. Where that function has an attribute `files`, a function from
a `Request` to the `RemoteFile`s that the model needs, they are fetched ahead.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Final

from filterlens.errors import CheckpointError, InputError
from filterlens.process.extras import require_audit

if TYPE_CHECKING:
    from filterlens.catalogs import Entry
    from filterlens.loaders.model import LoadedModel
    from filterlens.loaders.remote import RemoteFile

__all__ = ["Request", "Source", "load_model", "parse_source", "remote_files", "schemes", "split_member", "summaries"]

FILE: Final = "file"
# two letters at least: `C:\model.pt` is a path
_SCHEME: Final = re.compile(r"([a-z][a-z0-9+-]+):(.*)", re.DOTALL)

_MEMBER: Final = re.compile(r"(.*\.safetensors)#(.*)", re.IGNORECASE | re.DOTALL)

_BUILT_IN: Final = {
    FILE: "filterlens.loaders.file:load",
    "bundled": "filterlens.loaders.bundled:load",
    "filterdb": "filterlens.loaders.filterdb:load",
    "hf": "filterlens.loaders.web:load_hub",
    "memory": "filterlens.loaders.memory:load",
    "module": "filterlens.loaders.module:load",
    "robustbench": "filterlens.loaders.robustbench:load",
    "timm": "filterlens.loaders.timm:load",
    "torchvision": "filterlens.loaders.web:load_torchvision",
    "url": "filterlens.loaders.web:load_url",
    "zenodo": "filterlens.loaders.zenodo:load",
}
_SUMMARIES: Final = {
    FILE: "A file: .pt .pth .th .ckpt .bin .tar .safetensors .onnx, recognised by its content; "
    "`PATH.safetensors#NAME`, one of the models in it.",
    "bundled": "`bundled:fonts/NAME` or `bundled:cifar10/NAME`, a network of a bundled zoo; "
    "`bundled:ARCHITECTURE?weights=PATH`, your weights.",
    "filterdb": "`filterdb:PATH#NUMBER`: a model of a CNN-Filter-DB data set.",
    "hf": "`hf:ORG/NAME[@REVISION]`: a repository of the Hugging Face Hub.",
    "memory": "`memory:NAME-DIGEST`: a network that was given in Python; for that process alone.",
    "module": "`module:package.mod:factory?weights=PATH`: your own architecture; runs code.",
    "robustbench": "`robustbench:DATASET/THREAT/NAME`: a model of RobustBench.",
    "timm": "`timm:NAME`: a network of timm with its weights and normalisation.",
    "torchvision": "`torchvision:NAME[.WEIGHTS]`: a network of torchvision.",
    "url": "`url:https://…/model.pt?sha256=…`: a checkpoint of a web server.",
    "zenodo": "`zenodo:RECORD/DATASET/NAME`: the matched normal models of Gavrikov & Keuper (2022).",
}
_FILES: Final = {
    "hf": "filterlens.loaders.web:hub_files",
    "robustbench": "filterlens.loaders.robustbench:files",
    "timm": "filterlens.loaders.timm:files",
    "torchvision": "filterlens.loaders.web:torchvision_files",
    "url": "filterlens.loaders.web:url_files",
    "zenodo": "filterlens.loaders.zenodo:files",
}


@dataclass(frozen=True, slots=True)
class Source:
    """A source URI, split.

    Parameters
    ----------
    scheme
        One of `schemes()`; a plain path is `file`.
    rest
        What follows the colon; of a plain path, all of it.
    """

    scheme: str
    rest: str


@dataclass(frozen=True, slots=True)
class Request:
    """What a loader is asked for.

    Parameters
    ----------
    entry
        The catalog's row.
    rest
        The source without its scheme.
    folder
        The catalog's folder: paths are looked up there first, modules there and among the installed ones.
    trust_pickle
        The user lets this checkpoint run code.
    allow_code
        The user lets this source be code: `module:`.
    weights_only
        Only the weights are wanted; a loader need not build the network.
    offline
        Use what is cached, fetch nothing.
    """

    entry: Entry
    rest: str
    folder: Path
    trust_pickle: bool = False
    allow_code: bool = False
    weights_only: bool = False
    offline: bool = False


Loader = Callable[[Request], "LoadedModel"]


@cache
def _third_party() -> dict[str, Loader]:
    loaders: dict[str, Loader] = {}
    for point in entry_points(group="filterlens.sources"):
        if point.name in _BUILT_IN or point.name in loaders:
            raise InputError(f"two packages answer the source {point.name}: and one of them is {point.value}")
        try:
            loader = point.load()
        except Exception as error:
            raise InputError(f"the source {point.name}: of {point.value} cannot be imported ({error})") from error
        if not callable(loader):
            raise InputError(f"the entry point {point.name!r} of {point.value} is no function")
        loaders[point.name] = loader
    return loaders


def schemes() -> tuple[str, ...]:
    """Every scheme a source may start with, in alphabetical order."""
    return tuple(sorted({*_BUILT_IN, *_third_party()}))


def summaries() -> dict[str, str]:
    """Return what each scheme stands for, by how a source of it begins; the built-in ones first."""
    others = {f"{name}:": (found.__doc__ or "").strip().partition("\n")[0] for name, found in _third_party().items()}
    return (
        {"a path": _SUMMARIES[FILE]} | {f"{name}:": said for name, said in _SUMMARIES.items() if name != FILE} | others
    )


def parse_source(uri: str) -> Source:
    """Split a source into its scheme and the rest.

    Parameters
    ----------
    uri
        Such as `robustbench:cifar10/Linf/Wong2020Fast` or `weights/model.pt`.

    Raises
    ------
    CheckpointError
        It is empty, holds a NUL character, or nobody answers its scheme.

    Examples
    --------
    >>> parse_source("weights/model.pt")
    Source(scheme='file', rest='weights/model.pt')
    """
    if not uri.strip() or "\0" in uri:
        raise CheckpointError(f"{uri!r} is no source: give a path or one of {', '.join(schemes())} and a colon")
    found = _SCHEME.fullmatch(uri)
    if not found:
        return Source(FILE, uri)
    scheme, rest = found.groups()
    if scheme in {"http", "https"}:
        raise CheckpointError(f"{uri!r} is an address: write url:{uri} to have it fetched")
    if scheme not in schemes():
        raise CheckpointError(
            f"no loader answers {scheme + ':'!r} (in {uri!r}); there are {', '.join(schemes())}, and plain paths"
        )
    if not rest:
        raise CheckpointError(f"{uri!r} names nothing after the colon")
    return Source(scheme, rest)


def split_member(source: str) -> tuple[str, str] | None:
    """Split the source of one of a file's models into file and name; None for any other source.

    Examples
    --------
    >>> split_member("zoo-000.safetensors#run17")
    ('zoo-000.safetensors', 'run17')
    >>> split_member("model.safetensors") is None
    True
    """
    found = _MEMBER.fullmatch(source)
    return (found[1], found[2]) if found else None


def _loader(scheme: str) -> Loader:
    if scheme in _BUILT_IN:
        module, _, name = _BUILT_IN[scheme].partition(":")
        loader: Loader = getattr(import_module(module), name)
        return loader
    return _third_party()[scheme]


def remote_files(entry: Entry, folder: Path, *, offline: bool = False) -> Sequence[RemoteFile] | None:
    """Name the files that an entry needs from elsewhere; with `offline` nobody is asked.

    Returns
    -------
        None of a local source's; `None` where its loader does not say.

    Raises
    ------
    CheckpointError, DownloadError
        The source names no model, or what is known of it cannot be asked for.
    """
    source = parse_source(entry.source)
    request = Request(entry=entry, rest=source.rest, folder=folder, offline=offline)
    if source.scheme in _FILES:
        module, _, name = _FILES[source.scheme].partition(":")
        found: Sequence[RemoteFile] = getattr(import_module(module), name)(request)
        return found
    if source.scheme in _BUILT_IN:
        return ()
    files: Callable[[Request], Sequence[RemoteFile]] | None = getattr(_loader(source.scheme), "files", None)
    return None if files is None else files(request)


def load_model(
    entry: Entry,
    folder: Path,
    *,
    trust_pickle: bool = False,
    allow_code: bool = False,
    weights_only: bool = False,
    offline: bool = False,
) -> LoadedModel:
    """Load the model that a catalog entry points at.

    Parameters
    ----------
    entry
        The catalog's row.
    folder
        The catalog's folder, where relative paths are looked up first, and modules beside the installed ones.
    trust_pickle
        Let a pickled checkpoint run code: only for files that you made.
    allow_code
        Let a `module:` source run code: only for catalogs that you trust.
    weights_only
        Spare building the network where the weights are enough.
    offline
        Fetch nothing; what is cached loads.

    Returns
    -------
        On the CPU; the network, if any, in eval mode and float32.

    Raises
    ------
    CheckpointError
        The source cannot be turned into weights.
    UnsafeCheckpointError
        It would have to run code.
    DownloadError
        It is not cached and cannot be fetched.
    MissingExtraError
        PyTorch, or a library that goes with it, is not installed.
    """
    require_audit()
    source = parse_source(entry.source)
    return _loader(source.scheme)(
        Request(
            entry=entry,
            rest=source.rest,
            folder=folder,
            trust_pickle=trust_pickle,
            allow_code=allow_code,
            weights_only=weights_only,
            offline=offline,
        )
    )
