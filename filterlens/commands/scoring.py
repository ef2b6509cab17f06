"""The scores of one checkpoint, or of a finished audit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from filterlens.catalogs import Catalog, Entry, load_catalog, shipped_folder
from filterlens.commands.audit import choose_lenses
from filterlens.errors import CheckpointError, InputError
from filterlens.lens import Options, RunSettings
from filterlens.process.files import is_file
from filterlens.process.printable import printable
from filterlens.runs import analyze, extract
from filterlens.runs.folder import check_folder
from filterlens.score import read_scores

__all__ = ["score_one_model", "score_source"]


def score_source(
    source: str | Path,
    *,
    lenses: Sequence[str] | Mapping[str, Options] = ("filters",),
    fast: bool = True,
    settings: RunSettings | None = None,
    **options: object,
) -> pd.DataFrame:
    """Score one checkpoint, or read the scores of an audited run's folder.

    Parameters
    ----------
    source
        A source URI or path (see `filterlens.loaders`), a shipped catalog's model as `CATALOG/MODEL_ID`, or the
        folder of a finished audit.
    lenses, fast, settings, options
        As for `filterlens.extract`.

    Returns
    -------
        The tidy score table (see `filterlens.score`).

    Raises
    ------
    CheckpointError
        The model cannot be loaded or scored.
    """
    chosen = choose_lenses(lenses, options, fast=fast)
    if is_file(Path(source) / "scores.parquet"):
        check_folder(Path(source))
        return read_scores(Path(source) / "scores.parquet")
    catalog = _one_model(str(source))
    if str(source).startswith("module:"):  # the caller's own word, not a catalog's
        settings = replace(settings or RunSettings(), allow_code=True)
    with TemporaryDirectory(prefix="filterlens-") as folder:
        outcome = extract(catalog, Path(folder), lenses=chosen, settings=settings)
        missed = [row for row in outcome.rows if row.status != "ok"]
        if missed:
            raise CheckpointError(f"{source}: {missed[0].lens}: {missed[0].reason}")
        return analyze(Path(folder), pooled=False)


def _one_model(source: str) -> Catalog:
    shipped, _, model_id = source.partition("/")
    if model_id and is_file(shipped_folder() / f"{shipped}.csv"):
        catalog = load_catalog(shipped)
        return Catalog(catalog.name, (catalog[model_id].model_copy(update={"match": ""}),), catalog.folder)
    name = printable(source.rstrip("/").rsplit("/", 1)[-1] or source)[:300]
    return Catalog("one", (Entry(model_id=name, source=source),), Path.cwd())


def score_one_model(source: str | Path, **how: Any) -> pd.DataFrame:  # noqa: ANN401 - as `score_source` takes them
    """Score one checkpoint as `score_source`, and refuse a run of several.

    Raises
    ------
    InputError
        The source is the folder of a run of several models.
    """
    scores = score_source(source, **how)
    models = scores["model_id"].nunique()
    if models != 1:
        raise InputError(f"{source} is a run of {models} models: name one checkpoint")
    return scores
