"""The data set as a catalog, whose sources are its models."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from filterlens.catalogs import Catalog, Entry
from filterlens.errors import CatalogError, CheckpointError
from filterlens.filterdb.database import FilterDatabase, Model

__all__ = ["SCHEME", "database_catalog", "read_pairs"]

SCHEME: Final = "filterdb"
_MAX_BYTES: Final = 64 << 20


def database_catalog(path: Path, pairs: dict[str, str] | None = None) -> Catalog:
    """Turn a data set into a catalog.

    Parameters
    ----------
    path
        `dataset.h5`.
    pairs
        Name of the normal model by name of the robust one (see `read_pairs`).

    Returns
    -------
        One row a model, in the file's order. A model that nobody annotated has no `robust`.

    Raises
    ------
    CheckpointError, UnsafeCheckpointError
        See `FilterDatabase`.
    CatalogError
        A pair names a model that is not in the file.
    """
    pairs = pairs or {}
    with FilterDatabase(path) as database:
        models = database.models
    known = {model.name for model in models}
    strange = next((name for pair in pairs.items() for name in pair if name not in known), None)
    if strange is not None:
        raise CatalogError(f"--pairs names {strange!r}, which {path} does not hold; it holds {_some(known)}")
    place = path.resolve()
    entries = tuple(_entry(model, place, pairs.get(model.name, "")) for model in models)
    stems: dict[str, str] = {}
    for entry in entries:
        other = stems.setdefault(entry.file_stem.casefold(), entry.model_id)
        if other != entry.model_id:
            raise CheckpointError(f"{path}:/meta: the models {other!r} and {entry.model_id!r} would share a file name")
    return Catalog(path.stem, entries, place.parent)


def _entry(model: Model, path: Path, match: str) -> Entry:
    facts = model.facts
    robust = _boolean(facts.get("Robust"))
    try:
        return Entry.model_validate(
            {
                "model_id": model.name,
                "source": f"{SCHEME}:{path}#{model.number}",
                "dataset": str(facts.get("Training-Dataset", "")),
                "threat_model": "Linf" if robust and "_linf_" in f"{model.name}_" else "",
                "architecture": str(facts.get("Network", facts.get("Backbone", ""))),
                "robust": True if match else robust,
                "match": match,
                "match_rule": "exact" if match else "",
                "clean_acc": _percent(facts.get("Clean Accuracy")),
                "robust_acc": _percent(facts.get("Robust Accuracy")),
                "paper": str(facts.get("Paper", "")),
            }
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise CheckpointError(
            f"{path}:/meta: model {model.number} ({model.name}) cannot be a row of a catalog: {first['loc'][0]}: "
            f"{first['msg'].removeprefix('Value error, ')}"
        ) from error


def _boolean(value: object) -> bool | None:
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.strip().casefold())
    return bool(value) if isinstance(value, bool | int | float) and value in {0, 1} else None


def _percent(value: object) -> float | None:
    try:
        found = float(str(value))
    except ValueError:
        return None
    return found if math.isfinite(found) and 0 <= found <= 100 else None


def read_pairs(path: Path) -> dict[str, str]:
    """Read a table of pairs: a CSV file with the columns `Robust` and `Normal`.

    Returns
    -------
        Name of the normal model by name of the robust one.

    Raises
    ------
    CatalogError
        It cannot be read, lacks a column, or pairs a model twice.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise CatalogError(f"{path} is larger than {_MAX_BYTES >> 20} MB: that is no table of pairs")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogError(f"{path} cannot be read as a table of pairs ({error})") from error
    pairs: dict[str, str] = {}
    try:
        reader = csv.DictReader(text.splitlines(), strict=True)
        if not {"Robust", "Normal"} <= set(reader.fieldnames or ()):
            raise CatalogError(f"{path} needs the columns Robust and Normal, which name the models of a pair")
        for row in reader:
            robust, normal = (row["Robust"] or "").strip(), (row["Normal"] or "").strip()
            if not robust or not normal:
                raise CatalogError(f"{path}, line {reader.line_num}: a pair names two models")
            if pairs.setdefault(robust, normal) != normal:
                raise CatalogError(f"{path}, line {reader.line_num}: {robust!r} already has a normal model")
    except csv.Error as error:
        raise CatalogError(f"{path} is not valid CSV ({error})") from error
    return pairs


def _some(names: set[str]) -> str:
    return ", ".join(sorted(names)[:3]) + (", …" if len(names) > 3 else "")
