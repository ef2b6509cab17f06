"""How tables and scores are printed."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from filterlens.cli.options import Format
from filterlens.process.printable import printable, printable_json

if TYPE_CHECKING:
    import pandas as pd

    from filterlens.commands.estimate import Estimate
    from filterlens.commands.inspect import Inspection
    from filterlens.runs import Outcome

__all__ = [
    "print_comparison",
    "print_estimate",
    "print_inspection",
    "print_object",
    "print_outcome",
    "print_results",
    "print_score",
    "print_scores",
    "print_table",
    "print_tables",
    "say",
    "say_lines",
    "say_wrapped",
    "warn",
    "write_table",
]


_OF_A_JOB = ("model_id", "lens", "status", "reason", "seconds")


def print_table(
    table: pd.DataFrame,
    form: Format,
    *,
    title: str = "",
    looks: Mapping[str, Callable[[Any], str]] = MappingProxyType({}),
    hidden: Sequence[str] = (),
    spare: Sequence[str] = (),
    draw: Callable[[pd.DataFrame], None] | None = None,
) -> None:
    """Print a table in a format.

    Parameters
    ----------
    table, form
        What, and how: `csv` and `json` hold every value as it is, `table` and `markdown` rounded ones for people.
    title, hidden
        Heading, and columns that are left out, on a terminal.
    looks
        How the known values of a column are written for people.
    spare
        Columns that are left out where the terminal is too narrow, the first one first.
    draw
        Prints it on a terminal, where plain rows and columns do not suffice.
    """
    if form is Format.table and draw is not None:
        draw(table)
    elif form is Format.table:
        _draw(table.drop(columns=[name for name in hidden if name in table]), title, looks, spare)
    elif form is Format.json:
        _write_json(_records(table))
    elif form is Format.csv:
        _write_csv(table)
    else:
        sys.stdout.write(_as_markdown(table, looks))


def print_tables(tables: Mapping[str, pd.DataFrame], form: Format, **facts: object) -> None:
    """Print several tables: one JSON object, Markdown one below the other, or as CSV the first alone."""
    if form is Format.json:
        _write_json({**facts, **{name: _records(table) for name, table in tables.items()}})
    elif form is Format.csv:
        _write_csv(next(iter(tables.values())))
    else:
        sys.stdout.write("\n".join(f"## {name}\n\n{_as_markdown(table, {})}" for name, table in tables.items()))


def print_object(content: Mapping[str, object]) -> None:
    """Print one JSON object."""
    _write_json(content)


class Result(Protocol):
    """What passes or fails, and says so in one line."""

    @property
    def passed(self) -> bool: ...
    @property
    def text(self) -> str: ...


def print_results(results: Sequence[Result], form: Format) -> None:
    """Print what passed and what failed."""
    import pandas as pd

    rows = [asdict(result) | {"passed": result.passed, "text": result.text} for result in results]  # type: ignore[call-overload]
    table = pd.DataFrame(rows)

    def draw(_: pd.DataFrame) -> None:
        models = list(dict.fromkeys(getattr(result, "model", "") for result in results))
        for model in models:
            if len(models) > 1:
                say(f"{model}:")
            _print_verdicts([result for result in results if getattr(result, "model", "") == model])

    print_table(table, form, draw=draw)


def _print_verdicts(results: Sequence[Result]) -> None:
    """Print what passed and what failed; of bounds that a baseline's layers make, only what failed."""
    for result in results:
        if not (result.passed and _is_of_a_layer(result)):
            say(f"{'PASS' if result.passed else 'FAIL'} {result.text}")
    if hidden := sum(result.passed and _is_of_a_layer(result) for result in results):
        say(f"PASS {hidden} bounds on single layers (baseline)")


def _is_of_a_layer(result: Result) -> bool:
    """Whether it is one of the many bounds that a baseline's layers make."""
    return str(getattr(result, "name", "")).startswith("against-") and bool(getattr(result, "layer", ""))


def _draw(table: pd.DataFrame, title: str, looks: Mapping[str, Callable[[Any], str]], spare: Sequence[str]) -> None:
    from pandas.api.types import is_bool_dtype, is_numeric_dtype
    from rich.markup import escape

    from filterlens.cli.terminal import Column, print_columns

    rank = {name: len(spare) - place for place, name in enumerate(spare)}
    rows = table.to_dict("records")  # values of Python's own types
    columns = [
        Column(
            str(name).replace("_", " "),
            [escape(_text(row[name], looks.get(str(name)))) for row in rows],
            right=is_numeric_dtype(table[name]) and not is_bool_dtype(table[name]),
            spare=rank.get(str(name), 0),
        )
        for name in table
    ]
    if left_out := print_columns(columns, title):
        say_wrapped(f"not shown on so narrow a terminal: {', '.join(left_out)}; --format csv has all")


