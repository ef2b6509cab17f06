"""What a source comes to: a digest of the files that it names, whatever they are called, for the key of a dump."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, quote, urlencode

from filterlens.catalogs import shipped_folder
from filterlens.errors import CheckpointError
from filterlens.loaders.registry import FILE, parse_source, split_member
from filterlens.process.digests import combined_digest, file_digest
from filterlens.process.files import is_file

__all__ = [
    "ZOOS",
    "absolute_source",
    "bundled_file",
    "code_digest",
    "local_files",
    "locate",
    "read_query",
    "source_digest",
]

ZOOS: Final = {"fonts": ("fonts-linf", 28), "cifar10": ("cifar10-small", 32)}
"""Folder of each bundled zoo, and side of its images."""
_RECORDED: Final = frozenset({"torch", "torchvision", "timm", "robustbench", "numpy", "scipy", "filterlens"})


def locate(text: str, folder: Path) -> Path:
    """Find a file, from the catalog's folder first, then from the working directory.

    Raises
    ------
    CheckpointError
        It is in neither.
    """
    given = Path(text).expanduser()
    for candidate in (folder / given, given):
        if is_file(candidate):
            return candidate
    folders = [] if given.is_absolute() else dict.fromkeys([folder.resolve(), Path.cwd()])
    places = " or".join(f" in {place}" for place in folders)
    raise CheckpointError(f"there is no file {text!r}{places}: check the source's path")


def bundled_file(name: str) -> Path:
    """Where `ZOO/NAME` of `bundled:ZOO/NAME` lies, be it there or not."""
    zoo, _, member = name.partition("/")
    return shipped_folder() / ZOOS.get(zoo, ("", 0))[0] / f"{member}.safetensors"


def read_query(query: str) -> dict[str, str]:
    """Read the options behind a source's question mark; a plus is one, as in a file's name.

    Examples
    --------
    >>> read_query("weights=lr+aug%20(1).pt")
    {'weights': 'lr+aug (1).pt'}
    """
    return dict(parse_qsl(query.replace("+", "%2B"), keep_blank_values=True))


def source_digest(source: str, folder: Path, *, allow_code: bool = False) -> tuple[str, tuple[str, ...]]:
    """Digest a source: the contents of its files and code, and its name where that is all there is.

    Parameters
    ----------
    source
        As in a catalog.
    folder
        The catalog's folder.
    allow_code
        Look at the files of a `module:` source; without it, such a source is refused when it is loaded.

    Returns
    -------
        The digest, and notes on what cannot be known.
    """
    try:
        parsed = parse_source(source)
        scheme, rest = parsed.scheme, parsed.rest
        if scheme == FILE:
            return f"file:{_file_or_member(rest, folder)}", ()
        if scheme == "memory":
            return source, (
                "changes of functions outside the network's own classes are not seen: --replace starts anew",
            )
        if scheme == "filterdb":
            place, _, number = rest.rpartition("#")
            return f"filterdb:{file_digest(folder / place)}#{number}", ()
        name, _, query = rest.partition("?")
        weights = read_query(query).get("weights")
        parts = [(scheme, name)]
        notes: tuple[str, ...] = ()
        if weights is not None:
            parts.append(("weights", file_digest(locate(weights, folder))))
        elif scheme == "bundled":
            parts.append(("weights", file_digest(bundled_file(name))))
        if scheme == "module" and allow_code:
            code, notes = code_digest(name, folder)
            parts.append(("code", code))
    except (CheckpointError, OSError, ValueError, RuntimeError):  # loading it says what is wrong
        return source, ()
    return combined_digest(parts) if len(parts) > 1 else source, notes


def _file_or_member(rest: str, folder: Path) -> str:
    """Digest a file, or of one of the models in it that model's tensors alone."""
    place, name = _split(rest)
    path = locate(place, folder)
    if not name:
        return file_digest(path)
    from filterlens.loaders.shards import open_shard

    return open_shard(path).digest(name)


def _split(rest: str) -> tuple[str, str]:
    """Split a path into the file and the name of one of its models, empty where the file is one."""
    return split_member(rest) or (rest, "")


