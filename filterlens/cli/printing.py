"""How tables and scores are printed."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from filterlens.cli.options import Format
from filterlens.process.printable import printable, printable_json

if TYPE_CHECKING:
    import pandas as pd

    from filterlens.commands.inspect import Inspection
    from filterlens.commands.reference import Place

__all__ = [
    "print_comparison",
    "print_inspection",
    "print_results",
    "print_score",
    "print_scores",
    "print_table",
    "print_tables",
    "say",
    "warn",
    "write_table",
]

_BLOCKS = " ▏▎▍▌▋▊▉█"
_WIDTH = 8


def _bar(value: float, low: float, high: float) -> str:
    """Draw a value within its bounds as a small bar."""
    if math.isnan(value) or high <= low:
        return " " * _WIDTH
    eighths = round(8 * _WIDTH * min(max((value - low) / (high - low), 0.0), 1.0))
    return ("█" * (eighths // 8) + _BLOCKS[eighths % 8].strip()).ljust(_WIDTH)


def print_table(
    table: pd.DataFrame,
    form: Format,
    *,
    title: str = "",
    looks: Mapping[str, Callable[[Any], str]] = MappingProxyType({}),
    hidden: Sequence[str] = (),
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
    draw
        Prints it on a terminal, where plain rows and columns do not suffice.
    """
    if form is Format.table and draw is not None:
        draw(table)
    elif form is Format.table:
        _draw(table.drop(columns=[name for name in hidden if name in table]), title, looks)
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
        for result in results:
            if not (result.passed and _is_of_a_layer(result)):
                say(f"{'PASS' if result.passed else 'FAIL'} {result.text}")
        if hidden := sum(result.passed and _is_of_a_layer(result) for result in results):
            say(f"PASS {hidden} bounds on single layers (baseline)")

    print_table(table, form, draw=draw)


def _is_of_a_layer(result: Result) -> bool:
    """Whether it is one of the many bounds that a baseline's layers make."""
    return str(getattr(result, "name", "")).startswith("against-") and bool(getattr(result, "layer", ""))


def _draw(table: pd.DataFrame, title: str, looks: Mapping[str, Callable[[Any], str]]) -> None:
    from pandas.api.types import is_bool_dtype, is_numeric_dtype
    from rich.markup import escape

    from filterlens.cli.terminal import make_console, make_table

    drawn = make_table(title)
    for place, (name, column) in enumerate(table.items()):
        right = is_numeric_dtype(column) and not is_bool_dtype(column)
        drawn.add_column(str(name), justify="right" if right else "left", overflow="fold", no_wrap=place == 0)
    for row in table.to_dict("records"):
        drawn.add_row(*(escape(_text(value, looks.get(str(name)))) for name, value in row.items()))
    make_console().print(drawn)


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
    _print_layers(found.layers)
    say(found.comparison)
    _print_places(found.places)
    for row in found.outstanding.itertuples(index=False):
        distance = f"{row.z:+.1f} spreads from this model's median layer"
        say(f"stands out: {row.layer}: {row.metric} {row.value:.3f}, {distance}")


def _print_layers(scores: pd.DataFrame) -> None:
    """Print one row a layer with small bars, and the model's means."""
    from rich.markup import escape

    from filterlens.cli.terminal import make_console, make_table
    from filterlens.lens import all_scores
    from filterlens.score import model_scores

    known = all_scores()
    shown = [m for m in dict.fromkeys(scores["metric"]) if m in known and not known[m].auxiliary]
    layers = scores[scores["layer"] != ""]
    present = set(scores["metric"])
    highest = scores.groupby("metric")["value"].max()
    scales: dict[str, tuple[float, float, bool]] = {}  # both ends of the bar, and whether there is a z-score
    for metric in shown:
        low, high = known[metric].bounds
        top = float(highest[metric]) if high is None else high
        scales[metric] = (low or 0.0, top, f"{metric}_z" in present)
    drawn = make_table()
    drawn.add_column("layer", overflow="fold")
    drawn.add_column("kind")
    for metric, (_, _, has_z) in scales.items():
        drawn.add_column(known[metric].title, justify="left")
        if has_z:
            drawn.add_column("z", justify="right")
    wide = layers.pivot_table(index=["layer", "kind"], columns="metric", values="value", sort=False, dropna=False)
    wide = wide[wide.notna().any(axis=1)]
    for names, row in zip(wide.index.to_list(), wide.to_dict("records"), strict=True):
        drawn.add_row(*(escape(str(name)) for name in names), *_cells(row, scales))
    means = model_scores(scores).iloc[0].to_dict()
    drawn.add_section()
    drawn.add_row("[bold]model", "", *_cells(means, scales))
    make_console().print(drawn)


def _cells(row: Mapping[Hashable, float], scales: Mapping[str, tuple[float, float, bool]]) -> list[str]:
    cells = []
    for metric, (low, top, has_z) in scales.items():
        value = float(row.get(metric, math.nan))
        cells.append("–" if math.isnan(value) else f"{value:.3f} [cyan]{_bar(value, low, top)}[/]")
        if has_z:
            z = float(row.get(f"{metric}_z", math.nan))
            cells.append("" if math.isnan(z) else f"{z:+.1f}")
    return cells


def _print_places(places: Sequence[Place]) -> None:
    """Print where each score stands among a zoo's models."""
    from rich.markup import escape

    from filterlens.cli.terminal import make_console, make_table

    if not places:
        return
    drawn = make_table("place among them")
    heads = ("score", "here", "robust median", "normal median", "above % of robust", "above % of normal", "nearer")
    for column in heads:
        drawn.add_column(column, justify="left" if column in {"score", "nearer"} else "right")
    for p in places:
        values = [f"{number:.3f}" for number in (p.value, p.robust_median, p.normal_median)]
        drawn.add_row(escape(p.metric), *values, f"{p.robust:.0f}", f"{p.normal:.0f}", p.looks)
    make_console().print(drawn)
    for p in places:
        if p.looks:
            how_often = f"{p.right} of {p.tested} networks whose architecture was left out"
            say(f"{p.metric}: nearer to the {p.looks} ones by its z against chance, which was right for {how_often}")
    if any(p.looks for p in places):
        say("That is how a network was trained: whether it withstands attacks, only attacks tell.")


def print_comparison(table: pd.DataFrame) -> None:
    """Print two sides and their difference."""
    from rich.markup import escape

    from filterlens.cli.terminal import make_console, make_table

    drawn = make_table()
    several = (table["model"] != "").any()
    for column in (["model"] if several else []) + ["layer", "score", "first", "second", "difference"]:
        drawn.add_column(column, justify="left" if column in {"model", "layer", "score"} else "right")
    for row in table.to_dict("records"):
        names = [escape(str(row["model"]))] if several else []
        names += [escape(str(row["layer"])) or "[bold]model", escape(str(row["metric"]))]
        drawn.add_row(*names, _number(row["first"]), _number(row["second"]), _number(row["difference"], "+"))
    make_console().print(drawn)


def _number(value: float, sign: str = "") -> str:
    return "–" if math.isnan(value) else f"{value:{sign}.4f}"


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
            say(f"  {name + ':':15} {text}")
    for paper in cited_papers(score.reference, score.claim):
        say(f"  [{paper.key}] {paper}")


def print_scores(table: pd.DataFrame) -> None:
    """Print a list of scores, lens by lens."""
    for lens, scores in table.groupby("lens", sort=False):
        say("")
        say(str(lens))
        for row in scores.itertuples():
            say(f"  {row.name:34} {row.summary}")


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


def say(text: str) -> None:
    """Print one line."""
    sys.stdout.write(printable(text) + "\n")
