"""What a report is made from: scores, catalog, ledger, and for a few pictures the dumps."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import pandas as pd

from filterlens.catalogs import Catalog, read_catalog
from filterlens.dumps import DumpGroup, DumpReader
from filterlens.errors import DumpError, ReportError
from filterlens.report.kernels import by_kernel_size
from filterlens.runs.distinct import distinct_of_run
from filterlens.runs.folder import check_folder
from filterlens.runs.ledger import Ledger, LedgerRow
from filterlens.runs.parts import read_part_parameters
from filterlens.score import model_scores, read_scores

__all__ = ["RunData", "read_run", "style_of_run"]


@dataclass(frozen=True, slots=True, eq=False)
class RunData:
    """A finished audit's folder, read.

    Parameters
    ----------
    folder
        The run's folder.
    catalog
        The rows that were run.
    scores
        The tidy score table (see `filterlens.score`).
    ledger
        One row a job (model x lens), the latest only: `model_id`, `lens`, `status`, `reason`, `seconds`, …
    duplicates
        Which models are left out because their weights are another's, in a sentence; empty where none is.
    opened
        Models whose dumps were opened, in order.
    first_stage_pair
        The robust model whose first stage is drawn, beside its normal one's; empty: the first pair.
    style
        Preset of the figures, one of `filterlens.report.style.STYLES`; empty: `plain`.
    """

    folder: Path
    catalog: Catalog
    scores: pd.DataFrame
    ledger: pd.DataFrame
    duplicates: str = ""
    opened: list[str] = field(default_factory=list)
    first_stage_pair: str = ""
    style: str = ""
    _made: dict[str, Any] = field(init=False, repr=False, default_factory=dict)  # once, as figures ask for it again

    def without(self, model_id: str) -> RunData:
        """Return the run without one model."""
        entries = tuple(entry for entry in self.catalog if entry.model_id != model_id)
        return replace(
            self,
            catalog=Catalog(self.catalog.name, entries, self.catalog.folder),
            scores=self.scores[self.scores["model_id"] != model_id],
            opened=[],
        )

    @property
    def faults(self) -> tuple[str, ...] | None:
        """Dead, constant and non-finite layers of all models; None where the weights of one were not examined."""
        done = self.ledger[self.ledger["status"] == "ok"]
        if done.empty or (done["weights_sha256"] == "").any():
            return None
        return tuple(dict.fromkeys(fault for faults in done["faults"] for fault in faults))

    @property
    def models(self) -> pd.DataFrame:
        """One row a model: the catalog's columns, then its mean of every metric, by filter size. Index `model_id`."""
        if "models" not in self._made:
            facts = pd.DataFrame([entry.model_dump() for entry in self.catalog]).set_index("model_id")
            self._made["models"] = facts.join(model_scores(self.sized_scores))
        models: pd.DataFrame = self._made["models"]
        return models.copy(deep=False)

    @property
    def sized_scores(self) -> pd.DataFrame:
        """The score table, in which scores of filters of another size than 3x3 are named by it."""
        if "sized_scores" not in self._made:
            self._made["sized_scores"] = by_kernel_size(self.scores)
        scores: pd.DataFrame = self._made["sized_scores"]
        return scores

    @property
    def parameters_in_parts(self) -> dict[tuple[str, str], dict[str, Any]]:
        """How each lens looked at each model that lies many to a file (see `filterlens.runs.parts`)."""
        if "parts" not in self._made:
            self._made["parts"] = read_part_parameters(self.folder)
        found: dict[tuple[str, str], dict[str, Any]] = self._made["parts"]
        return found

    def lens_scores(self, lens: str) -> pd.DataFrame:
        """Rows of one lens."""
        return self.scores[self.scores["lens"] == lens]

    @contextmanager
    def dump(self, model_id: str) -> Iterator[DumpReader]:
        """Open one model's dump."""
        self.opened.append(model_id)
        path = self.folder / "dumps" / f"{self.catalog[model_id].file_stem}.h5"
        if not path.is_file():  # cheap, where thousands of models have none
            raise DumpError(f"{path} is missing: extract again")
        with DumpReader(path) as reader:
            yield reader

    @contextmanager
    def pooled(self, lens: str) -> Iterator[DumpGroup | None]:
        """Open what a lens computed over all models together, or None where there is nothing."""
        path = self.folder / "pooled.h5"
        if not path.is_file():
            yield None
            return
        with DumpReader(path) as reader:
            yield reader.lens(lens) if lens in reader.lenses else None


def read_run(folder: Path, *, every: bool = False) -> RunData:
    """Read an audit's folder.

    Parameters
    ----------
    folder
        The run's.
    every
        Models with the same weights too; otherwise each set of weights is there once, under one name.

    Raises
    ------
    ReportError
        It is not an audit's folder, or the analysis has not been run.
    """
    check_folder(folder)
    if not (folder / "catalog.csv").is_file():
        raise ReportError(f"{folder} is not an audit's folder: it has no catalog.csv")
    catalog = read_catalog(folder / "catalog.csv")
    known = {entry.model_id for entry in catalog}
    scores = read_scores(folder / "scores.parquet")
    scores = scores[scores["model_id"].isin(known)]
    ledger = read_ledger(folder / "ledger.jsonl")
    ledger = ledger[ledger["model_id"].isin(known)]
    run = RunData(folder=folder, catalog=catalog, scores=scores, ledger=ledger, style=style_of_run(folder))
    return run if every else _distinct(run)


def style_of_run(folder: Path) -> str:
    """Return the preset of figures that a run's `run.toml` names; empty where it names none."""
    try:
        named = tomllib.loads((folder / "run.toml").read_text(encoding="utf-8"))["run"]["style"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""  # as in the folder of imported scores; an audit that goes on tells what is wrong with the file
    return named if isinstance(named, str) else ""


def _distinct(run: RunData) -> RunData:
    """Keep one model of each set of weights; the ledger keeps every job."""
    digests = dict(zip(run.ledger["model_id"], run.ledger["weights_sha256"], strict=True))
    distinct = distinct_of_run(run.catalog, digests, run.scores)
    return replace(
        run,
        catalog=Catalog(run.catalog.name, distinct.entries, run.catalog.folder),
        scores=run.scores[~run.scores["model_id"].isin(distinct.stand_ins)],
        duplicates=distinct.note,
    )


def read_ledger(path: Path) -> pd.DataFrame:
    """Read the latest line of every job; torn and foreign lines are passed over."""
    rows = Ledger(path).latest().values()
    return pd.DataFrame({known.name: [getattr(row, known.name) for row in rows] for known in fields(LedgerRow)})
