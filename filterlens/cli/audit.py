"""`filterlens extract`, `analyze`, `report`, and `audit`: the three in one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from filterlens.cli import options as o
from filterlens.errors import InputError

if TYPE_CHECKING:
    from filterlens.catalogs import Catalog
    from filterlens.cli.console import Display
    from filterlens.executors import Executor
    from filterlens.ledger import LedgerRow
    from filterlens.pipeline import Event, Outcome
    from filterlens.settings import Settings

__all__ = ["analyze", "audit", "extract", "report"]

BUNDLED = "fonts-linf"
Folder = Annotated[Path, typer.Argument(help="A run's folder, such as reports/fonts-linf.")]


AUDIT_HELP = """Audit a zoo: extract, analyse and report in one go.

Runs again only what is missing or failed. Exit code 1 when some models failed; the rest is done and reported.

Examples:

    filterlens audit

    filterlens audit --leaderboard cifar10-linf --models 'Wong*'

    filterlens audit -l my.csv --lens filters,downsampling --data images.npz --out reports/mine

    filterlens audit --folder runs/exp7 --arch timm:resnet18 --lens filters,downsampling --data images.npz
"""

EXTRACT_HELP = """Write one HDF5 dump a model: filters, feature maps, logits, losses, distances.

Example:

    filterlens extract -l cifar10-linf --lens filters --out runs/c10 --jobs 4
"""


def _command(*, whole: bool) -> Callable[..., None]:
    """Make the command that extracts and, where `whole`, analyses and reports too: they take the same options."""

    def run(
        leaderboard: o.Leaderboard = BUNDLED,
        *,
        checkpoints: o.Checkpoints = None,
        arch: o.Arch = "",
        eps: o.Eps = "",
        mean: o.Mean = "",
        std: o.Std = "",
        models: o.Models = None,
        lens: o.Lenses = "",
        out: o.Out = None,
        data: o.Data = "",
        images: o.NumImages = None,
        channels: o.Channels = "64",
        kernel: o.Kernel = "3x3",
        fold_batchnorm: o.Fold = False,
        fast: o.Fast = None,
        autoattack: o.AutoAttack = False,
        as_published: o.AsPublished = False,
        bf16: o.BF16 = False,
        manifold: o.Manifold = "",
        fonts: o.Fonts = None,
        seed: o.Seed = 0,
        device: o.Device = "cpu",
        batch_size: o.BatchSize = 64,
        jobs: o.Jobs = 1,
        ray: o.RayAddress = "",
        gpus_per_model: o.GpusPerModel = None,
        cpus_per_model: o.CpusPerModel = 1.0,
        trust_pickle: o.TrustPickle = False,
        verbose: o.Verbose = False,
        log_file: o.LogFile = None,
    ) -> None:
        from filterlens.cli.console import Display, set_up_logging
        from filterlens.settings import Settings

        set_up_logging(verbose=verbose, log_file=log_file)
        catalog = _catalog(leaderboard, checkpoints, arch, eps=eps, mean=mean, std=std)
        catalog = catalog.select(models) if models else catalog
        folder = out or Path("reports") / catalog.name
        bundled = leaderboard == BUNDLED and checkpoints is None
        settings = Settings(
            seed=seed,
            device=device,
            batch_size=batch_size,
            images=images,
            data=data,
            fast=bundled if fast is None else fast,
            kernel=kernel,
            fold_batchnorm=fold_batchnorm,
            channels=_channels(channels),
            autoattack=autoattack,
            as_published=as_published,
            bf16=bf16,
            manifold=manifold,
            fonts=fonts,
            trust_pickle=trust_pickle,
        )
        with Display() as display:
            again = partial(
                extract_catalog,
                catalog,
                folder,
                lenses=_lenses(lens or ("all" if bundled else "filters")),
                settings=settings,
                executor=_executor(jobs, ray, device, gpus=gpus_per_model, cpus=cpus_per_model),
                display=display,
                keep_tracebacks=verbose,
            )
            outcome = again()
            page, failed = None, outcome.count("failed") > 0
            if whole and outcome.count("ok"):
                changed = outcome.reused < len(outcome.rows)
                missed = _analyze(folder, display, reuse=True, keep_tracebacks=verbose)
                if any(row.error_class == "DumpError" for row in missed):  # damage that only reading all data shows
                    outcome = again()
                    missed = _analyze(folder, display, reuse=True, keep_tracebacks=verbose)
                page = _report(folder, display, changed=changed or bool(missed))
                failed = outcome.count("failed") > 0 or bool(missed)
        if page:
            display.comparison(folder)
        display.summary(outcome)
        display.times(outcome)
        if page:
            display.say(f"report: {page}")
        raise typer.Exit(1 if failed else 0)

    return run


audit = _command(whole=True)
extract = _command(whole=False)


def analyze(folder: Folder, *, verbose: o.Verbose = False, log_file: o.LogFile = None) -> None:
    """Turn a run's dumps into scores; needs no model.

    Example:

        filterlens analyze reports/fonts-linf
    """
    from filterlens.cli.console import Display, set_up_logging
    from filterlens.scores import read_scores

    set_up_logging(verbose=verbose, log_file=log_file)
    with Display() as display:
        missed = _analyze(folder, display, reuse=False, keep_tracebacks=verbose)
    scores = read_scores(folder / "scores.parquet")
    display.say(f"{len(scores)} scores of {scores['model_id'].nunique()} models: {folder / 'scores.parquet'}")
    raise typer.Exit(1 if missed else 0)


def report(folder: Folder, *, verbose: o.Verbose = False, log_file: o.LogFile = None) -> None:
    """Turn a run's scores into tables, figures and a page.

    Example:

        filterlens report reports/fonts-linf
    """
    from filterlens.api import write_report
    from filterlens.cli.console import Display, set_up_logging

    set_up_logging(verbose=verbose, log_file=log_file)
    with Display() as display:
        page = write_report(folder, progress=display.step("writing the report"))
    display.say(f"report: {page}")


def _catalog(leaderboard: str, checkpoints: Path | None, arch: str, *, eps: str, mean: str, std: str) -> Catalog:
    """Read the catalog, or make one of a training's checkpoints."""
    from filterlens.catalogs import load_catalog

    if checkpoints is None:
        if arch or eps or mean or std:
            raise InputError("--arch, --eps, --mean and --std go with --folder; a catalog says them in its columns")
        return load_catalog(leaderboard)
    if leaderboard != BUNDLED:
        raise InputError("--folder stands instead of --leaderboard: give one of them")
    from filterlens.cli.printing import say
    from filterlens.trajectories import read_trajectory

    found = read_trajectory(checkpoints, arch, eps=eps, mean=mean, std=std)
    for path in found.left_out:
        say(f"left out: {path.name}, whose name tells no epoch")
    return found.catalog


