"""Options of lenses on the command line: made from their classes, grouped by lens in `--help`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from pkgutil import resolve_name
from types import NoneType, UnionType
from typing import Annotated, Any, get_args, get_type_hints

import typer

from filterlens.lens import Options, all_lenses

__all__ = ["given_options", "with_lens_options"]


def with_lens_options(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command, which takes `**lens_options`, one option for each that a lens has; what is not given is None."""

    @wraps(function)
    def command(**values: Any) -> None:  # noqa: ANN401 - values of any option
        function(**values)

    own = [p for p in inspect.signature(function).parameters.values() if p.kind is not p.VAR_KEYWORD]
    made = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_annotation(name, found))
        for name, found in _options().items()
    ]
    hints = get_type_hints(function, include_extras=True)
    every = [p.replace(annotation=hints[p.name]) for p in own] + made
    command.__signature__ = inspect.Signature(every)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in every}
    return command


def given_options(values: dict[str, Any]) -> dict[str, Any]:
    """Keep the options that were given, turned from text into values where the lens says how."""
    known = _options()
    found = {}
    for name, value in values.items():
        if value is not None:
            parse = next(field.metadata["parse"] for field, _ in known[name].values())
            found[name] = resolve_name(parse)(value) if parse else value
    return found


def _options() -> dict[str, dict[str, Any]]:
    """Every option by name, with its field and its lens's class for each lens that has it."""
    found: dict[str, dict[str, Any]] = {}
    for lens in all_lenses().values():
        for known in fields(lens.options):
            if "help" in known.metadata:
                found.setdefault(known.name, {})[lens.name] = (known, lens.options)
    return found


def _annotation(name: str, lenses: dict[str, Any]) -> Any:  # noqa: ANN401 - an annotation
    flag = f"--{name.replace('_', '-')}"
    field, options = next(iter(lenses.values()))
    kind = _kind(options, name) if not field.metadata["parse"] else str
    names = [flag, "-n"] if name == "images" else [f"{flag}/--no-{flag[2:]}" if kind is bool else flag]
    where = f"{' and '.join(lenses)} lens" if len(lenses) <= 2 else "Several lenses"
    default = ", ".join(dict.fromkeys(str(getattr(o.paper(), name)) for _, o in lenses.values()))
    shown = False if kind is bool or not default else default if len(lenses) <= 2 else "the lens's own"
    said = field.metadata["help"]
    if len(lenses) > 2:
        said += f" ({', '.join(lenses)})"
    return Annotated[
        kind | None,
        typer.Option(*names, help=said, rich_help_panel=where[0].upper() + where[1:], show_default=shown),
    ]


def _kind(options: type[Options], name: str) -> type:
    hint = get_type_hints(options)[name]
    if isinstance(hint, UnionType):
        kinds: list[type] = [kind for kind in get_args(hint) if kind is not NoneType]
        return kinds[0]
    return hint if isinstance(hint, type) else str