def local_files(source: str, folder: Path) -> list[Path]:
    """Name the files of weights that a source has on this machine, other than in the cache; none that are not there.

    Parameters
    ----------
    source
        As in a catalog.
    folder
        The catalog's folder.
    """
    try:
        parsed = parse_source(source)
        name, _, query = parsed.rest.partition("?")
        weights = read_query(query).get("weights")
        if parsed.scheme == FILE:
            return [locate(_split(parsed.rest)[0], folder)]
        if weights is not None:
            return [locate(weights, folder)]
        if parsed.scheme == "filterdb":
            found = folder / parsed.rest.rpartition("#")[0]
        elif parsed.scheme == "bundled":
            found = bundled_file(name)
        else:
            return []
    except (CheckpointError, ValueError):
        return []
    return [found] if is_file(found) else []


def absolute_source(source: str, folder: Path) -> str:
    """Return a source that names the same files from wherever its catalog lies; the modules of `module:` stay as named.

    Parameters
    ----------
    source
        As in a catalog.
    folder
        The catalog's folder.
    """
    found = local_files(source, folder)
    if not found:
        return source
    parsed, path = parse_source(source), str(found[0].absolute())
    if parsed.scheme == FILE:
        name = _split(parsed.rest)[1]
        return f"{path}#{name}" if name else path
    if parsed.scheme == "filterdb":
        return f"filterdb:{path}#{parsed.rest.rpartition('#')[2]}"
    name, _, query = parsed.rest.partition("?")
    values = urlencode(read_query(query) | {"weights": path}, safe="/:", quote_via=quote)
    return f"{parsed.scheme}:{name}?{values}" if query else source


def code_digest(target: str, folder: Path) -> tuple[str, tuple[str, ...]]:
    """Digest the code of `package.mod:factory` without running it: its files, and those that they import nearby.

    Nearby is the folder where the module lies in it, or the module's own package where it is an installed one.

    Returns
    -------
        The digest, and a note that names what else is imported, changes of which are not seen.
    """
    name, _, factory = target.partition(":")
    root, is_folder = _root(name.partition(".")[0], folder)
    files: dict[str, str] = {}
    elsewhere: set[str] = set()
    waiting = [name]
    while waiting:
        parts = waiting.pop().split(".")
        inside = root is not None and (is_folder or parts[0] == name.partition(".")[0])
        for end in range(1, len(parts) + 1):
            module = ".".join(parts[:end])
            if module in files:
                continue
            spec = _find(module, root) if root is not None and inside else None
            if spec is None:
                if end == 1:
                    elsewhere.add(module)
                break
            files[module] = ""
            if spec.origin and spec.has_location:
                path = Path(spec.origin)
                files[module] = file_digest(path)
                waiting += _imports(path, module, is_package=spec.submodule_search_locations is not None)
    unknown = sorted(elsewhere - _RECORDED - sys.stdlib_module_names)
    note = f"changes of {', '.join(unknown)}, which module:{name} is made with, are not seen: --replace starts anew"
    return combined_digest([("factory", factory), *sorted(files.items())]), (note,) if unknown else ()


def _root(top: str, folder: Path) -> tuple[Path | None, bool]:
    """Folder in which a module is found, and whether it is the given one."""
    importlib.invalidate_caches()
    if PathFinder.find_spec(top, [str(folder.resolve())]) is not None:
        return folder.resolve(), True
    try:
        spec = importlib.util.find_spec(top)
    except ValueError:  # it was made in this process
        return None, False
    if spec is None or not spec.origin or not spec.has_location:
        return None, False
    return Path(spec.origin).parents[1 if spec.submodule_search_locations else 0], False


def _find(module: str, root: Path) -> ModuleSpec | None:
    """Find a module below a folder; packages above it are not imported."""
    places, spec = [str(root)], None
    parts = module.split(".")
    for end in range(1, len(parts) + 1):
        spec = PathFinder.find_spec(".".join(parts[:end]), places)
        if spec is None:
            return None
        places = list(spec.submodule_search_locations or [])
    return spec


def _imports(path: Path, module: str, *, is_package: bool) -> Iterator[str]:
    """Modules that a file of Python names in its imports; what is imported from one may be a module too."""
    if path.suffix != ".py":
        return
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, RecursionError):  # importing it says so
        return
    package = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            near = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*near, *([node.module] if node.module else [])])
            if base:
                yield base
            yield from (f"{base}.{alias.name}".lstrip(".") for alias in node.names if alias.name != "*")
