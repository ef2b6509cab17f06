"""Studies: a paper's experiment from training to claims, as one command."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from filterlens.errors import InputError
from filterlens.process.extras import require_audit

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["StudyOutcome", "study_filters", "study_flatness", "study_manifold"]


@dataclass(frozen=True, slots=True, eq=False)
class StudyOutcome:
    """A finished study: its folder, its report's page, and a paper's claims beside what was measured."""

    folder: Path
    page: Path
    claims: pd.DataFrame


def study_manifold(
    preset: str = "small",
    folder: str | Path | None = None,
    *,
    jobs: int = 2,
    device: str = "cpu",
    listener: Callable[[str, int, int], None] = lambda *_: None,
) -> StudyOutcome:
    """Train the networks of Stutz et al. 2019 on FONTS, attack them, and hold the claims to the numbers.

    Parameters
    ----------
    preset
        `small` (under 15 minutes on two cores) or `full` (for a GPU).
    folder
        The study's; `reports/study-manifold-PRESET` where None. What a stopped study left is gone on with.
    jobs
        Networks trained and attacked at a time.
    device
        `cpu`, `cuda`, …
    listener
        Called as `listener(what, done, total)`, counted in networks.

    Raises
    ------
    InputError
        There is no such preset or device, or the folder holds another study's trainings.

    Examples
    --------
    >>> import filterlens
    >>> filterlens.study_manifold("small", "reports/study").claims  # doctest: +SKIP
    """
    require_audit()
    from filterlens.studies.manifold import PRESETS, run_study

    place = Path("reports") / f"study-manifold-{preset}" if folder is None else Path(folder)
    page = run_study(_preset(PRESETS, preset), place, jobs=jobs, device=device, listener=listener)
    return _outcome(place, page)


def study_flatness(
    preset: str = "small",
    folder: str | Path | None = None,
    *,
    jobs: int = 2,
    device: str = "cpu",
    listener: Callable[[str, int, int], None] = lambda *_: None,
) -> StudyOutcome:
    """Train networks by the methods of Stutz et al. 2021, and hold flatness of the robust loss to the robust gap.

    Parameters
    ----------
    preset
        `small` (FONTS, within an hour on two cores) or `full` (CIFAR-10, for a GPU).
    folder
        The study's; `reports/study-flatness-PRESET` where None. What a stopped study left is gone on with.
    jobs, device, listener
        As for `study_manifold`.

    Raises
    ------
    InputError
        There is no such preset or device, or the folder holds another study's trainings.

    Examples
    --------
    >>> import filterlens
    >>> filterlens.study_flatness("small", "reports/flat").claims  # doctest: +SKIP
    """
    require_audit()
    from filterlens.studies.flatness import PRESETS, run_flatness_study

    place = Path("reports") / f"study-flatness-{preset}" if folder is None else Path(folder)
    page = run_flatness_study(_preset(PRESETS, preset), place, jobs=jobs, device=device, listener=listener)
    return _outcome(place, page)


Preset = TypeVar("Preset")


def _preset(presets: Mapping[str, Preset], name: str) -> Preset:
    if name not in presets:
        raise InputError(f"there is no preset {name!r}: choose one of {', '.join(presets)}")
    return presets[name]


def _outcome(folder: Path, page: Path) -> StudyOutcome:
    import pandas as pd

    return StudyOutcome(folder, page, pd.read_csv(folder / "claims.csv", keep_default_na=False, na_values=[""]))


def study_filters(folder: str | Path) -> pd.DataFrame:
    """Compute the numbers of Gavrikov & Keuper 2022 for a run, and write them to its `numbers.csv`.

    Parameters
    ----------
    folder
        An analysed run's.

    Returns
    -------
        Columns `quantity`, `dataset`, `models`, `value`, `n` and `published`.

    Raises
    ------
    ReportError
        The run has not been analysed, or has no scores of filters.

    Examples
    --------
    >>> import filterlens
    >>> filterlens.study_filters("runs/paper")  # doctest: +SKIP
    """
    require_audit()
    from filterlens.studies.filters import write_filter_numbers

    return write_filter_numbers(Path(folder))[0]
