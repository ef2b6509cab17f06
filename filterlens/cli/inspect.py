"""`filterlens inspect`, `compare`, `check`, `explain` and `selftest`: what is answered in the terminal at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from filterlens.cli import completion
from filterlens.cli import options as o
from filterlens.cli.lens_options import with_bounds, with_flag, with_scoring_options
from filterlens.cli.options import Format
from filterlens.cli.printing import (
    print_comparison,
    print_inspection,
    print_results,
    print_score,
    print_scores,
    print_table,
    print_tables,
    say_lines,
    warn,
    write_table,
)
from filterlens.process.printable import printable

__all__ = ["check", "compare", "explain", "inspect", "selftest"]

Model = Annotated[
    str,
    typer.Argument(
        help="A checkpoint's path, a source such as timm:resnet18, or CATALOG/MODEL_ID (of a shipped catalog or of a "
        "CSV file: my/catalog.csv/MODEL_ID).",
        autocompletion=completion.models,
    ),
]
How = dict[str, Any]
_TOP = 20  # layers' scores of a comparison on a terminal


@with_scoring_options
def inspect(
    model: Model,
    *,
    reference: Annotated[
        Path | None, typer.Option("--reference", help="An audited run to place it in. Default: the bundled zoos.")
    ] = None,
    form: o.Form = Format.table,
    json: o.Json = False,
    how: How,
) -> None:
    """Look at one checkpoint: every layer, its place among a reference zoo, and what stands out.

    As csv, the scores of the layers alone are printed.

    Examples
    --------
        filterlens inspect model.safetensors

        filterlens inspect fonts-linf/preact_resnet-pgd-s0 --reference reports/cifar10-linf --format json
    """
    import pandas as pd

    from filterlens.cli.console import set_up_logging
    from filterlens.commands.inspect import inspect as run

    set_up_logging(verbose=False, log_file=None)
    found = run(model, reference=reference, **how)
    form = Format.json if json else form
    for caution in (*found.left_out, *found.cautions):
        warn(caution)
    if form is Format.table:
        print_inspection(found)
        return
    places = pd.DataFrame([asdict(place) for place in found.places])
    layers = found.layers.drop(columns=["model_id"])
    print_tables(
        {"layers": layers, "places": places, "outstanding": found.outstanding},
        form,
        model=model,
        comparison=found.comparison,
        cautions=found.cautions,
        left_out=list(found.left_out),
    )


@with_scoring_options
def compare(
    first: Annotated[
        str,
        typer.Argument(
            help="A checkpoint, a source, CATALOG/MODEL_ID, or a run's folder.", autocompletion=completion.models
        ),
    ],
    second: Annotated[str, typer.Argument(help="Another of the same kind.", autocompletion=completion.models)],
    *,
    top: Annotated[
        int | None,
        typer.Option(
            "--top",
            min=0,
            help="Only the layers' scores that changed most. Default: 20 on a terminal, all elsewhere.",
            show_default=False,
        ),
    ] = None,
    noise: Annotated[
        list[str],
        typer.Option(
            "--noise",
            help="The first one trained again with another seed: larger changes are marked. Repeatable.",
            autocompletion=completion.models,
        ),
    ] = [],  # noqa: B006 - typer copies it
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write the comparison here too: .csv, .md or .tex.")
    ] = None,
    form: o.Form = Format.table,
    json: o.Json = False,
    how: How,
) -> None:
    """Compare two checkpoints (before and after fine-tuning, say) or two audited runs, layer by layer.

    What changed most comes first, and what lies outside the noise is marked with *.

    --arch, --eps, --mean and --std are of both checkpoints; a side named as CATALOG/MODEL_ID carries its own.

    Examples
    --------
        filterlens compare before.pt after.pt --out change.csv

        filterlens compare before.pt after.pt --noise before-seed1.pt --noise before-seed2.pt --top 10

        filterlens compare my.csv/normal my.csv/robust --lens downsampling --data images.npz
    """
    from filterlens.cli.console import set_up_logging
    from filterlens.commands.compare import compare as run
    from filterlens.report.cautions import say_unnormalised
    from filterlens.score import UNNORMALISED

    set_up_logging(verbose=False, log_file=None)
    form = Format.json if json else form
    shown = _TOP if top is None and form is Format.table and out is None else top
    table = run(first, second, noise=noise, top=shown, **how)
    for said in table.attrs["left_out"]:
        warn(said)
    for name, source in (("first", first), ("second", second)):
        if table["note"].str.contains(f"{name} {UNNORMALISED}", regex=False).any():
            warn(say_unnormalised([source]))
    if out is not None:
        write_table(table, out)
    print_table(table, form, draw=print_comparison)


@with_bounds
@with_scoring_options
def check(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="Checkpoints: paths, sources such as timm:resnet18, or CATALOG/MODEL_ID.",
            autocompletion=completion.models,
        ),
    ],
    *,
    bound: Annotated[
        list[str],
        typer.Option(
            "--bound",
            "-b",
            help="max-SCORE=NUMBER or min-SCORE=NUMBER, of every layer max-layer-SCORE=NUMBER; repeatable. "
            "Each is an option, too: --max-layer-sparsity 0.5.",
        ),
    ] = [],  # noqa: B006 - typer copies it
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            help="A checkpoint, an audited run's folder, or `bundled`: no score may be worse.",
            autocompletion=completion.models,
        ),
    ] = None,
    tolerance: Annotated[
        float, typer.Option("--tolerance", help="How much worse is still good, as a share of the score's range.")
    ] = 0.05,
    allow_dead_layers: Annotated[
        bool, typer.Option("--allow-dead-layers", help="Let layers pass that are all zero, all equal, NaN or Inf.")
    ] = False,
    junit: Annotated[Path | None, typer.Option("--junit", help="Write a JUnit file.")] = None,
    sarif: Annotated[
        Path | None, typer.Option("--sarif", help="Write what does not pass as SARIF 2.1.0, for code scanning.")
    ] = None,
    summary: Annotated[
        Path | None, typer.Option("--summary", help="Write results as Markdown, for the summary of a job.")
    ] = None,
    form: o.Form = Format.table,
    json: o.Json = False,
    how: How,
) -> None:
    """Hold checkpoints to bounds: a gate for a training pipeline or a pull request.

    A layer whose weights are all zero, all equal, NaN or Inf fails, whatever the bounds. Exit code 0: passed; 1: a
    bound is broken; 2: bad usage, or something cannot be read or written. Results are written in each case.

    Examples
    --------
        filterlens check model.pt --max-sparsity 0.3 --min-layer-orthogonality 0.5 --junit check.xml

        filterlens check model.pt --against last-week.pt --tolerance 0.02

        filterlens check weights/*.safetensors --max-sparsity 0.3 --sarif check.sarif --summary check.md
    """
    import sys

    from filterlens.cli.console import set_up_logging
    from filterlens.commands.check import CheckError, CheckResult, as_junit
    from filterlens.commands.check import check_all as run
    from filterlens.commands.check_outputs import as_sarif, as_summary
    from filterlens.errors import WriteError
    from filterlens.process.files import write_atomically
    from filterlens.process.logs import log_end
    from filterlens.report.cautions import say_unnormalised

    set_up_logging(verbose=False, log_file=None)
    results: Sequence[CheckResult]

    def write(results: Sequence[CheckResult]) -> None:
        if junit is not None:
            write_atomically(junit, as_junit(", ".join(models), results))
        if sarif is not None:
            write_atomically(sarif, as_sarif(results))
        if summary is not None:
            write_atomically(summary, as_summary(results))

    try:
        write([CheckError("the check did not end")])  # no verdict of an earlier check may outlive this one
        results = run(models, bound, against=against, tolerance=tolerance, allow_dead_layers=allow_dead_layers, **how)
        write(results)
    except WriteError as error:
        results = [CheckError(str(error))]
        log_end(error)
    for model in dict.fromkeys(result.model for result in results if getattr(result, "note", "")):
        warn(say_unnormalised([model]))
    errors = list(dict.fromkeys(result.text for result in results if isinstance(result, CheckError)))
    for text in errors:
        sys.stderr.write(f"filterlens: {printable(with_flag(text))}\n")
    form = Format.json if json else form
    if form is not Format.table or len(results) > len(errors):
        print_results(results, form)
    raise typer.Exit(2 if errors else 0 if all(result.passed for result in results) else 1)


def explain(
    score: Annotated[
        str,
        typer.Argument(help="A score's name; without one, all are listed.", autocompletion=completion.scores),
    ] = "",
    *,
    bibtex: Annotated[bool, typer.Option("--bibtex", help="Print the papers to cite as BibTeX instead.")] = False,
    form: o.Form = Format.table,
    json: o.Json = False,
) -> None:
    """Say what a score means: formula, range, chance level, source, pitfalls.

    Examples
    --------
        filterlens explain aliasing_relative

        filterlens explain --bibtex > papers.bib
    """
    from filterlens.commands.explain import bibtex as entries
    from filterlens.commands.explain import explain as run

    if bibtex:
        say_lines(entries(score))
        return
    print_table(run(score), Format.json if json else form, draw=print_score if score else print_scores)


def selftest(*, form: o.Form = Format.table, json: o.Json = False) -> None:
    """Check the arithmetic on this machine against answers that are known exactly. Exit code 1 when one is off.

    Example:

        filterlens selftest
    """
    from filterlens.commands.selftest import selftest as run

    answers = run()
    print_results(answers, Format.json if json else form)
    raise typer.Exit(0 if all(answer.passed for answer in answers) else 1)