def _as_markdown(table: pd.DataFrame, looks: Mapping[str, Callable[[Any], str]]) -> str:
    names = [str(name) for name in table]
    rows = [[_text(value, looks.get(str(name))) for name, value in row.items()] for row in table.to_dict("records")]
    lines = [names, ["---"] * len(names), *rows]
    return "".join(
        f"| {' | '.join(printable(cell).replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines
    )


def _write_csv(table: pd.DataFrame) -> None:
    # the writer leaves a carriage return bare, and readers take it for the row's end
    returns = any("\r" in str(value) for value in table.select_dtypes(exclude="number").to_numpy().ravel())
    text = table.to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_ALL if returns else csv.QUOTE_MINIMAL)
    sys.stdout.write(printable(text, lines=True) if sys.stdout.isatty() else text)


def _records(table: pd.DataFrame) -> list[dict[str, object]]:
    return [{str(name): _plain(value) for name, value in row.items()} for row in table.to_dict("records")]


def _write_json(content: object) -> None:
    sys.stdout.write(printable_json(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)) + "\n")


def _plain(value: Any) -> Any:  # noqa: ANN401 - a cell
    """Return a cell as JSON has it: what has no value, or an infinite one, is null."""
    from pandas import NA

    return None if value is NA or (isinstance(value, float) and not math.isfinite(value)) else value


