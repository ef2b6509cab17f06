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

from filterlens.cli import completion
from filterlens.cli import options as o
from filterlens.commands.bounds import bound_names
from filterlens.errors import InputError
from filterlens.lens import Options, RunSettings, all_lenses, option_names

__all__ = ["given_options", "with_bounds", "with_flag", "with_lens_options", "with_scoring_options"]

Command = Callable[..., None]


def with_lens_options(function: Command) -> Command:
    """Give a command, which takes `**lens_options`, one option for each that a lens has; what is not given is None."""

    @wraps(function)
    def command(**values: Any) -> None:  # noqa: ANN401 - values of any option
        function(**values)

    _set_parameters(command, [*_parameters(function), *_lens_parameters()])
    return command


def with_scoring_options(function: Command) -> Command:
    """Give a command the options that say how a model is scored; it gets what `filterlens.inspect` takes, as `how`."""
    named = _parameters(_scoring)
    names = {parameter.name for parameter in [*named, *_lens_parameters()]}

    @wraps(function)
    def command(**values: Any) -> None:  # noqa: ANN401 - values of any option
        said = {name: value for name, value in values.items() if name in names and value is not None}
        lenses = o.names_of(said.pop("lens", None)) or ["filters"]
        settings = {name: said.pop(name) for name in list(said) if name in option_names(RunSettings)}
        facts = {name: said.pop(name) for name in ("arch", "eps", "mean", "std")}
        how = {"lenses": lenses, "fast": said.pop("fast"), "settings": RunSettings(**settings)} | given_options(said)
        how |= {name: value for name, value in facts.items() if value}
        function(**{name: value for name, value in values.items() if name not in names}, how=how)

    own = [parameter for parameter in _parameters(function) if parameter.name != "how"]
    _set_parameters(command, [*own, *named, *_lens_parameters()])
    return command


def with_bounds(function: Command) -> Command:
    """Give a command, which takes a list of texts as `bound`, one option for each bound on each score.

    They are made from the register, so that those of installed packages are there too. Their values are texts: a
    wrong one is the command's to report.
    """
    names = {name.replace("-", "_"): name for name in bound_names()}

    @wraps(function)
    def command(**values: Any) -> None:  # noqa: ANN401 - values of any option
        given = [f"{names[key]}={value}" for key, value in values.items() if key in names and value is not None]
        rest = {key: value for key, value in values.items() if key not in names}
        function(**rest | {"bound": [*rest["bound"], *given]})

    made = [
        inspect.Parameter(
            key,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[
                str | None, typer.Option(f"--{name}", metavar="NUMBER", hidden=True, help=f"Same as -b {name}=…")
            ],
        )
        for key, name in names.items()
    ]
    _set_parameters(command, [*_parameters(function), *made])
    return command


def _scoring(
    *,
    lens: Annotated[
        list[str] | None,
        typer.Option("--lens", help="Lenses, comma-separated or repeated [filters].", autocompletion=completion.lenses),
    ] = None,
    arch: o.Arch = "",
    eps: o.Eps = "",
    mean: o.Mean = "",
    std: o.Std = "",
    fast: o.FastOne = True,
    data: o.Data = None,
    fonts: o.Fonts = None,
    seed: o.Seed = None,
    device: o.Device = None,
    batch_size: o.BatchSize = None,
    trust_pickle: o.TrustPickle = None,
    allow_code: o.AllowCode = False,
    offline: o.Offline = False,
) -> None:
    """Options of `with_scoring_options`, for their names, types and defaults."""


def _parameters(function: Command) -> list[inspect.Parameter]:
    hints = get_type_hints(function, include_extras=True)
    own = inspect.signature(function).parameters.values()
    return [p.replace(annotation=hints[p.name]) for p in own if p.kind is not p.VAR_KEYWORD]


def _lens_parameters() -> list[inspect.Parameter]:
    return [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_annotation(name, found))
        for name, found in _options().items()
    ]


def _set_parameters(command: Command, parameters: list[inspect.Parameter]) -> None:
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}


def given_options(values: dict[str, Any]) -> dict[str, Any]:
    """Keep the options that were given, turned from text into values where the lens says how."""
    known = _options()
    found = {}
    for name, value in values.items():
        if value is not None:
            parse = next(field.metadata["parse"] for field, _ in known[name].values())
            found[name] = _parsed(name, parse, value) if parse else value
    return found


def _parsed(name: str, parse: str, value: str) -> Any:  # noqa: ANN401 - values of any option
    """Return an option's value; a complaint that begins with the option's name begins with its flag."""
    try:
        return resolve_name(parse)(value)
    except InputError as error:
        said = str(error)
        raise InputError(_flag(name) + said.removeprefix(name) if said.startswith(name) else said) from error


def with_flag(said: str) -> str:
    """Return a message with the flag of the setting that it begins with, as in `batch_size: …`, in its place."""
    name, colon, rest = said.partition(":")
    return f"{_flag(name)}:{rest}" if colon and name in {*_options(), *option_names(RunSettings)} else said


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _options() -> dict[str, dict[str, Any]]:
    """Every option by name, with its field and its lens's class for each lens that has it."""
    found: dict[str, dict[str, Any]] = {}
    for lens in all_lenses().values():
        for known in fields(lens.options):
            if "help" in known.metadata:
                found.setdefault(known.name, {})[lens.name] = (known, lens.options)
    return found


def _annotation(name: str, lenses: dict[str, Any]) -> Any:  # noqa: ANN401 - an annotation
    flag = _flag(name)
    field, options = next(iter(lenses.values()))
    kind = _kind(options, name) if not field.metadata["parse"] else str
    names = [flag, "-n"] if name == "images" else [f"{flag}/--no-{flag[2:]}" if kind is bool else flag]
    where = f"{' and '.join(lenses)} lens" if len(lenses) <= 2 else "Several lenses"
    default = ", ".join(dict.fromkeys(_text(getattr(o.paper(), name)) for _, o in lenses.values()))
    shown = False if kind is bool or not default else default if len(lenses) <= 2 else "the lens's own"
    said = field.metadata["help"]
    if len(lenses) > 2:
        said += f" ({', '.join(lenses)})"
    return Annotated[
        kind | None,
        typer.Option(
            *names,
            help=said,
            min=field.metadata.get("at_least"),
            rich_help_panel=where[0].upper() + where[1:],
            show_default=shown,
        ),
    ]


def _text(value: object) -> str:
    """Return a default as it would be given."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _kind(options: type[Options], name: str) -> type:
    hint = get_type_hints(options)[name]
    if isinstance(hint, UnionType):
        kinds: list[type] = [kind for kind in get_args(hint) if kind is not NoneType]
        return kinds[0]
    return hint if isinstance(hint, type) else str
