"""The scores of one checkpoint, or of a finished audit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pandas as pd

from filterlens.catalogs import Catalog, catalog_names, load_catalog
from filterlens.catalogs.trajectories import checkpoint_entry
from filterlens.commands.audit import choose_lenses
from filterlens.commands.memory import as_catalog, name_of, with_images
from filterlens.errors import CheckpointError, InputError
from filterlens.lens import Options, RunSettings, all_lenses
from filterlens.loaders import parse_source
from filterlens.process.files import is_file
from filterlens.process.printable import printable
from filterlens.report import read_run
from filterlens.runs import analyze, extract
from filterlens.runs.folder import check_folder
from filterlens.runs.ledger import LedgerRow

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Scored", "carries_its_own", "score_one_model", "score_source"]


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """Models with their scores, and what else a command wants to know of them.

    Parameters
    ----------
    scores
        The tidy score table (see `filterlens.score`).
    catalog
        The models' rows.
    faults
        The dead, constant and non-finite layers of all models together; None where nobody looked at the weights.
    left_out
        Lenses that do not apply, and why, in a sentence each.
    """

    scores: pd.DataFrame
    catalog: Catalog
    faults: tuple[str, ...] | None
    left_out: tuple[str, ...] = ()


def score_source(
    source: str | Path | nn.Module,
    *,
    arch: str = "",
    eps: str | float = "",
    mean: str | Sequence[float] = "",
    std: str | Sequence[float] = "",
    lenses: Sequence[str] | Mapping[str, Options] = ("filters",),
    fast: bool = True,
    settings: RunSettings | None = None,
    leave_out: bool = False,
    **options: object,
) -> Scored:
    """Score one checkpoint, or read the scores of an audited run's folder.

    Parameters
    ----------
    source
        A source URI or path (see `filterlens.loaders`), a catalog's model as `CATALOG/MODEL_ID`, the folder of a
        finished audit, or a network in memory. CATALOG is the name of a shipped one or the path of a CSV file.
    arch
        What the weights of a file fill: `timm:NAME`, `torchvision:NAME`, `module:package.mod:factory`, `bundled:NAME`.
    eps, mean, std
        L∞ radius of attacks, and normalisation of the input, one number a channel. They and `arch` go with a
        checkpoint; a catalog says them in its columns.
    lenses, fast, settings, options
        As for `filterlens.extract`, and `images` in memory with their `labels`.
    leave_out
        Leave lenses out that do not apply, and say so; where none applies, all others take their place that need
        weights only. An error otherwise.

    Raises
    ------
    CheckpointError
        The model cannot be loaded or scored.
    CatalogError, InputError
        The catalog has no such model, or a value is wrong.
    """
    facts: dict[str, Any] = {"architecture": arch, "eps": eps, "mean": mean, "std": std}
    with ExitStack() as stack:
        place = Path(stack.enter_context(TemporaryDirectory(prefix="filterlens-")))
        given, settings = stack.enter_context(with_images(options, settings, place))
        chosen = choose_lenses(lenses, given, fast=fast)
        if not isinstance(source, str | Path):
            catalog = stack.enter_context(as_catalog(source, facts))
            return _score(catalog, name_of(source), chosen, settings, place, leave_out=leave_out)
        if carries_its_own(source) and any(facts.values()):
            raise InputError(
                "--arch, --eps, --mean and --std go with a checkpoint; "
                f"{source} carries its own, in its catalog's columns"
            )
        if _is_run(source):
            check_folder(Path(source))
            run = read_run(Path(source), every=True)
            return Scored(run.scores, run.catalog, run.faults)
        catalog = _listed(str(source)) or _one_model(str(source), facts)
        if str(source).startswith("module:") or arch.startswith("module:"):  # the caller's own word, not a catalog's
            settings = replace(settings or RunSettings(), allow_code=True)
        return _score(catalog, str(source), chosen, settings, place, leave_out=leave_out)


def _score(
    catalog: Catalog,
    source: str,
    chosen: Mapping[str, Options],
    settings: RunSettings | None,
    place: Path,
    *,
    leave_out: bool,
) -> Scored:
    """Score a catalog's one model, in a temporary folder."""
    outcome = extract(catalog, place / "run", lenses=chosen, settings=settings)
    missed = [row for row in outcome.rows if row.status != "ok"]
    failed = [row for row in missed if row.status != "skipped" or not leave_out]
    if not failed and len(missed) == len(outcome.rows):
        outcome = extract(catalog, place / "others", lenses=_others(chosen), settings=settings)
        missed += [row for row in outcome.rows if row.status != "ok"]
        failed = [] if any(row.status == "ok" for row in outcome.rows) else missed
    if failed:
        raise CheckpointError(f"{source}: {failed[0].lens}: {failed[0].reason}")
    left_out = _left_out(missed, catalog.entries[0].model_id) if missed else ()
    return Scored(analyze(outcome.folder, pooled=False), catalog, outcome.rows[0].faults, left_out)


