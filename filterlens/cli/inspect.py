"""`filterlens inspect`, `compare`, `check` and `explain`: one checkpoint at a time, in the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from filterlens.cli import options as o
from filterlens.cli.lens_options import given_options, with_lens_options
from filterlens.cli.printing import (
    print_comparison,
    print_layers,
    print_places,
    print_score,
    say,
    say_json,
    write_table,
)

if TYPE_CHECKING:
    import pandas as pd

    from filterlens.lens import RunSettings

__all__ = ["check", "compare", "explain", "inspect", "selftest"]

Model = Annotated[
    str,
    typer.Argument(help="A checkpoint's path, a source such as timm:resnet18, or CATALOG/MODEL_ID of a shipped one."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


@with_lens_options
def inspect(
    model: Model,
    *,
    lens: Annotated[str, typer.Option("--lens", help="Comma-separated lenses.")] = "filters",
    fast: o.Fast = True,
    data: o.Data = None,
    fonts: o.Fonts = None,
    seed: o.Seed = None,
    device: o.Device = None,
    batch_size: o.BatchSize = None,
    reference: Annotated[
        Path | None, typer.Option("--reference", help="An audited run to place it in. Default: the bundled zoo.")
    ] = None,
    trust_pickle: o.TrustPickle = None,
    allow_code: o.AllowCode = False,
    offline: o.Offline = False,
    json: Json = False,
    **lens_options: object,
) -> None:
    """Look at one checkpoint: every layer, its place among a reference zoo, and what stands out.

    Examples
    --------
        filterlens inspect model.safetensors

        filterlens inspect fonts-linf/preact_resnet-pgd-s0 --reference reports/cifar10-linf --json
    """
    from filterlens.cli.console import set_up_logging
    from filterlens.commands import inspection as checkup
    from filterlens.commands.audit import choose_lenses

    set_up_logging(verbose=False, log_file=None)
    lenses = choose_lenses(lens.split(","), given_options(lens_options), fast=bool(fast))
    settings = _settings(
        data=data,
        fonts=fonts,
        seed=seed,
        device=device,
        batch_size=batch_size,
        trust_pickle=trust_pickle,
        allow_code=allow_code,
        offline=offline,
    )
    scores = checkup.score_model(model, lenses=lenses, settings=settings)
    _single(model, scores)
    places = checkup.place(scores, checkup.reference_scores(reference))
    outstanding = checkup.outstanding(scores)
    if json:
        from dataclasses import asdict

        layers = scores.drop(columns=["model_id"]).to_dict("records")
        content = {
            "model": model,
            "layers": layers,
            "places": [asdict(found) for found in places],
            "outstanding": outstanding.to_dict("records"),
        }
        say_json(content)
        return
    print_layers(scores)
    print_places(places, "the bundled zoo" if reference is None else str(reference))
    for row in outstanding.itertuples(index=False):
        distance = f"{row.z:+.1f} spreads from this model's median layer"
        say(f"stands out: {row.layer}: {row.metric} {row.value:.3f}, {distance}")


@with_lens_options
def compare(
    first: Annotated[str, typer.Argument(help="A checkpoint, a source, or an audited run's folder.")],
    second: Annotated[str, typer.Argument(help="Another of the same kind.")],
    *,
    lens: Annotated[str, typer.Option("--lens", help="Comma-separated lenses.")] = "filters",
    fast: o.Fast = True,
    data: o.Data = None,
    fonts: o.Fonts = None,
    seed: o.Seed = None,
    device: o.Device = None,
    batch_size: o.BatchSize = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write the comparison here too: .csv, .md or .tex.")
    ] = None,
    trust_pickle: o.TrustPickle = None,
    allow_code: o.AllowCode = False,
    offline: o.Offline = False,
    json: Json = False,
    **lens_options: object,
) -> None:
    """Compare two checkpoints (before and after fine-tuning, say) or two audited runs, layer by layer.

    Example:

        filterlens compare before.pt after.pt --out change.csv
    """
    from filterlens.cli.console import set_up_logging
    from filterlens.commands import inspection as checkup
    from filterlens.commands.audit import choose_lenses

    set_up_logging(verbose=False, log_file=None)
    lenses = choose_lenses(lens.split(","), given_options(lens_options), fast=bool(fast))
    settings = _settings(
        data=data,
        fonts=fonts,
        seed=seed,
        device=device,
        batch_size=batch_size,
        trust_pickle=trust_pickle,
        allow_code=allow_code,
        offline=offline,
    )
    tables = [checkup.score_model(source, lenses=lenses, settings=settings) for source in (first, second)]
    table = checkup.compare(*tables)
    if out is not None:
        write_table(table, out)
    if json:
        say_json({"first": first, "second": second, "rows": table.to_dict("records")})
        return
    print_comparison(table)


@with_lens_options
def check(
    model: Model,
    *,
    bounds: Annotated[
        list[str], typer.Option("--bound", "-b", help="max-SCORE=NUMBER or min-SCORE=NUMBER; repeatable.")
    ] = [],  # noqa: B006 - typer copies it
    max_sparsity: Annotated[float | None, typer.Option("--max-sparsity", help="Same as -b max-sparsity=…")] = None,
    min_entropy: Annotated[
        float | None, typer.Option("--min-entropy", help="Same as -b min-variance-entropy=…")
    ] = None,
    min_orthogonality: Annotated[
        float | None, typer.Option("--min-orthogonality", help="Same as -b min-orthogonality=…")
    ] = None,
    lens: Annotated[str, typer.Option("--lens", help="Comma-separated lenses.")] = "filters",
    fast: o.Fast = True,
    data: o.Data = None,
    fonts: o.Fonts = None,
    seed: o.Seed = None,
    device: o.Device = None,
    batch_size: o.BatchSize = None,
    junit: Annotated[Path | None, typer.Option("--junit", help="Write a JUnit file.")] = None,
    trust_pickle: o.TrustPickle = None,
    allow_code: o.AllowCode = False,
    offline: o.Offline = False,
    json: Json = False,
    **lens_options: object,
) -> None:
    """Hold a checkpoint to bounds: a gate for a training pipeline. Exit code 1 when one is broken.

    Example:

        filterlens check model.pt --max-sparsity 0.3 --min-entropy 0.4 --junit check.xml
    """
    from filterlens.cli.console import set_up_logging
    from filterlens.commands import inspection as checkup
    from filterlens.commands.audit import choose_lenses
    from filterlens.errors import InputError
    from filterlens.process.files import write_atomically

    set_up_logging(verbose=False, log_file=None)
    named = {"max-sparsity": max_sparsity, "min-variance_entropy": min_entropy, "min-orthogonality": min_orthogonality}
    texts = [*bounds, *[f"{name}={value}" for name, value in named.items() if value is not None]]
    if not texts:
        raise InputError("give at least one bound, such as --max-sparsity 0.3")
    wanted = [checkup.parse_bound(text) for text in texts]
    lenses = choose_lenses(lens.split(","), given_options(lens_options), fast=bool(fast))
    settings = _settings(
        data=data,
        fonts=fonts,
        seed=seed,
        device=device,
        batch_size=batch_size,
        trust_pickle=trust_pickle,
        allow_code=allow_code,
        offline=offline,
    )
    scores = checkup.score_model(model, lenses=lenses, settings=settings)
    _single(model, scores)
    results = checkup.check(scores, wanted)
    if junit is not None:
        write_atomically(junit, checkup.as_junit(model, results))
    if json:
        rows = [
            {"metric": r.metric, "side": r.side, "bound": r.bound, "value": r.value, "holds": r.holds} for r in results
        ]
        say_json({"model": model, "bounds": rows})
    else:
        for result in results:
            say(f"{'holds ' if result.holds else 'BROKEN'} {result.text}")
    raise typer.Exit(0 if all(result.holds for result in results) else 1)


def explain(
    score: Annotated[str, typer.Argument(help="A score's name; without one, all are listed.")] = "",
) -> None:
    """Say what a score means: formula, range, chance level, source, pitfalls.

    Example:

        filterlens explain aliasing_relative
    """
    from filterlens.lens import all_lenses, all_scores, get_score

    all_lenses()  # a third party's lenses register their scores
    if score:
        print_score(get_score(score))
        return
    lens = ""
    for found in all_scores().values():
        if found.auxiliary:
            continue
        if found.lens != lens:
            lens = found.lens
            say("")
            say(lens)
        say(f"  {found.name:34} {found.summary}")


def _settings(**given: Any) -> RunSettings:  # noqa: ANN401 - values of any setting
    """Return the run's settings that were given, the rest by default."""
    from filterlens.lens import RunSettings

    return RunSettings(**{name: value for name, value in given.items() if value is not None})


def _single(model: str, scores: pd.DataFrame) -> None:
    from filterlens.errors import InputError

    models = set(scores["model_id"])
    if len(models) != 1:
        raise InputError(f"{model} is a run of {len(models)} models: name one checkpoint")


def selftest() -> None:
    """Check the arithmetic on this machine against answers that are known exactly. Exit code 1 when one is off.

    Example:

        filterlens selftest
    """
    from filterlens.commands.selftest import selftest as run_selftest

    answers = run_selftest()
    for answer in answers:
        said = f"{answer.name}: {answer.value:.6g}, expected {answer.expected:.6g}"
        say(f"{'ok ' if answer.passed else 'OFF'} {said}")
    raise typer.Exit(0 if all(answer.passed for answer in answers) else 1)