def _lenses(named: str) -> list[str]:
    """Turn `filters,manifold` or `all` into names."""
    from filterlens.lenses import all_lenses, get_lens

    names = list(dict.fromkeys(name.strip() for name in named.split(",") if name.strip()))
    return list(all_lenses()) if names == ["all"] else [get_lens(name).name for name in names]


def _channels(text: str) -> int | None:
    if text == "all":
        return None
    if not (text.isdecimal() and int(text)):
        raise InputError(f"--channels {text!r}: give a number of feature maps a layer, or `all`")
    return int(text)


def _executor(jobs: int, ray: str, device: str, *, gpus: float | None, cpus: float) -> Executor:
    from filterlens.executors import InProcess, LocalProcesses, RayCluster

    if ray:
        gpus = float(device.startswith("cuda")) if gpus is None else gpus
        return RayCluster(ray, gpus_per_model=gpus, cpus_per_model=cpus)
    return LocalProcesses(jobs) if jobs > 1 else InProcess()


def extract_catalog(
    catalog: Catalog,
    folder: Path,
    *,
    lenses: list[str],
    settings: Settings,
    executor: Executor,
    display: Display,
    keep_tracebacks: bool,
) -> Outcome:
    from filterlens.pipeline import extract as run_extraction

    display.start(len(catalog))
    return run_extraction(
        catalog,
        folder,
        lenses=lenses,
        settings=settings,
        executor=executor,
        listener=display.hear,
        keep_tracebacks=keep_tracebacks,
    )


def _analyze(folder: Path, display: Display, *, reuse: bool, keep_tracebacks: bool) -> list[LedgerRow]:
    """Score a run's dumps; return what failed, after it has been said."""
    from filterlens.pipeline import analyze as run_analysis

    missed: list[LedgerRow] = []

    def hear(event: Event) -> None:
        missed.extend(event.rows)
        display.hear(event)

    run_analysis(folder, reuse=reuse, listener=hear, keep_tracebacks=keep_tracebacks)
    return missed


def _report(folder: Path, display: Display, *, changed: bool) -> Path:
    """Write the report unless the one that is there is of these very scores."""
    from filterlens.api import write_report

    page = folder / "index.html"
    if not changed and page.is_file() and page.stat().st_mtime >= (folder / "scores.parquet").stat().st_mtime:
        return page
    return write_report(folder, progress=display.step("writing the report"))
