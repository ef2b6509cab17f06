"""`run.toml`: every option of a run, in a file that repeats it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self, TypeVar

from filterlens.errors import InputError
from filterlens.lens import Options, RunSettings, get_lens
from filterlens.process.files import write_whole

__all__ = ["RunConfig"]


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
    lenses
        Options by name of the lens.
    settings
        What all lenses share.
    """

    leaderboard: str = ""
    models: tuple[str, ...] = ()
    checkpoints: str = ""
    arch: str = ""
    eps: str = ""
    mean: str = ""
    std: str = ""
    lenses: Mapping[str, Options] = field(default_factory=dict)
    settings: RunSettings = field(default_factory=RunSettings)

    def write(self, path: Path, versions: Mapping[str, str]) -> None:
        """Write the file, every option in it, with the versions that may change a number; one that says so stays.

        Raises
        ------
        WriteError
            The folder cannot be written.
        """
        import tomli_w

        run = {name: getattr(self, name) for name in _WHAT} | _plain(self.settings)
        lenses = {name: _plain(options) for name, options in self.lenses.items()}
        head = (
            "# `filterlens audit --config run.toml` repeats this run; options on the command line go before these.\n\n"
        )
        content = {"run": _present(run), "lenses": lenses, "versions": dict(versions)}
        written = (head + tomli_w.dumps(content)).encode()
        if not path.is_file() or path.read_bytes() != written:
            write_whole(path, written)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the file.

        Raises
        ------
        InputError
            It is missing, no TOML, or holds what is no option; the message names the table and the key.
        """
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise InputError(f"{path} cannot be read as a run's configuration ({error})") from error
        unknown = set(content) - {"run", "lenses", "versions"}
        if unknown:
            raise InputError(
                f"{path}: no table is called {min(unknown)!r}; there are [run], [lenses.NAME] and [versions]"
            )
        run = _table(content.get("run", {}), path, "run")
        what = {name: run.pop(name) for name in list(run) if name in _WHAT}
        what["models"] = tuple(what.get("models", ()))
        settings = _filled(RunSettings(), run, path, "run")
        lenses = {}
        for name, table in _table(content.get("lenses", {}), path, "lenses").items():
            given = dict(_table(table, path, f"lenses.{name}"))
            options = get_lens(name).options
            base = options.fast() if given.get("preset") == "fast" else options.paper()
            lenses[name] = _filled(base, given, path, f"lenses.{name}")
        return cls(**what, lenses=lenses, settings=settings)


_WHAT = ("leaderboard", "models", "checkpoints", "arch", "eps", "mean", "std")
Record = TypeVar("Record", Options, RunSettings)
_NONE = "none"  # TOML has no null


#: what lets code run: said on each command line, never by a file that somebody may have sent
_NEVER_IN_FILE = ("trust_pickle", "allow_code")


def _plain(record: Options | RunSettings) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for known in fields(record):
        if known.name in _NEVER_IN_FILE:
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


def _filled(base: Record, given: Mapping[str, Any], path: Path, table: str) -> Record:
    known = {found.name: getattr(base, found.name) for found in fields(base)}
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name in _NEVER_IN_FILE:
            flag = f"--{name.replace('_', '-')}"
            raise InputError(f"{path}: {name} is not taken from a file: give {flag} on the command line")
        if name not in known:
            raise InputError(f"{path}: [{table}] has no {name!r}; it takes {', '.join(known)}")
        values[name] = _converted(value, known[name], f"{path}: [{table}] {name}")
    return replace(base, **values)


def _converted(value: Any, like: Any, where: str) -> Any:  # noqa: ANN401 - values of any option
    if value == _NONE and not (isinstance(like, str) and like):
        return None
    if isinstance(like, tuple) and isinstance(value, list):
        return tuple(value)
    if isinstance(like, float) and type(value) is int:
        return float(value)
    if like is not None and type(value) is not type(like):
        raise InputError(f"{where}: expected a {type(like).__name__}, got {value!r}")
    return value