def _others(chosen: Mapping[str, Options]) -> dict[str, Options]:
    """Return the lenses that need weights only, without those that were chosen."""
    lenses = all_lenses().values()
    return {lens.name: lens.options() for lens in lenses if not lens.needs_images and lens.name not in chosen}


def _left_out(missed: Sequence[LedgerRow], model_id: str) -> tuple[str, ...]:
    """Say which lenses do not apply and why; of those that were not asked for, only what they would need."""
    said = [f"the {row.lens} lens does not apply: {row.reason.removeprefix(f'{model_id} ')}" for row in missed]
    asked = {row.lens for row in missed}
    running = [lens.name for lens in all_lenses().values() if lens.needs_images and lens.name not in asked]
    if running:
        said.append(f"{', '.join(running)}: need images, and a network that takes them")
    return tuple(said)


def carries_its_own(source: str | Path | nn.Module) -> bool:
    """Whether a source is a catalog's model or an audited run, whose normalisation is said there."""
    if not isinstance(source, str | Path):
        return False
    return _is_run(source) or _catalog_of(str(source)) is not None


def _is_run(source: str | Path) -> bool:
    return is_file(Path(source) / "scores.parquet")


def _catalog_of(source: str) -> tuple[str, str] | None:
    """Split `CATALOG/MODEL_ID`, where the catalog is a shipped one or a CSV file that is there."""
    shipped, _, model_id = source.partition("/")
    if model_id and shipped in catalog_names():
        return shipped, model_id
    path, found, model_id = source.partition(".csv/")
    return (f"{path}.csv", model_id) if found and model_id and is_file(Path(f"{path}.csv")) else None


def _listed(source: str) -> Catalog | None:
    """Return a catalog of the one model that `CATALOG/MODEL_ID` names, or None where the source is something else."""
    named = _catalog_of(source)
    if named is None:
        return None
    catalog = load_catalog(named[0])
    return Catalog(catalog.name, (catalog[named[1]].model_copy(update={"match": ""}),), catalog.folder)


def _one_model(source: str, facts: Mapping[str, Any]) -> Catalog:
    parsed = parse_source(source)
    if facts["architecture"] and parsed.scheme != "file":
        raise InputError(f"--arch goes with a file of weights; {source} names its own network")
    name = printable(source.rstrip("/").rsplit("/", 1)[-1] or source)[:300]
    path = parsed.rest if parsed.scheme == "file" else source
    return Catalog("one", (checkpoint_entry(name, path, **facts),), Path.cwd())


def score_one_model(source: str | Path | nn.Module, **how: Any) -> Scored:  # noqa: ANN401 - as `score_source` takes them
    """Score one checkpoint as `score_source`, and refuse a run of several.

    Raises
    ------
    InputError
        The source is the folder of a run of several models.
    """
    found = score_source(source, **how)
    models = found.scores["model_id"].nunique()
    if models != 1:
        raise InputError(f"{source} is a run of {models} models: name one checkpoint")
    return found
