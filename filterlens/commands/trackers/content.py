"""What of a finished audit goes into a tracker: the run itself, and its models, or the trainings that they are of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from filterlens.catalogs import Entry
from filterlens.catalogs.trajectories import training_of
from filterlens.commands.provenance import config_of, plain, provenance_of
from filterlens.errors import ReportError
from filterlens.process.digests import combined_digest, file_digest
from filterlens.process.printable import printable
from filterlens.report import read_run
from filterlens.report.comparison import main_scores
from filterlens.report.data import RunData
from filterlens.report.trajectory import checkpoints
from filterlens.runs.config import RunConfig

__all__ = ["Audit", "Logged", "Subject", "read_audit"]

_AGAIN = "run `filterlens report` again"
_HEADER = 33  # bytes of a PNG file up to the end of its first part, which says its size
_FACTS = ("dataset", "threat_model", "eps", "architecture", "robust", "match", "clean_acc", "robust_acc")


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """What has a run of its own: a model, or a training whose checkpoints are its steps.

    Parameters
    ----------
    name
        The model's id, or the training's name.
    slug
        The same as a file name.
    facts
        What the catalog says, and the digest of the weights; of a training, what holds for all its checkpoints.
    steps
        The mean of every score, as `LENS/SCORE`, by epoch; by 0 for a model that is of no training.
    layers
        One row a layer (and epoch), one column a score.
    """

    name: str
    slug: str
    facts: Mapping[str, Any]
    steps: Mapping[int, Mapping[str, float]]
    layers: pd.DataFrame


@dataclass(frozen=True, slots=True, eq=False)
class Audit:
    """A finished audit, ready to be logged.

    Parameters
    ----------
    name
        As it is called in the tracker.
    digest
        SHA-256 of its scores, catalog and settings: tells whether a tracker has it already.
    settings
        Every option of the run and its lenses as plain values; paths by their last part.
    versions
        Of packages that may change a number, and digests of images: `data.fonts`.
    page
        The report.
    tables, figures
        Its tables as CSV files and its figures as PNG files, by name.
    subjects
        The models and trainings.
    """

    name: str
    digest: str
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    page: Path
    tables: Mapping[str, Path]
    figures: Mapping[str, Path]
    subjects: tuple[Subject, ...]

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.page.parent

    def table(self, name: str) -> pd.DataFrame:
        """Read one of its tables.

        Raises
        ------
        ReportError
            The file is damaged.
        """
        try:
            return pd.read_csv(self.tables[name])
        except (OSError, ValueError) as error:  # pandas' own errors are of these, too
            raise ReportError(f"{self.tables[name]} cannot be read as a table: {_AGAIN}") from error

    def image(self, figure: str) -> bytes:
        """Read one of its figures, a PNG file; it is not decoded.

        Raises
        ------
        ReportError
            The file is none.
        """
        try:
            content = self.figures[figure].read_bytes()
        except OSError as error:
            raise ReportError(f"{self.figures[figure]} cannot be read ({error.strerror})") from error
        if content[:8] != b"\x89PNG\r\n\x1a\n" or len(content) < _HEADER:
            raise ReportError(f"{self.figures[figure]} is no PNG file: {_AGAIN}")
        return content

    def caption(self, figure: str) -> str:
        """Return what a figure shows, in words."""
        path = self.figures[figure].with_suffix(".txt")
        return printable(path.read_text(encoding="utf-8", errors="replace")) if path.is_file() else figure


@dataclass(frozen=True, slots=True)
class Logged:
    """Where an audit is in a tracker.

    Parameters
    ----------
    place
        Such as `experiment filterlens of sqlite:///mlflow.db`.
    show
        The command, or what else there is to do, that shows it.
    runs
        How many runs of the tracker it is: itself, and one a model or training.
    written
        False where the tracker had the very same results already, and nothing was written.
    """

    place: str
    show: str
    runs: int
    written: bool = True


def read_audit(folder: Path, name: str = "") -> Audit:
    """Read a finished audit's folder.

    Parameters
    ----------
    folder
        The run's, with its report.
    name
        How it is to be called; the folder's name where empty.

    Raises
    ------
    ReportError
        It is no analysed run, or its report is missing or older than its scores.
    """
    run = read_run(folder, every=True)
    page = folder / "index.html"
    if not page.is_file() or page.stat().st_mtime < (folder / "scores.parquet").stat().st_mtime:
        raise ReportError(f"{folder} has no report of its scores: run `filterlens report {folder}` first")
    config = config_of(folder)
    files = [folder / name for name in ("scores.parquet", "catalog.csv", "run.toml")]
    return Audit(
        name=printable(name or folder.resolve().name),
        digest=combined_digest((path.name, file_digest(path)) for path in files if path.is_file()),
        settings=_settings(config),
        versions=_versions(run, config),
        page=page,
        tables=_files(folder / "tables", ".csv"),
        figures=_files(folder / "figures", ".png"),
        subjects=_subjects(run, config),
    )


def _files(folder: Path, suffix: str) -> dict[str, Path]:
    return {path.stem: path for path in sorted(folder.glob(f"*{suffix}"))}


def _settings(config: RunConfig) -> dict[str, Any]:
    settings = config.settings
    shared = {"leaderboard": config.leaderboard, "arch": config.arch, "seed": settings.seed, "device": settings.device}
    shared |= {"batch_size": settings.batch_size, "data": settings.data, "dumps": settings.dumps}
    own = {f"{lens}.{name}": value for lens, found in config.lenses.items() for name, value in found.plain().items()}
    return {name: plain(value) for name, value in (shared | own).items() if value not in (None, "")}


def _versions(run: RunData, config: RunConfig) -> dict[str, str]:
    made = [found for found in run.ledger["versions"] if found]
    versions = {f"version.{name}": str(text) for name, text in (made[-1] if made else {}).items()}
    return {name: printable(text) for name, text in (versions | dict(config.content)).items()}


def _subjects(run: RunData, config: RunConfig) -> tuple[Subject, ...]:
    """Return every training with its checkpoints, and every other model that has scores, in the catalog's order."""
    lenses = dict(zip(run.sized_scores["metric"], run.sized_scores["lens"], strict=True))
    shown = [score.name for score in main_scores(run)]
    means = run.models[[name for name in shown if name in run.models]].dropna(how="all").astype(float)
    training = checkpoints(run).set_index("model_id")["training"]
    groups: dict[str, list[Entry]] = {}
    for entry in run.catalog:
        if entry.model_id in means.index:
            group = f"training {training[entry.model_id]}" if entry.model_id in training else f"model {entry.model_id}"
            groups.setdefault(group, []).append(entry)
    subjects: dict[str, Subject] = {}
    for entries in groups.values():
        one = entries[0] if len(entries) == 1 else _training(entries[0], taken=subjects)
        steps = {entry.epoch or 0: means.loc[entry.model_id].dropna() for entry in entries}
        subjects[one.model_id] = Subject(
            name=printable(one.model_id),
            slug=one.file_stem,
            facts=_common([_facts(run, entry, config) for entry in entries]),
            steps={
                step: {f"{lenses[name]}/{name}": row[name] for name in row.index} for step, row in sorted(steps.items())
            },
            layers=_layers(run, entries, shown),
        )
    return tuple(subjects.values())


