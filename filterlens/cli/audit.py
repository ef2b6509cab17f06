"""`filterlens extract`, `analyze`, `report`, and `audit`: the three in one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from filterlens.cli import options as o
from filterlens.cli.lens_options import given_options, with_lens_options
from filterlens.cli.options import Format
from filterlens.cli.printing import print_estimate, print_outcome, print_table
from filterlens.cli.time_limit import TIME_IS_UP, parse_duration
from filterlens.process.interruption import announce

if TYPE_CHECKING:
    from filterlens.runs import Event
    from filterlens.runs.executors import Executor
    from filterlens.runs.ledger import LedgerRow

__all__ = ["analyze", "audit", "extract", "report"]

Folder = Annotated[Path, typer.Argument(help="A run's folder, such as reports/cifar10-small.")]


AUDIT_HELP = """Audit a zoo: extract, analyse and report in one go.

Runs again only what is missing, failed or changed. Exit code 1 when some models failed; the rest is done and reported.

Examples:

    filterlens audit

    filterlens audit --leaderboard cifar10-linf --models 'Wong*'

    filterlens audit -l my.csv --lens filters,downsampling --data images.npz --out reports/mine

    filterlens audit -l imagenet-linf --lens robustness --jobs 8 --dry-run

    filterlens audit --folder runs/exp7 --arch timm:resnet18 --lens filters,downsampling --data images.npz
"""

EXTRACT_HELP = """Write one HDF5 dump a model: filters, feature maps, logits, losses, distances.

Example:

    filterlens extract -l cifar10-linf --lens filters --out runs/c10 --jobs 4
