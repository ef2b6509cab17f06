"""`audit`, `extract` and `analyze`: a whole catalog, from checkpoints to scores, and to a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace as replaced
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filterlens.catalogs import Catalog, load_catalog
from filterlens.commands.memory import in_memory, reaching
from filterlens.commands.progress import shown
from filterlens.commands.report import Progress, report
from filterlens.errors import InputError
from filterlens.lens import (
    Dumps,
    Options,
    RunSettings,
    all_lenses,
    get_lens,
    option_names,
    options_of,
    with_options,
)
from filterlens.runs.config import RunConfig

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from filterlens.runs import Event, Outcome
    from filterlens.runs.executors import Executor
    from filterlens.runs.ledger import LedgerRow

    Models = str | Path | Catalog | nn.Module | Mapping[str, nn.Module]

__all__ = ["analyze", "audit", "choose_lenses", "extract"]

Listener = Callable[["Event"], None]


def choose_lenses(
    names: Sequence[str] | Mapping[str, Options], given: Mapping[str, Any], *, fast: bool = False
) -> dict[str, Options]:
    """Return each lens's options: the paper's or the fast ones, those of `given` in their place.

    Parameters
    ----------
    names
        Of lenses; `["all"]` is every one. Options by name are taken as they are, but for those of `given`.
    given
        Options by name, such as `kernel` or `images`; each goes to every lens that has it.
    fast
        Fewer images, steps and restarts than the papers.

    Raises
    ------
    InputError
        A lens is unknown, or no chosen lens has such an option.
    """
    if isinstance(names, Mapping):
        options = {name: with_options(own, given) for name, own in names.items()}
    else:
        chosen = list(all_lenses().values()) if list(names) == ["all"] else [get_lens(name) for name in names]
        options = {lens.name: options_of(lens, given, fast=fast) for lens in chosen}
    for name in given:
        if not any(name in option_names(own) for own in options.values()):
            raise InputError(f"none of the lenses {', '.join(options)} has an option {name!r}")
    return options


def extract(
    leaderboard: Models,
    folder: str | Path | None = None,
    *,
    lenses: Sequence[str] | Mapping[str, Options] = ("filters",),
    models: Sequence[str] = (),
    fast: bool = False,
    settings: RunSettings | None = None,
    jobs: int = 1,
    executor: Executor | None = None,
    config: RunConfig | None = None,
    extend: bool = False,
    replace: bool = False,
    listener: Listener = lambda _: None,
    keep_tracebacks: bool = False,
    evict: bool = False,
    time_limit: float | None = None,
    style: str = "",
    dumps: Dumps | None = None,
    **options: object,
) -> Outcome:
    """Write one HDF5 dump a model; only what is missing or failed is done again.

    Parameters
    ----------
    leaderboard
        Name of a shipped catalog, path of a CSV file, or a `Catalog`; or a network in memory, or several by name.
    folder
        The run's folder; `reports/NAME` where None.
    lenses
        Their names, or their options by name.
    models
        Shell patterns of model ids; empty: all.
    fast
        Fewer images, steps and restarts than the papers.
    settings
        What all lenses share: seed, device, batch size, data.
    jobs
        Local processes.
    executor
        Instead of `jobs`: see `filterlens.runs.executors`.
    config
        Lenses and settings of a `run.toml`, instead of `lenses`, `fast`, `settings` and `options`.
    extend
        Add to another run that the folder holds, whatever its options; what is there is kept.
    replace
        Remove another run that the folder holds; files that filterlens did not write stay.
    listener
        Called with every `Event`.
    keep_tracebacks
        Store the traceback of a failure in the ledger.
    evict
        Remove a checkpoint that this run fetched once its lenses are done; never one that was there before.
    time_limit
        In seconds: no model is begun that would end later; `Outcome.unstarted` counts those left to the next run.
    style
        Preset of the report's figures, such as `cvpr`; kept in `run.toml`.
    dumps
        `all`, or `none`: lenses that would store a model's weights are scored where it is loaded, and only what the
        report shows of them is kept. None leaves it to `settings` or `config`.
    options
        Of lenses, such as `kernel="5x5"` or `images=64`. Of networks in memory also `eps`, `mean` and `std`, as a
        catalog has them. `images` may be an array or tensor, shape (n, channels, height, width), in [0, 1], with its
        `labels`: they are kept in the run's folder, in `images-DIGEST.npz`.

    Returns
    -------
        What became of every job, earlier ones that were kept included.

    Raises
    ------
    FilterlensError
        As `filterlens.runs.extract`; one model's failure is in the outcome.

    Examples
    --------
    >>> import filterlens
    >>> filterlens.extract("cifar10-linf", "runs/c10", kernel="all", jobs=4)  # doctest: +SKIP
    """
    from filterlens import runs
    from filterlens.report.style import find_style

    if extend and replace:
        raise InputError("a run is extended or replaced: give one of --extend and --replace")
    with in_memory(leaderboard, folder, options, settings, config) as (board, place, given, shared):
        catalog = board if isinstance(board, Catalog) else load_catalog(board)
        catalog = catalog.select(models) if models else catalog
        if config is None:
            named = "catalog.csv" if isinstance(board, Catalog) else str(board)
            chosen = choose_lenses(lenses, given, fast=fast)
            config = RunConfig(leaderboard=named, models=tuple(models), lenses=chosen, settings=shared or RunSettings())
        config = replaced(config, style=find_style(style).name) if style else config
        if dumps is not None:
            config = replaced(config, settings=replaced(config.settings, dumps=dumps))
        return runs.extract(
            catalog,
            Path("reports") / catalog.name if place is None else Path(place),
            config=config,
            existing="extend" if extend else "replace" if replace else "refuse",
            executor=reaching(executor or _processes(jobs), catalog),
            listener=listener,
            keep_tracebacks=keep_tracebacks,
            evict=evict,
            time_limit=time_limit,
        )


def _processes(jobs: int) -> Executor:
    from filterlens.runs.executors import InProcess, LocalProcesses

    return LocalProcesses(jobs) if jobs > 1 else InProcess()


def analyze(
    folder: str | Path,
    *,
    jobs: int = 1,
    executor: Executor | None = None,
    listener: Listener = lambda _: None,
    keep_tracebacks: bool = False,
    reread: bool = False,
    trust_pickle: bool = False,
    allow_code: bool = False,
) -> pd.DataFrame:
    """Turn a run's dumps into the tidy score table (see `filterlens.score`); needs no model.

    Dumps of a run with `dumps="none"` hold the scores; what is said over all models together needs the checkpoints.

    Parameters
    ----------
    folder
        A run's folder, such as `reports/fonts-linf`.
    jobs
        Models that are scored at once, each in a process with one thread.
    executor
        Where models are scored, such as `filterlens.runs.executors.RayCluster`; `jobs` processes by default.
    listener
        Called with every `Event`.
    keep_tracebacks
        Store the traceback of a failure in the ledger.
    reread
        Read checkpoints again whose weights are in no dump; nothing is fetched.
    trust_pickle, allow_code
        Let these run code, as for `RunSettings`.

    Raises
    ------
    FilterlensError
        As `filterlens.runs.analyze`.

    Examples
    --------
    >>> import filterlens
    >>> scores = filterlens.analyze("reports/mine")  # doctest: +SKIP
    """
    from filterlens import runs

    return runs.analyze(
        Path(folder),
        executor=reaching(executor or _processes(jobs)),
        listener=listener,
        keep_tracebacks=keep_tracebacks,
        settings=RunSettings(offline=True, trust_pickle=trust_pickle, allow_code=allow_code) if reread else None,
    )


def audit(
    leaderboard: Models,
    folder: str | Path | None = None,
    *,
    show: bool = False,
    listener: Listener = lambda _: None,
    progress: Progress | None = None,
    keep_tracebacks: bool = False,
    **how: Any,  # noqa: ANN401 - as `extract` takes them
) -> Outcome:
    """Extract, analyse and report in one go; only what is missing, failed or has changed is done again.

    Parameters
    ----------
    leaderboard, folder, listener, keep_tracebacks, how
        As for `extract`.
    show
        Show a bar of progress, in a notebook or on a terminal.
    progress
        Called as `progress(done, total)` while the report is written.

    Returns
    -------
        What became of every job; `missed` are failures of the analysis; `page` is the report's path, None where no
        model could be done, or some are left to the next run because the time was up.

    Examples
    --------
    >>> import filterlens
    >>> filterlens.audit("cifar10-linf", "reports/mine", lenses=["filters"], jobs=4)  # doctest: +SKIP
    """
    shared = (how.pop("settings", None), how.get("config"))
    with ExitStack() as stack:
        if show:
            listener, progress = stack.enter_context(shown(listener, progress))
        board, place, given, settings = stack.enter_context(in_memory(leaderboard, folder, how, *shared))
        how = given | {"settings": settings}
        return _audit(board, place, listener=listener, progress=progress, keep_tracebacks=keep_tracebacks, how=how)


def _audit(
    leaderboard: str | Path | Catalog,
    folder: str | Path | None,
    *,
    listener: Listener,
    progress: Progress | None,
    keep_tracebacks: bool,
    how: dict[str, Any],
) -> Outcome:
    from filterlens import runs
    from filterlens.report.data import style_of_run
    from filterlens.report.style import find_style
    from filterlens.report.write import written_style

    missed: list[LedgerRow] = []

    def hear(event: Event) -> None:
        missed.extend(event.rows)
        listener(event)

    where = how.pop("executor", None) or _processes(how.pop("jobs", 1))

    def once() -> Outcome:
        return extract(leaderboard, folder, executor=where, listener=listener, keep_tracebacks=keep_tracebacks, **how)

    def analyze() -> None:
        runs.analyze(
            outcome.folder,
            reuse=True,
            executor=where,
            listener=hear,
            keep_tracebacks=keep_tracebacks,
            settings=how["config"].settings if how.get("config") else how.get("settings") or RunSettings(),
        )

    outcome = once()
    if outcome.unstarted or not outcome.count("ok"):
        return outcome
    changed = outcome.reused < len(outcome.rows)
    analyze()
    if any(row.error_class == "DumpError" for row in missed):  # damage that only reading all data shows
        missed.clear()
        how["replace"] = False
        outcome = once()
        analyze()
        changed = True
    page = outcome.folder / "index.html"
    fresh = page.is_file() and page.stat().st_mtime >= (outcome.folder / "scores.parquet").stat().st_mtime
    restyled = written_style(outcome.folder) != find_style(style_of_run(outcome.folder)).name
    if changed or missed or not fresh or restyled:
        page = report(outcome.folder, jobs=getattr(where, "jobs", 1) if where.local else 1, progress=progress)
    return replaced(outcome, page=page, missed=tuple(missed))
