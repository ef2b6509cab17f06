"""The library's front door: the Python twins of the commands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from filterlens.catalogs import Catalog, Entry
from filterlens.catalogs import load_catalog as _load_catalog

if TYPE_CHECKING:
    import pandas as pd

    from filterlens.loaders.model import LoadedModel
    from filterlens.pipeline import Outcome
    from filterlens.report.figures import Figure
    from filterlens.settings import Settings

__all__ = ["all_figures", "analyze", "audit", "extract", "load_model", "robust_vs_normal", "write_report"]


def load_model(source: str | Path | Entry, *, trust_pickle: bool = False, allow_code: bool = False) -> LoadedModel:
    """Load one model by its source URI, path or catalog entry.

    Parameters
    ----------
    source
        Such as `robustbench:cifar10/Linf/Wong2020Fast`, `timm:resnet50`, a path, or an `Entry`.
    trust_pickle
        Let the checkpoint run code; only for files that you made.
    allow_code
        Let an `Entry` whose source is `module:…` run code; a source given as text is your own word and needs none.

    Raises
    ------
    CheckpointError, DownloadError, InputError
        It cannot be loaded; the message says why and what to do.
    """
    from filterlens import loaders

    entry = source if isinstance(source, Entry) else Entry(model_id=Path(str(source)).name[:300], source=str(source))
    own = not isinstance(source, Entry)
    return loaders.load_model(entry, Path.cwd(), trust_pickle=trust_pickle, allow_code=allow_code or own)


def extract(
    leaderboard: str | Path | Catalog,
    folder: str | Path,
    *,
    lenses: Sequence[str] = ("filters",),
    settings: Settings | None = None,
) -> Outcome:
    """Write one HDF5 dump a model; see `filterlens.pipeline.extract`."""
    from filterlens import pipeline

    catalog = leaderboard if isinstance(leaderboard, Catalog) else _load_catalog(leaderboard)
    return pipeline.extract(catalog, Path(folder), lenses=lenses, settings=settings)


def analyze(folder: str | Path) -> pd.DataFrame:
    """Turn a run's dumps into the tidy score table; see `filterlens.pipeline.analyze`."""
    from filterlens import pipeline

    return pipeline.analyze(Path(folder))


def write_report(folder: str | Path, *, progress: Callable[[int, int], None] | None = None) -> Path:
    """Turn a run's scores into tables, figures and a page; return the page's path.

    Raises
    ------
    ReportError
        The folder holds no analysed run.
    """
    from filterlens import report

    return report.write_report(Path(folder), figures=all_figures(), progress=progress)


def all_figures() -> list[Figure]:
    """Return the figures of every lens, those of installed packages included, and its scores over a training."""
    from filterlens.lenses import all_lenses, resolve
    from filterlens.report.figures.trajectory import trajectory_figure

    lenses = all_lenses()
    named = (resolve(path) for lens in lenses.values() for path in lens.figures)
    own: list[Figure] = [figure for figures in named for figure in figures]  # type: ignore[attr-defined]
    return own + [trajectory_figure(name) for name in lenses]


def audit(
    leaderboard: str | Path | Catalog,
    folder: str | Path,
    *,
    lenses: Sequence[str] = ("filters",),
    settings: Settings | None = None,
) -> Path:
    """Extract, analyse and report in one go; return the report's path."""
    extract(leaderboard, folder, lenses=lenses, settings=settings)
    analyze(folder)
    return write_report(folder)


def robust_vs_normal(folder: str | Path) -> pd.DataFrame:
    """Compare robust models with their matched normal ones, one row a score, ready to print."""
    from filterlens import report
    from filterlens.report.data import read_run

    return report.robust_vs_normal(read_run(Path(folder)))