def _named(scores: pd.Series, lenses: Mapping[str, str]) -> dict[str, float]:
    return {f"{lenses[str(name)]}/{name}": float(value) for name, value in scores.items()}


def _training(first: Entry, taken: Mapping[str, Subject]) -> Entry:
    """Return a checkpoint's row under its training's name, or that of its folder, and a number where that is taken."""
    name = first.training or str(plain(training_of(first))) or "training"
    names = [name, *(f"{name}-{number}" for number in range(2, len(taken) + 3))]
    return first.model_copy(update={"model_id": next(one for one in names if one not in taken)})


def _facts(run: RunData, entry: Entry, config: RunConfig) -> dict[str, Any]:
    made = provenance_of(run, entry, config)
    known = {name: getattr(entry, name) for name in _FACTS}
    known |= {"weights_sha256": made.weights, "checkpoint_sha256": made.checkpoint, "images_digest": made.images}
    return {name: plain(value) for name, value in known.items() if value not in (None, "")}


def _common(facts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what all say alike."""
    first, *others = facts
    return {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}


def _layers(run: RunData, entries: list[Entry], shown: list[str]) -> pd.DataFrame:
    """One row a layer, and epoch where there are several models, with a column a score."""
    rows = run.sized_scores[run.sized_scores["layer"] != ""]
    rows = rows[rows["model_id"].isin([entry.model_id for entry in entries]) & rows["metric"].isin(shown)]
    epochs = {entry.model_id: entry.epoch for entry in entries}
    rows = rows.assign(epoch=rows["model_id"].map(epochs).astype("Int64"))
    keys = ["epoch", "lens", "layer", "kind"] if len(entries) > 1 else ["lens", "layer", "kind"]
    order = list(dict.fromkeys(rows[keys].itertuples(index=False, name=None)))
    wide = rows.pivot_table(index=keys, columns="metric", values="value", aggfunc="first", sort=False)
    columns = [name for name in shown if name in wide]
    return wide.reindex(pd.MultiIndex.from_tuples(order, names=keys) if order else wide.index)[columns].reset_index()
