"""How the scores of one checkpoint's layers, and its place in a zoo, are printed: at once where wide, else in parts."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.markup import escape

from filterlens.cli.terminal import Column, make_console, print_columns, shortened, table_width

if TYPE_CHECKING:
    import pandas as pd

    from filterlens.commands.reference import Place

__all__ = ["print_layers", "print_places"]

_BLOCKS: Final = " ▏▎▍▌▋▊▉█"
_WIDTH: Final = 8
_Z: Final = "z: standard deviations from random filters of the same shape"
_ROOM: Final = 24  # for the names of layers beside the scores; longer ones are folded
Row = Mapping[Hashable, Any]


def print_layers(scores: pd.DataFrame) -> None:
    """Print one row a layer, and the model's means.

    With small bars and z-scores between the scores where the terminal is wide enough; without bars where it is not; in
    several tables, the z-scores last, where it is narrow.
    """
    from filterlens.lens import all_scores
    from filterlens.score import model_scores

    known = all_scores()
    metrics = [m for m in dict.fromkeys(scores["metric"]) if m in known and not known[m].auxiliary]
    layers = scores[scores["layer"] != ""]
    wide = layers.pivot_table(index=["layer", "kind"], columns="metric", values="value", sort=False, dropna=False)
    wide = wide[wide.notna().any(axis=1)]
    rows: list[Row] = [*wide.to_dict("records"), model_scores(scores).iloc[0].to_dict()]
    names = [
        Column("layer", [*(escape(str(layer)) for layer, _ in wide.index), "[bold]model[/]"]),
        Column("kind", [*(escape(str(kind)) for _, kind in wide.index), ""]),
    ]
    present = set(scores["metric"])
    highest = scores.groupby("metric")["value"].max()

    def column(metric: str, *, bars: bool) -> Column:
        low, high = known[metric].bounds
        bar = (low or 0.0, float(highest[metric]) if high is None else high) if bars else None
        return Column(known[metric].title, [_value(row, metric, bar) for row in rows])

    def z_scores(metric: str, heading: str = "z") -> list[Column]:
        name = f"{metric}_z"
        return [Column(heading, [_z(row, name) for row in rows], right=True)] if name in present else []

    console = make_console()
    for bars in (True, False):
        together = [one for metric in metrics for one in (column(metric, bars=bars), *z_scores(metric))]
        if table_width([*names, *together]) <= console.width:
            title = _Z if any(f"{metric}_z" in present for metric in metrics) else ""
            print_columns([*names, *together], title, console=console, sections=[len(rows) - 2])
            return
    values = [column(metric, bars=False) for metric in metrics]
    apart = [z for metric in metrics for z in z_scores(metric, known[metric].title)]
    _print_parts(names, values, console)
    if apart:
        _print_parts(names, apart, console, _Z)


def _print_parts(names: Sequence[Column], columns: Sequence[Column], console: Console, title: str = "") -> None:
    """Print columns in as many tables as they need, each with the names of the layers."""
    narrow = [Column(shortened(column.heading), column.cells, column.right) for column in columns]
    own = min(table_width(names), _ROOM)
    part: list[Column] = []
    for column in narrow:
        if part and own + table_width([*part, column]) + 1 > console.width:
            _print_part(names, part, console, title)
            part, title = [], ""
        part.append(column)
    _print_part(names, part, console, title)


def _print_part(names: Sequence[Column], part: Sequence[Column], console: Console, title: str) -> None:
    print_columns([*names, *part], title, console=console, sections=[len(names[0].cells) - 2])


def _value(row: Row, metric: str, bar: tuple[float, float] | None) -> str:
    value = float(row.get(metric, math.nan))
    if math.isnan(value):
        return "–"
    text = _number(value)
    return f"{text} [cyan]{_bar(value, *bar)}[/]" if bar else text


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 100 else f"{value:.4g}"


def _bar(value: float, low: float, high: float) -> str:
    """Draw a value within its bounds as a small bar."""
    if math.isnan(value) or high <= low:
        return " " * _WIDTH
    eighths = round(8 * _WIDTH * min(max((value - low) / (high - low), 0.0), 1.0))
    return ("█" * (eighths // 8) + _BLOCKS[eighths % 8].strip()).ljust(_WIDTH)


def _z(row: Row, name: str) -> str:
    z = float(row.get(name, math.nan))
    return "" if math.isnan(z) else f"{z:+.1f}" if abs(z) < 100 else f"{z:+.0f}"


def print_places(places: Sequence[Place]) -> list[str]:
    """Print where each score stands among a zoo's models, and return what is to be said below."""
    if not places:
        return []
    columns = [
        Column("score", [escape(p.metric) for p in places]),
        Column("here", [_number(p.value) for p in places], right=True),
        Column("robust median", [_number(p.robust_median) for p in places], right=True),
        Column("normal median", [_number(p.normal_median) for p in places], right=True),
        Column("above % of robust", [f"{p.robust:.0f}" for p in places], right=True),
        Column("above % of normal", [f"{p.normal:.0f}" for p in places], right=True),
        Column("nearer", [p.looks for p in places], spare=1),
    ]
    print_columns(columns, "place among them")
    said = [
        f"{p.metric}: nearer to the {p.looks} ones by its z against chance, which was right for {p.right} of "
        f"{p.tested} networks whose architecture was left out"
        for p in places
        if p.looks
    ]
    last = "That is how a network was trained: whether it withstands attacks, only attacks tell."
    return [*said, last] if said else []
