"""The scores of one checkpoint, or of a finished audit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from filterlens.catalogs import Catalog, Entry, load_catalog, shipped_folder
from filterlens.commands.audit import choose_lenses
from filterlens.errors import CheckpointError, InputError
from filterlens.lens import Options, RunSettings
from filterlens.process.printable import printable
from filterlens.report import read_run
from filterlens.runs import analyze, extract

__all__ = ["Scored", "score_one_model", "score_source"]


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
    """

    scores: pd.DataFrame
    catalog: Catalog
    faults: tuple[str, ...] | None


def score_source(
    source: str | Path,
    *,
    lenses: Sequence[str] | Mapping[str, Options] = ("filters",),
    fast: bool = True,
    settings: RunSettings | None = None,
    **options: object,
) -> Scored:
    """Score one checkpoint, or read the scores of an audited run's folder.

    Parameters
    ----------
    source
        A source URI or path (see `filterlens.loaders`), a shipped catalog's model as `CATALOG/MODEL_ID`, or the
        folder of a finished audit.
    lenses, fast, settings, options
        As for `filterlens.extract`.

    Raises
    ------
    CheckpointError
        The model cannot be loaded or scored.
    """
    chosen = choose_lenses(lenses, options, fast=fast)
    if (Path(source) / "scores.parquet").is_file():
        run = read_run(Path(source), every=True)
        return Scored(run.scores, run.catalog, run.faults)
    catalog = _one_model(str(source))
    if str(source).startswith("module:"):  # the caller's own word, not a catalog's
        settings = replace(settings or RunSettings(), allow_code=True)
    with TemporaryDirectory(prefix="filterlens-") as folder:
        outcome = extract(catalog, Path(folder), lenses=chosen, settings=settings)
        missed = [row for row in outcome.rows if row.status != "ok"]
        if missed:
            raise CheckpointError(f"{source}: {missed[0].lens}: {missed[0].reason}")
        return Scored(analyze(Path(folder), pooled=False), catalog, outcome.rows[0].faults)


def _one_model(source: str) -> Catalog:
    shipped, _, model_id = source.partition("/")
    if model_id and (shipped_folder() / f"{shipped}.csv").is_file():
        catalog = load_catalog(shipped)
        return Catalog(catalog.name, (catalog[model_id].model_copy(update={"match": ""}),), catalog.folder)
    name = printable(source.rstrip("/").rsplit("/", 1)[-1] or source)[:300]
    return Catalog("one", (Entry(model_id=name, source=source),), Path.cwd())


def score_one_model(source: str | Path, **how: Any) -> Scored:  # noqa: ANN401 - as `score_source` takes them
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
