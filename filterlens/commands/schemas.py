"""`schema`: what filterlens writes for machines, as JSON Schema (draft 2020-12) made from the classes that write it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from inspect import cleandoc
from typing import Any, Final, get_type_hints

from filterlens.errors import InputError

__all__ = ["SCHEMAS", "schema"]

_DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
#: the version of each; it rises when a field goes away or changes its meaning, not when one is added
SCHEMAS: Final = {"catalog": 1, "check": 1, "ledger": 1, "run": 1, "scores": 1}
Schema = dict[str, Any]
_COLUMNS: Final = {
    "model_id": "The model's name in the catalog.",
    "lens": "The lens that yields the score.",
    "metric": "The score's name; `filterlens explain` says what it means.",
    "layer": "The layer's name; empty for a score of the whole model.",
    "kind": "The operation's kind, as the lens names it.",
    "conv_depth": "Place in execution order, from 0; null where there is none.",
    "conv_depth_norm": "The same divided by the last place, in [0, 1].",
    "value": "The score; null where it is not defined.",
    "weight": "Its share in the model's mean; 0 leaves it out.",
    "note": "Why there is no value, or what to keep in mind.",
}


def schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema of one kind of file or output.

    Parameters
    ----------
    name
        `scores` (rows of `scores.parquet`), `ledger` (a line of `ledger.jsonl`), `check` (what `filterlens check
        --format json` prints), `run` (`run.toml`, read as TOML) or `catalog` (what `filterlens catalogs NAME --format
        json` prints, and a row of a catalog's CSV file).

    Returns
    -------
        A schema of draft 2020-12; its `$id` ends in the version. That of `run` has the options of every lens that is
        installed.

    Raises
    ------
    InputError
        There is no such schema.

    Examples
    --------
    >>> import filterlens
    >>> filterlens.schema("scores")["$id"]
    'urn:filterlens:schema:scores:1'
    """
    if name not in SCHEMAS:
        raise InputError(f"there is no schema {name!r}; there are {', '.join(SCHEMAS)}")
    head = {"$schema": _DRAFT, "$id": f"urn:filterlens:schema:{name}:{SCHEMAS[name]}"}
    return head | _MAKERS[name]()


def _scores() -> Schema:
    from filterlens.score import COLUMNS

    kinds: dict[str, Schema] = {"str": {"type": "string"}, "float64": {"type": ["number", "null"]}}
    row = _object({name: kinds[kind] | {"description": _COLUMNS[name]} for name, kind in COLUMNS.items()}, COLUMNS)
    return {"title": "Scores: rows of scores.parquet", "type": "array", "items": row}


def _ledger() -> Schema:
    from filterlens.runs.ledger import LedgerRow

    return {"title": "Ledger: one line of ledger.jsonl"} | _of_class(LedgerRow)


def _check() -> Schema:
    from filterlens.commands.bounds import BoundCheck
    from filterlens.commands.check import CheckError, WeightCheck

    common = {
        "passed": {"type": "boolean", "description": "Whether the checkpoint passes it."},
        "text": {"type": "string", "description": "The result in one line."},
    }
    properties: Schema = {}
    for kind in (BoundCheck, WeightCheck, CheckError):
        for name, found in _of_class(kind)["properties"].items():
            properties.setdefault(name, _nullable(found) if name not in {"name", *common} else found)
    row = _object(properties | common, ("name", *common))
    note = "A bound has metric, side, bound, value and layer; null is what a result of another kind does not have."
    return {"title": "What `filterlens check --format json` prints", "description": note, "type": "array", "items": row}


def _run() -> Schema:
    from filterlens.lens import RunSettings, all_lenses
    from filterlens.runs.config import NEVER_IN_FILE, WHAT, RunConfig

    settings: Schema = _of_class(RunConfig, WHAT)["properties"] | _of_class(RunSettings)["properties"]
    run = {name: _in_toml(found) for name, found in settings.items() if name not in NEVER_IN_FILE}
    lenses = {
        lens.name: _object({name: _in_toml(found) for name, found in _of_class(lens.options)["properties"].items()})
        | {"description": lens.summary, "additionalProperties": False}
        for lens in all_lenses().values()
    }
    texts = {"type": "object", "additionalProperties": {"type": "string"}}
    tables = {
        "run": _object(run) | {"additionalProperties": False},
        "lenses": _object(lenses) | {"additionalProperties": False},
        "content": texts | {"description": "Digests of what settings name."},
        "versions": texts | {"description": "Versions that may change a number; for readers."},
    }
    return {"title": "Configuration: run.toml"} | _object(tables) | {"additionalProperties": False}


def _catalog() -> Schema:
    from filterlens.catalogs import Entry

    made = _of_class(Entry)
    channels = {"type": "string", "description": "One number a channel, separated by blanks; empty with the other."}
    properties = made["properties"] | {"mean": channels, "std": channels}
    row = made | {"properties": properties, "additionalProperties": False}
    return {"title": "Catalog: one row a model", "type": "array", "items": row}


_MAKERS: Final[Mapping[str, Callable[[], Schema]]] = {
    "catalog": _catalog,
    "check": _check,
    "ledger": _ledger,
    "run": _run,
    "scores": _scores,
}


def _object(properties: Mapping[str, Any], required: Iterable[str] = ()) -> Schema:
    made: Schema = {"type": "object", "properties": dict(properties)}
    return made | ({"required": list(required)} if required else {})


def _of_class(kind: Any, names: Sequence[str] = ()) -> Schema:  # noqa: ANN401 - a dataclass, or a model of pydantic
    """Return the schema of a class's fields, or of some, described as its docstring or its options' help does."""
    from pydantic import TypeAdapter

    hints = {name: hint for name, hint in get_type_hints(kind).items() if name in names}
    whole = {} if names else TypeAdapter(kind).json_schema()
    found = whole.get("properties") or {name: TypeAdapter(hints[name]).json_schema() for name in names}
    said = _described(kind.__doc__ or "")
    if is_dataclass(kind):
        said |= {one.name: one.metadata["help"] for one in fields(kind) if "help" in one.metadata}
    properties = {}
    for name, one in found.items():
        plain = {key: value for key, value in one.items() if key not in {"title", "default"}}
        properties[name] = plain | ({"description": said[name]} if name in said else {})
    return _object(properties, whole.get("required", ()))


def _described(docstring: str) -> dict[str, str]:
    """Read the descriptions of parameters, of which several may share one."""
    found: dict[str, str] = {}
    for names, said in re.findall(r"^(\w+(?:, \w+)*)\n((?:    .*\n?)+)", cleandoc(docstring), re.MULTILINE):
        found |= dict.fromkeys(names.split(", "), " ".join(said.split()))
    return found


def _nullable(found: Schema) -> Schema:
    kind = found.get("type")
    return found | {"type": [kind, "null"]} if isinstance(kind, str) else found


def _in_toml(found: Schema) -> Schema:
    """TOML has no null: the text `none` stands for it."""
    choices = [
        {"const": "none"} if one == {"type": "null"} else {"type": one["type"]} for one in found.get("anyOf", ())
    ]
    return found | {"anyOf": choices} if choices else found
