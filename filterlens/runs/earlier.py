"""What a run's folder holds already: whether another run belongs to it, and how it is taken away."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Final, Literal

from filterlens.catalogs import Catalog, Entry, read_catalog
from filterlens.errors import CatalogError, InputError
from filterlens.lens import get_lens
from filterlens.runs.config import RunConfig
from filterlens.runs.ledger import LedgerRow
from filterlens.runs.parts import list_parts, part_paths

__all__ = ["Existing", "check_belongs", "joined", "read_earlier", "remove_run"]

Existing = Literal["refuse", "extend", "replace"]
"""What becomes of a run that a folder holds, where another does not belong to it."""
Ledgered = Mapping[tuple[str, str], LedgerRow]

_FILES: Final = (
    "scores.parquet",
    "pooled.h5",
    "summaries.h5",
    "analysis.json",
    "ledger.jsonl",
    "run.toml",
    "index.html",
    "lock.csv",
)
_REPORTED: Final = re.compile(r"(tables|figures)/[\w-][\w.-]*")


def read_earlier(folder: Path) -> RunConfig | None:
    """Read the configuration of the run that a folder holds; None where there is none.

    Raises
    ------
    InputError
        It cannot be read.
    """
    path = folder / "run.toml"
    if not path.is_file() or not (folder / "catalog.csv").is_file():
        return None
    try:
        return RunConfig.read(path, allow_code=True)  # it is compared, and never run
    except InputError as error:
        raise InputError(f"{error}; give --replace to start anew, or choose another folder with --out") from error


def check_belongs(
    catalog: Catalog,
    folder: Path,
    config: RunConfig,
    models: Mapping[str, str],
    known: Ledgered,
    *,
    extend: bool,
) -> None:
    """Refuse a run that does not belong to what a folder holds.

    Models may be added to a catalog, and lenses to a run; another catalog, other options, another seed and other
    images make another run.

    Parameters
    ----------
    catalog, config
        Of the run.
    folder
        Its folder.
    models
        The models' part of its keys, by model.
    known
        The folder's ledger.
    extend
        The user wants to add to another run; the same name must stand for the same model all the same.

    Raises
    ------
    CatalogError
        A model of the folder has the name of another one of the catalog.
    InputError
        The run is another; the message names what differs.
    """
    if not _holds_run(folder):
        return
    held = list(read_catalog(folder / "catalog.csv"))
    earlier = read_earlier(folder)
    _check_names(catalog, folder, held, models, known, other=earlier is not None and _is_other(earlier, config))
    if extend:
        return
    differences = [*_missing(catalog, held), *([] if earlier is None else _options(earlier, config))]
    if differences:
        said = "; ".join(differences[:4]) + (f"; and {len(differences) - 4} more" if len(differences) > 4 else "")
        raise InputError(
            f"{folder} holds another run: {said}: give --extend to add to it, --replace to start anew, or choose "
            "another folder with --out"
        )


def joined(earlier: RunConfig | None, config: RunConfig) -> RunConfig:
    """Return what a folder holds after a run has been added: the lenses and models of both."""
    if earlier is None:
        return config
    models = tuple(dict.fromkeys((*earlier.models, *config.models))) if earlier.models and config.models else ()
    return replace(
        config,
        models=config.models if _is_other(earlier, config) else models,
        style=config.style or earlier.style,
        lenses={**earlier.lenses, **config.lenses},
        content={**earlier.content, **config.content},
    )


def remove_run(folder: Path, catalog: Catalog) -> None:
    """Remove the run that a folder holds: what filterlens wrote, and nothing else.

    The file of the catalog that is run next stays where it lies in that folder itself.
    """
    if not _holds_run(folder):
        return
    held = read_catalog(folder / "catalog.csv")
    parts = [str(path.relative_to(folder)) for number in list_parts(folder) for path in part_paths(folder, number)]
    dumps = (f"dumps/{entry.file_stem}.h5" for entry in held)
    names = [*_FILES, *dumps, *parts, *_reported(folder), "report.json"]
    own = catalog.folder.resolve() == folder.resolve()
    for name in names if own else [*names, "catalog.csv"]:  # the last says that there is a run
        if (folder / name).is_file():
            (folder / name).unlink()


def _holds_run(folder: Path) -> bool:
    """Whether a catalog is a run's, and not one that somebody keeps there."""
    return (folder / "catalog.csv").is_file() and any(
        (folder / name).is_file() for name in ("ledger.jsonl", "run.toml")
    )