"""


def _command(*, whole: bool) -> Callable[..., None]:
    """Make the command that extracts and, where `whole`, analyses and reports too: they take the same options."""

    @with_lens_options
    def run(
        leaderboard: o.Leaderboard = "",
        *,
        config: o.Config = None,
        checkpoints: o.Checkpoints = None,
        arch: o.Arch = "",
        eps: o.Eps = "",
        mean: o.Mean = "",
        std: o.Std = "",
        models: o.Models = None,
        lens: o.Lenses = None,
        out: o.Out = None,
        extend: o.Extend = False,
        replace: o.Replace = False,
        fast: o.Fast = None,
        data: o.Data = None,
        fonts: o.Fonts = None,
        seed: o.Seed = None,
        device: o.Device = None,
        batch_size: o.BatchSize = None,
        jobs: o.Jobs = 1,
        ray: o.RayAddress = "",
        gpus_per_model: o.GpusPerModel = None,
        cpus_per_model: o.CpusPerModel = 1.0,
        trust_pickle: o.TrustPickle = None,
        allow_code: o.AllowCode = False,
        offline: o.Offline = False,
        mirror: o.Mirror = "",
        evict: o.Evict = False,
        dumps: o.StoredDumps = None,
        time_limit: o.TimeLimit = "",
        dry_run: o.DryRun = False,
        style: o.Style = "",
        form: o.Form = Format.table,
        json: o.Json = False,
        verbose: o.Verbose = False,
        log_file: o.LogFile = None,
        **lens_options: object,
    ) -> None:
        from filterlens import commands
        from filterlens.cli.console import Display, set_up_logging

        set_up_logging(verbose=verbose, log_file=log_file)
        seconds = parse_duration(time_limit) if time_limit else None
        given = {
            "data": data, "fonts": fonts, "seed": seed, "device": device, "batch_size": batch_size,
            "trust_pickle": trust_pickle,
            "offline": offline or None,
            "dumps": dumps and dumps.value,
            "allow_code": allow_code or arch.startswith("module:") or None,  # typed, not read
        }  # fmt: skip
        what = {"leaderboard": leaderboard, "arch": arch, "eps": eps, "mean": mean, "std": std, "style": style}
        plan = commands.plan(
            config,
            what | {"checkpoints": str(checkpoints or ""), "models": tuple(models or ())},
            lenses=o.names_of(lens),
            fast=fast,
            settings={name: value for name, value in given.items() if value is not None},
            options=given_options(lens_options),
        )
        form = Format.json if json else form
        display = Display(beside=form is not Format.table)
        for path in plan.left_out:
            display.say(f"left out: {path.name}, whose name tells no epoch")
        if dry_run:
            print_estimate(plan.estimate(out, jobs=jobs, extend=extend, replace=replace), jobs, form)
            return
        with display:
            display.start(len(plan.catalog))
            outcome = plan.run(
                out,
                whole=whole,
                executor=_executor(jobs, ray, plan.config.settings.device, gpus=gpus_per_model, cpus=cpus_per_model),
                listener=display.hear,
                progress=display.step("writing the report"),
                keep_tracebacks=verbose,
                extend=extend,
                replace=replace,
                evict=evict,
                time_limit=seconds,
            )
        if outcome.page:
            display.cautions(commands.cautions(outcome.folder))
        if form is not Format.table:
            print_outcome(outcome, form)
        elif outcome.page:
            display.comparison(outcome.folder)
        display.summary(outcome)
        display.times(outcome)
        if outcome.page:
            display.say(f"report: {outcome.page}")
        if outcome.unstarted:
            announce(f"the time limit is near: {outcome.unstarted} models are not begun")
            raise typer.Exit(TIME_IS_UP)
        raise typer.Exit(1 if outcome.count("failed") or outcome.missed else 0)

    return run


audit = _command(whole=True)
extract = _command(whole=False)


def analyze(
    folder: Folder,
    *,
    jobs: o.Jobs = 1,
    reread: o.Reread = False,
    trust_pickle: o.TrustPickle = None,
    allow_code: o.AllowCode = False,
    form: o.Form = Format.table,
    json: o.Json = False,
    verbose: o.Verbose = False,
    log_file: o.LogFile = None,
) -> None:
    """Turn a run's dumps into scores; needs no model.

    Example:

        filterlens analyze reports/cifar10-linf --jobs 4
    """
    from filterlens.cli.console import Display, set_up_logging
    from filterlens.commands import analyze as run

    set_up_logging(verbose=verbose, log_file=log_file)
    form = Format.json if json else form
    missed: list[LedgerRow] = []
    with Display(beside=form is not Format.table) as display:

        def hear(event: Event) -> None:
            missed.extend(event.rows)
            display.hear(event)

        scores = run(
            folder,
            jobs=jobs,
            listener=hear,
            keep_tracebacks=verbose,
            reread=reread,
            trust_pickle=bool(trust_pickle),
            allow_code=allow_code,
        )
    from filterlens.report.cautions import unnormalised  # pandas is loaded by now, while workers were prepared

    display.cautions(unnormalised(scores))
    if form is not Format.table:
        print_table(scores, form)
    display.say(f"{len(scores)} scores of {scores['model_id'].nunique()} models: {folder / 'scores.parquet'}")
    raise typer.Exit(1 if missed else 0)


def report(
    folder: Folder,
    *,
    first_stage_pair: o.FirstStagePair = "",
    style: o.Style = "",
    jobs: o.Jobs = 1,
    verbose: o.Verbose = False,
    log_file: o.LogFile = None,
) -> None:
    """Turn a run's scores into tables, figures and a page.

    Example:

        filterlens report reports/fonts-linf --style neurips --jobs 2
    """
    from filterlens.cli.console import Display, set_up_logging
    from filterlens.commands import report as write_report

    set_up_logging(verbose=verbose, log_file=log_file)
    with Display() as display:
        page = write_report(
            folder,
            first_stage_pair=first_stage_pair,
            style=style,
            jobs=jobs,
            progress=display.step("writing the report"),
        )
    display.say(f"report: {page}")


def _executor(jobs: int, ray: str, device: str, *, gpus: float | None, cpus: float) -> Executor:
    from filterlens.runs.executors import InProcess, LocalProcesses, RayCluster

    if ray:
        gpus = float(device.startswith("cuda")) if gpus is None else gpus
        return RayCluster(ray, gpus_per_model=gpus, cpus_per_model=cpus)
    return LocalProcesses(jobs) if jobs > 1 else InProcess()
