"""How one checkpoint's scores look in a terminal."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from filterlens.process.printable import printable, printable_json

if TYPE_CHECKING:
    import pandas as pd

    from filterlens.commands.inspection import Place
    from filterlens.score import Score

__all__ = ["print_comparison", "print_layers", "print_places", "print_score", "say", "say_json", "write_table"]

_BLOCKS = " ▏▎▍▌▋▊▉█"
_WIDTH = 8


def _bar(value: float, low: float, high: float) -> str:
    """Draw a value within its bounds as a small bar."""
    if math.isnan(value) or high <= low:
        return " " * _WIDTH
    eighths = round(8 * _WIDTH * min(max((value - low) / (high - low), 0.0), 1.0))
    return ("█" * (eighths // 8) + _BLOCKS[eighths % 8].strip()).ljust(_WIDTH)


def print_layers(scores: pd.DataFrame) -> None:
    """Print one row a layer with small bars, and the model's means."""
    from rich.markup import escape

    from filterlens.cli.terminal import make_console, make_table
    from filterlens.lens import all_scores
    from filterlens.score import model_scores

    known = all_scores()
    shown = [m for m in dict.fromkeys(scores["metric"]) if m in known and not known[m].auxiliary]
    layers = scores[scores["layer"] != ""]
    drawn = make_table()
    drawn.add_column("layer", overflow="fold")
    drawn.add_column("kind")
    for metric in shown:
        drawn.add_column(known[metric].title, justify="left")
        if f"{metric}_z" in set(scores["metric"]):
            drawn.add_column("z", justify="right")
    wide = layers.pivot_table(index=["layer", "kind"], columns="metric", values="value", sort=False, dropna=False)
    wide = wide[wide.notna().any(axis=1)]
    for names, (_, row) in zip(wide.index.to_list(), wide.iterrows(), strict=True):
        drawn.add_row(*(escape(str(name)) for name in names), *_cells(row, shown, scores))
    means = model_scores(scores).iloc[0]
    drawn.add_section()
    drawn.add_row("[bold]model", "", *_cells(means, shown, scores))
    make_console().print(drawn)


def _cells(row: pd.Series, shown: list[str], scores: pd.DataFrame) -> list[str]:
    from filterlens.lens import all_scores

    cells = []
    present = set(scores["metric"])
    for metric in shown:
        value = float(row.get(metric, math.nan))
        low, high = all_scores()[metric].bounds
        top = high if high is not None else float(scores.loc[scores["metric"] == metric, "value"].max())
        cells.append("–" if math.isnan(value) else f"{value:.3f} [cyan]{_bar(value, low or 0.0, top)}[/]")
        if f"{metric}_z" in present:
            z = float(row.get(f"{metric}_z", math.nan))
            cells.append("" if math.isnan(z) else f"{z:+.1f}")
    return cells


def print_places(places: list[Place], zoo: str) -> None:
    """Print where each score stands among a zoo's models."""
    from rich.markup import escape

    from filterlens.cli.terminal import make_console, make_table

    drawn = make_table(f"place in {zoo}")
    heads = ("score", "here", "robust median", "normal median", "above % of robust", "above % of normal", "nearer")
    for column in heads:
        drawn.add_column(column, justify="left" if column in {"score", "nearer"} else "right")
    for p in places:
        values = [f"{number:.3f}" for number in (p.value, p.robust_median, p.normal_median)]
        drawn.add_row(escape(p.metric), *values, f"{p.robust:.0f}", f"{p.normal:.0f}", p.looks)
    if places:
        make_console().print(drawn)


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


def print_score(score: Score) -> None:
    """Print what a score means."""
    low, high = ("" if bound is None else f"{bound:g}" for bound in score.bounds)
    direction = {True: "higher is better", False: "lower is better", None: "neither way is better as such"}
    lines = {
        "measures": score.summary,
        "formula": score.formula,
        "range": f"{low or '-∞'} to {high or '∞'} {score.unit}".strip(),
        "direction": direction[score.higher_is_better],
        "robust models": f"{score.robust_is} (the paper's claim)" if score.robust_is else "",
        "chance": score.chance,
        "pitfalls": score.pitfalls,
        "reference": score.reference,
        "lens": score.lens,
    }
    say(f"{score.name}: {score.title}")
    for name, text in lines.items():
        if text:
            say(f"  {name + ':':15} {text}")


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a comparison as CSV, Markdown or LaTeX, told by the file's ending."""
    from filterlens.errors import InputError
    from filterlens.process.files import write_atomically

    if path.suffix == ".csv":
        write_atomically(path, table.to_csv(index=False))
        return
    from filterlens.report.formats import Column, Table, to_latex, to_markdown

    writers = {".md": to_markdown, ".tex": to_latex}
    if path.suffix not in writers:
        raise InputError(f"--out {path}: end it in .csv, .md or .tex")
    columns = tuple(
        Column(name, name, "value" if name in {"first", "second", "difference"} else "name") for name in table.columns
    )
    note = "An empty layer is the model's mean."
    drawn = Table("comparison", "Two checkpoints, layer by layer", note, table, columns)
    write_atomically(path, writers[path.suffix](drawn))


def say(text: str) -> None:
    """Print one line."""
    sys.stdout.write(printable(text) + "\n")


def say_json(content: Mapping[str, object]) -> None:
    """Print JSON for machines."""
    from filterlens.commands.inspection import as_json

    sys.stdout.write(printable_json(as_json(content)) + "\n")
