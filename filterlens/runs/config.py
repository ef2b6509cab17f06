"""`run.toml`: every option of a run, in a file that repeats it."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError

from filterlens.errors import InputError
from filterlens.lens import Options, RunSettings, get_lens
from filterlens.process.files import write_atomically

__all__ = ["NEVER_IN_FILE", "WHAT", "RunConfig", "filled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """What was audited, and how.

    Parameters
    ----------
    leaderboard
        Name of a shipped catalog or path of a CSV file; empty where checkpoints of a training are audited.
    models
        Shell patterns of model ids; empty: all.
    checkpoints, arch, eps, mean, std
        A folder of a training's checkpoints, and what its weights fill (see `--folder`).
    style
        Preset of the report's figures; empty: the one of no journal.
    lenses
        Options by name of the lens.
    settings
        What all lenses share.
    content
        Digests of what settings name: of images by data set, and of files by lens and option (`manifold.manifold`).
    """

    leaderboard: str = ""
    models: tuple[str, ...] = ()
    checkpoints: str = ""
    arch: str = ""
    eps: str = ""
    mean: str = ""
    std: str = ""
    style: str = ""
    lenses: Mapping[str, Options] = field(default_factory=dict)
    settings: RunSettings = field(default_factory=RunSettings)
    content: Mapping[str, str] = field(default_factory=dict)

    def write(self, path: Path, versions: Mapping[str, str]) -> None:
        """Write the file, every option in it, with the versions that may change a number; one that says so stays.

        Raises
        ------
        WriteError
            The folder cannot be written.
        """
        import tomli_w

        run = {name: getattr(self, name) for name in WHAT} | _plain(self.settings)
        lenses = {name: _plain(options) for name, options in self.lenses.items()}
        head = (
            "# `filterlens audit --config run.toml` repeats this run; options on the command line go before these.\n\n"
        )
        content = {"run": _present(run), "lenses": lenses, "content": dict(self.content), "versions": dict(versions)}
        written = (head + tomli_w.dumps(content)).encode()
        if not path.is_file() or path.read_bytes() != written:
            write_atomically(path, written)

    @staticmethod
    def read(path: Path, *, allow_code: bool = False) -> RunConfig:
        """Read the file.

        Parameters
        ----------
        path
            Such as `reports/mine/run.toml`.
        allow_code
            Take options that name code to be run (`module:…`).

        Raises
        ------
        InputError
            It is missing, no TOML, holds what is no option, or names code that is not allowed; the message names the
            table and the key.
        """
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
            raise InputError(f"{path} cannot be read as a run's configuration ({error})") from error
        unknown = set(content) - {"run", "lenses", "content", "versions"}
        if unknown:
            raise InputError(
                f"{path}: no table is called {min(unknown)!r}; there are [run], [lenses.NAME], [content] and [versions]"
            )
        run = _table(content.get("run", {}), path, "run")
        what = filled(RunConfig(), {name: run.pop(name) for name in WHAT if name in run}, path, "run")
        settings = filled(RunSettings(), run, path, "run")
        lenses = {}
        for name, table in _table(content.get("lenses", {}), path, "lenses").items():
            given = _table(table, path, f"lenses.{name}")
            options = get_lens(name).options
            base = options.fast() if given.get("preset") == "fast" else options.paper()
            lenses[name] = filled(base, given, path, f"lenses.{name}")
            for key, value in given.items():
                if str(value).startswith("module:") and not allow_code:
                    raise InputError(
                        f"{path}: [lenses.{name}] {key} names code ({value!r}): read it, and give --allow-code on the "
                        "command line (Python: allow_code=True) if you trust it"
                    )
        digests = {name: str(value) for name, value in _table(content.get("content", {}), path, "content").items()}
        return replace(what, lenses=lenses, settings=settings, content=digests)


WHAT = ("leaderboard", "models", "checkpoints", "arch", "eps", "mean", "std", "style")
_NONE = "none"  # TOML has no null
#: what lets code run: said on each command line, never by a file that somebody may have sent
NEVER_IN_FILE = ("trust_pickle", "allow_code")
Record = TypeVar("Record", RunConfig, Options, RunSettings)


def _plain(record: Options | RunSettings) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for known in fields(record):
        if known.name in NEVER_IN_FILE:
            continue
        value = getattr(record, known.name)
        found[known.name] = _NONE if value is None else str(value) if isinstance(value, Path) else value
    return found


def _present(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items() if value != ""}


def _table(value: object, path: Path, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{path}: [{name}] is expected to be a table, got {value!r}")
    return dict(value)


def filled(base: Record, given: Mapping[str, Any], path: Path, table: str) -> Record:
    """Return a record with plain values, such as those of a file, in place of its own.

    Parameters
    ----------
    base
        Options or settings.
    given
        By name.
    path, table
        Where they are from, for messages.

    Raises
    ------
    InputError
        There is no such option, or a value is of another type.
    """
    hints = get_type_hints(type(base))
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name in NEVER_IN_FILE:
            flag = f"--{name.replace('_', '-')}"
            raise InputError(f"{path}: {name} is not taken from a file: give {flag} on the command line")
        if name not in hints:
            known = [found for found in hints if found not in NEVER_IN_FILE]
            raise InputError(f"{path}: [{table}] has no {name!r}; it takes {', '.join(known)}")
        values[name] = _converted(value, hints[name], f"{path}: [{table}] {name}")
    try:
        return replace(base, **values)
    except InputError as error:
        raise InputError(f"{path}: [{table}] {error}") from error


def _converted(value: Any, hint: Any, where: str) -> Any:  # noqa: ANN401 - values and types of any option
    """Return a value of the file as the option's type; a list becomes a tuple, a text a path, never a number."""
    if value == _NONE and NoneType in get_args(hint):
        return None
    try:
        return TypeAdapter(hint).validate_json(json.dumps(value, default=str), strict=True)
    except ValidationError as error:
        said = error.errors()[0]["msg"]
        raise InputError(f"{where}: {said[0].lower()}{said[1:]}, got {value!r}") from error