def _reported(folder: Path) -> Iterator[str]:
    try:
        listed = json.loads((folder / "report.json").read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return
    yield from (name for name in listed if isinstance(name, str) and _REPORTED.fullmatch(name))


def _check_names(
    catalog: Catalog, folder: Path, held: list[Entry], models: Mapping[str, str], known: Ledgered, *, other: bool
) -> None:
    """Refuse two models of one name; a file of the same name that was written anew is the same model."""
    now = {entry.model_id: entry for entry in catalog}
    for entry in held:
        new = now.get(entry.model_id)
        if new is None or (new.source == entry.source and not other):
            continue
        rows = [row for (model_id, _), row in known.items() if model_id == entry.model_id]
        same = any(row.key.partition("-")[0] == models[entry.model_id] for row in rows)
        if not same and (new.source != entry.source or rows):
            of = "" if new.source != entry.source else f" of {catalog.name}"
            raise CatalogError(
                f"{folder} holds a run in which {entry.model_id!r} is {entry.source}, not {new.source}{of}: give it "
                "another name, give --replace to start anew, or choose another folder with --out"
            )


def _is_other(earlier: RunConfig, config: RunConfig) -> bool:
    return (earlier.leaderboard, earlier.checkpoints) != (config.leaderboard, config.checkpoints)


def _missing(catalog: Catalog, held: list[Entry]) -> Iterator[str]:
    whole = Catalog(catalog.name, catalog.chosen_from or catalog.entries, catalog.folder)
    lost = [entry.model_id for entry in held if whole.get(entry.model_id) is None]
    if lost:
        some = ", ".join(lost[:3]) + (", …" if len(lost) > 3 else "")
        yield f"{len(lost)} of its {len(held)} models ({some}) are not in {catalog.name}"


def _options(earlier: RunConfig, config: RunConfig) -> Iterator[str]:
    """Say what differs in how models are looked at, for the lenses that both have."""
    common = [name for name in config.lenses if name in earlier.lenses]
    for lens in common:
        old, new = earlier.lenses[lens], config.lenses[lens]
        for known in fields(new):
            name = known.name
            was, now = getattr(old, name), getattr(new, name)
            place = f"{lens}.{name}"
            same_content = place in earlier.content and earlier.content[place] == config.content.get(place)
            if was != now and not same_content:
                yield f"{lens}: {name} was {was!r}, not {now!r}"
    if any(get_lens(name).needs_images for name in common):
        yield from _images(earlier, config)


def _images(earlier: RunConfig, config: RunConfig) -> Iterator[str]:
    if earlier.settings.seed != config.settings.seed:
        yield f"seed was {earlier.settings.seed}, not {config.settings.seed}"
    places = [(run.settings.data, run.settings.fonts) for run in (earlier, config)]
    old, new = ({n: d for n, d in run.content.items() if n.partition(".")[0] == "data"} for run in (earlier, config))
    if places[0][0] and places[1][0]:  # one for every data set
        changed = set(old.values()) != set(new.values())
    else:
        changed = any(old.get(name, digest) != digest for name, digest in new.items())
    if places[0] != places[1] and changed:
        texts = [f"{data or 'the catalog'}{f' with {fonts}' if fonts else ''}" for data, fonts in places]
        yield f"images were those of {texts[0]}, not of {texts[1]}"