def _text(value: Any, look: Callable[[Any], str] | None) -> str:  # noqa: ANN401 - a cell
    value = _plain(value)
    if value is None:
        return ""
    if look is not None:
        return look(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def print_inspection(found: Inspection) -> None:
    """Print every layer, the model's place in a zoo, and what stands out."""
    from filterlens.cli.layers import print_layers, print_places

    print_layers(found.layers)
    say_wrapped(found.comparison)
    for text in print_places(found.places):
        say_wrapped(text)
    for row in found.outstanding.itertuples(index=False):
        distance = f"this model's median layer has {row.median:.3f} ({row.z:+.1f} spreads of its layers)"
        say_wrapped(f"stands out: {row.layer}: {row.metric} {row.value:.3f}; {distance}")


def print_comparison(table: pd.DataFrame) -> None:
    """Print two sides and their difference: the model's means, and the layers whose scores changed most."""
    from rich.markup import escape

    from filterlens.cli.terminal import Column, print_columns

    several = (table["model"] != "").any()
    marks = ["[bold]*[/]" if found is True else "" for found in table["outside"].astype(object)]
    columns = [Column("model", [escape(str(name)) for name in table["model"]])] if several else []
    columns += [
        Column("layer", [escape(str(layer)) or "[bold]model[/]" for layer in table["layer"]]),
        Column("score", [escape(str(metric)) for metric in table["metric"]]),
        Column("first", [_number(value) for value in table["first"]], right=True, spare=2),
        Column("second", [_number(value) for value in table["second"]], right=True, spare=1),
        Column("difference", [_number(value, "+") for value in table["difference"]], right=True),
        Column("", marks),
        Column("noise", ["" if math.isnan(value) else _number(value) for value in table["noise"]], right=True, spare=3),
    ]
    means = int((table["layer"] == "").sum())
    print_columns(columns, sections=[means - 1])
    for text in table.attrs.get("notes", ()):
        say_wrapped(text)


def _number(value: float, sign: str = "") -> str:
    return "–" if math.isnan(value) else f"{value:{sign}.4f}" if abs(value) < 1000 else f"{value:{sign}.5g}"


def print_outcome(outcome: Outcome, form: Format) -> None:
    """Print what became of every job, and robust against normal where a report was made, for machines."""
    import pandas as pd

    from filterlens.commands.report import robust_vs_normal

    tables = {"jobs": pd.DataFrame([{name: getattr(row, name) for name in _OF_A_JOB} for row in outcome.rows])}
    if outcome.page:
        tables["robust_vs_normal"] = robust_vs_normal(outcome.folder)
    print_tables(tables, form, folder=str(outcome.folder), report=str(outcome.page or ""))


def print_estimate(found: Estimate, jobs: int, form: Format = Format.table) -> None:
    """Print what an audit would do."""
    import pandas as pd

    from filterlens.fetching import gigabytes

    if form is not Format.table:
        row = asdict(found) | {"folder": str(found.folder), "by_lens": json.dumps(dict(found.by_lens))}
        print_table(pd.DataFrame([row]), form)
        return
    done = f", {found.done} of them done already" if found.done else ""
    sizes = [gigabytes(found.download)] if found.download else []
    sizes += [f"{found.unknown} of unknown size"] if found.unknown else []
    fetched = f"{found.files} files, {' and '.join(sizes)}" if found.files else "nothing"
    room = "" if found.download <= found.cache_free else ": NOT ENOUGH"
    dumps = "unknown" if math.isnan(found.dumps) else f"about {gigabytes(found.dumps)} of dumps"
    space = "" if math.isnan(found.dumps) or found.dumps <= found.folder_free else ": NOT ENOUGH"
    lines = {
        "models": f"{found.models}{done}",
        "jobs": f"{found.jobs} (models × lenses)",
        "to fetch": f"{fetched}; the cache's disk has {gigabytes(found.cache_free)} free{room}",
        "disk": f"{dumps} in {found.folder}, whose disk has {gigabytes(found.folder_free)} free{space}",
        "time": _say_time(found, jobs),
    }
    for name, text in lines.items():
        _say_below(f"{name + ':':10}", text)


def _say_time(found: Estimate, jobs: int) -> str:
    if math.isnan(found.seconds):
        return f"unknown: {found.why_not}"
    if not found.jobs:
        return "nothing is left to be done"
    each = ", ".join(f"{lens} {seconds:.2g} s" for lens, seconds in found.by_lens.items())
    return (
        f"about {_duration(found.seconds)} with --jobs {jobs}, if all are like {found.measured} ({each} a model); "
        "downloads and the report come on top"
    )


def _duration(seconds: float) -> str:
    for size, name in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {name}"
    return f"{seconds:.0f} s"


def print_score(table: pd.DataFrame) -> None:
    """Print what a score means."""
    from filterlens.lens import get_score
    from filterlens.references import cited_papers

    score = get_score(str(table["name"].iloc[0]))
    low, high = ("" if bound is None else f"{bound:g}" for bound in score.bounds)
    direction = {True: "higher is better", False: "lower is better", None: "neither way is better as such"}
    lines = {
        "measures": score.summary,
        "formula": score.formula,
        "range": f"{low or '-∞'} to {high or '∞'} {score.unit}".strip(),
        "direction": direction[score.higher_is_better],
        "robust models": f"{score.robust_is} ({score.claim})" if score.robust_is else "",
        "chance": score.chance,
        "pitfalls": score.pitfalls,
        "reference": score.reference,
        "lens": score.lens,
    }
    say(f"{score.name}: {score.title}")
    for name, text in lines.items():
        if text:
            _say_below(f"  {name + ':':15} ", text)
    for paper in cited_papers(score.reference, score.claim):
        _say_below(f"  [{paper.key}] ", str(paper))


def print_scores(table: pd.DataFrame) -> None:
    """Print a list of scores, lens by lens."""
    for lens, scores in table.groupby("lens", sort=False):
        say("")
        say(str(lens))
        for row in scores.itertuples():
            _say_below(f"  {row.name:34} ", str(row.summary))


def _say_below(head: str, text: str) -> None:
    """Print a text beside its head, where the terminal is narrow below it, never beyond the edge."""
    from textwrap import wrap

    from filterlens.cli.terminal import make_console

    width = make_console().width
    beside = len(head) + 24 <= width
    indent = " " * (len(head) if beside else 6)
    lines = wrap(text, width - len(indent), break_long_words=False, break_on_hyphens=False) or [""]
    first = f"{head}{lines[0]}" if beside else f"{head.rstrip()}\n{indent}{lines[0]}"
    sys.stdout.write("\n".join(printable(line) for line in f"{first}\n".splitlines()) + "\n")
    for line in lines[1:]:
        say(f"{indent}{line}")


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a comparison as CSV, Markdown or LaTeX, told by the file's ending."""
    from filterlens.errors import InputError
    from filterlens.process.files import write_atomically

    if path.suffix == ".csv":
        write_atomically(path, table.to_csv(index=False))
        return
    from filterlens.report.formats import Column, Table, to_markdown
    from filterlens.report.latex import to_latex

    writers = {".md": to_markdown, ".tex": to_latex}
    if path.suffix not in writers:
        raise InputError(f"--out {path}: end it in .csv, .md or .tex")
    columns = tuple(
        Column(name, name, "value" if name in {"first", "second", "difference"} else "name") for name in table.columns
    )
    note = "An empty layer is the model's mean."
    drawn = Table("comparison", "Two checkpoints, layer by layer", note, table, columns)
    write_atomically(path, writers[path.suffix](drawn))


def warn(text: str) -> None:
    """Print one line beside what is printed for machines."""
    sys.stderr.write(f"warning: {printable(text)}\n")


def say_wrapped(text: str) -> None:
    """Print a sentence, broken between words where a terminal ends; on one line elsewhere."""
    from textwrap import wrap

    from filterlens.cli.terminal import make_console

    width = make_console().width
    for line in wrap(text, width, break_long_words=False, break_on_hyphens=False) if sys.stdout.isatty() else [text]:
        say(line)


def say_lines(text: str) -> None:
    """Print a text of several lines, such as LaTeX."""
    for line in text.rstrip("\n").split("\n"):
        say(line)


def say(text: str) -> None:
    """Print one line."""
    sys.stdout.write(printable(text) + "\n")
