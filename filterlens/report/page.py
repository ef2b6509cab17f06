"""The page: one self-contained HTML file that opens from disk, without network and without JavaScript.

Where the layers of all models are too much for one file, each model has a page of its own for them; where there are
more models than a page can list, it lists groups of them, and its script finds a model among all.
"""

from __future__ import annotations

import base64
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from filterlens.lens import all_lenses
from filterlens.process.printable import printable
from filterlens.report.cautions import Settings, mixed_options
from filterlens.report.chart import Chart, scatter
from filterlens.report.claims import claims, limit_of
from filterlens.report.comparison import MIN_PAIRS, comparable_pairs, main_scores, pair_models, robustness_column
from filterlens.report.data import RunData
from filterlens.report.figure import FinishedFigure
from filterlens.report.formats import Column, Table
from filterlens.report.hover import Grid
from filterlens.report.marks import NORMAL, ROBUST
from filterlens.report.models import anchor, model_sections
from filterlens.report.prediction import held_out_r2
from filterlens.report.screen import ScreenTable, gathered, screen_table, without_paths
from filterlens.report.summary import correlated, counted, headlines, predicted, unpooled
from filterlens.report.tables import ARCHITECTURE, DATASET, counts_of
from filterlens.report.tables import ROBUST as ROBUST_COLUMN
from filterlens.score import Score
from filterlens.version import __version__

__all__ = ["InlineImage", "Page", "render_page"]

_BUDGET = 3_000_000  # bytes of inline figures; those beyond are shown from beside the page
_LAYERS_BUDGET = 1_500_000  # bytes of the layers of all models, beyond which each model's lie beside the page
_LISTED = 1000  # models, beyond which the page lists groups of them
_MOST_POINTS = 3000  # of a figure, beyond which its points stay without names
_MOST_VALUES = 400  # models of a matrix, beyond which it says names without values


@dataclass(frozen=True, slots=True)
class InlineImage:
    """Where an `img` takes its picture from, and its size in CSS pixels."""

    source: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Page:
    """`index.html`, and the pages that it needs beside it, by their names in the folder."""

    index: str
    beside: dict[str, str]


def render_page(
    run: RunData,
    tables: Sequence[Table],
    figures: Sequence[FinishedFigure],
    failed: Mapping[str, str],
    *,
    settings: Settings,
    inline: bool = True,
) -> Page:
    """Render `index.html`.

    Parameters
    ----------
    run
        The run.
    tables
        Its tables, by `report_tables`.
    figures
        Figures that were drawn, in order.
    failed
        Title and reason of each figure that could not be drawn.
    settings
        Under which each lens was extracted, by `read_settings`.
    inline
        Put figures into the page, as far as three megabytes go.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("filterlens.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["without_paths"] = without_paths
    environment.filters["unbroken"] = _unbroken
    models = run.models
    scores = main_scores(run)
    is_listed = len(models) <= _LISTED
    sections = model_sections(run, models, scores) if is_listed else []
    layers_beside = sum(table.size for section in sections for table in section.layers) > _LAYERS_BUDGET
    by_name = {table.name: table for table in tables}
    screens = _screens(tables, run, models, scores)
    anchors = {entry.model_id: anchor(entry) for entry in run.catalog}
    context = {
        "title": run.folder.resolve().name,
        "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "version": __version__,
        "colours": {"robust": ROBUST, "normal": NORMAL},
        **_findings(run, by_name, models, scores),
        "tables": screens,
        "lenses": _lenses(screens, by_name, figures, _images(figures, inline=inline), scores),
        "n_models": len(models),
        "is_listed": is_listed,
        "layers_beside": layers_beside,
        "sections": sections,
        "anchors": anchors if is_listed else {},
        "data": _data(run, by_name["models"], anchors, is_listed=is_listed),
        "chart": _chart(models, by_name["models"], scores),
        "robust_side": {entry.model_id: entry.robust for entry in run.catalog},
        "accuracy": {"robust_acc": "published", "robust_accuracy": "measured"}.get(robustness_column(models), ""),
        "failed": {name: without_paths(reason) for name, reason in failed.items()},
        "cautions": []
        if "cautions" not in by_name
        else by_name["cautions"].frame["caution"].map(without_paths).tolist(),
        "settings": [(lens, without_paths(text), len(ids)) for (lens, text), ids in sorted(settings.items())],
        "versions": _versions(run),
        **_recipe(run, settings),
    }
    index = environment.get_template("index.html").render(context)
    beside = {}
    if layers_beside:
        template = environment.get_template("layers.html")
        for section in sections:
            beside[section.layers_page] = printable(template.render({**context, "section": section}), lines=True)
    return Page(printable(index, lines=True), beside)


def _findings(
    run: RunData, tables: Mapping[str, Table], models: pd.DataFrame, scores: Sequence[Score]
) -> dict[str, Any]:
    """Collect what is said first: counts, headlines, claims, and what correlates and predicts."""
    compared = tables.get("robust_vs_normal")
    pairs = comparable_pairs(models, scores)
    sentences = [counted(models, pair_models(models), (len(pairs), pairs["normal"].nunique()), run.ledger)]
    told = [] if compared is None else headlines(compared.frame, scores)
    if compared is not None and not told:
        sentences.append(f"No comparison is tested: that takes {MIN_PAIRS} distinct normal models.")
    if run.duplicates:
        sentences.append(run.duplicates)
    sentences += unpooled(run.parameters_in_parts)
    if "correlation" in tables:
        sentences += correlated(tables["correlation"].frame, partial(held_out_r2, models))
    if "predictors" in tables:
        sentences += predicted(tables["predictors"].frame)
    claimed = [] if compared is None else claims(compared.frame, scores)
    limit = "" if compared is None else limit_of(compared.frame)
    return {"sentences": sentences, "headlines": told, "claims": claimed, "limit": limit}


def _screens(
    tables: Sequence[Table], run: RunData, models: pd.DataFrame, scores: Sequence[Score]
) -> dict[str, ScreenTable]:
    """Make every table as the page shows it; what holds for several is said at the first of the page."""
    by_name = {table.name: table for table in tables}
    said = {run.duplicates, *(by_name["cautions"].frame["caution"] if "cautions" in by_name else ())}
    known = dict.fromkeys(models.index)
    first = ("robust_vs_normal", "robust_vs_normal_by_dataset", "robust_vs_normal_by_architecture")
    ordered = sorted(tables, key=lambda table: first.index(table.name) if table.name in first else len(first))
    shown = {}
    for table in ordered:
        one = table
        if table.name == "models" and len(models) > _LISTED:
            one = _groups(table, models, scores)
        elif table.name == "failures":
            one = _failures(table)
        elif table.name == "incomplete_pairs":
            one = _gaps(table)
        shown[table.name] = screen_table(one, known, said)
    return shown


def _groups(table: Table, models: pd.DataFrame, scores: Sequence[Score]) -> Table:
    """Means over the models of each data set, architecture and side, in place of more models than a page can list."""
    by = ["dataset", "architecture", "robust"]
    means = [column for column in table.columns if column.key in models and column.kind == "number"]
    robust = models["robust"].astype(object).where(models["robust"].notna(), None)
    grouped = models.assign(robust=robust).groupby(by, sort=False, dropna=False)
    frame = grouped[[column.key for column in means]].mean().assign(n=grouped.size()).reset_index()
    columns = (DATASET, ARCHITECTURE, ROBUST_COLUMN, Column("n", "models", "count"), *means)
    note = f"{counts_of(models)}, in means of each data set, architecture and side. Every model: tables/models.csv."
    return replace(table, note=note, frame=frame, columns=columns)


def _failures(table: Table) -> Table:
    """Put jobs that ended for the same reason into one row."""
    frame = gathered(table.frame[["model_id", "lens", "status", "reason"]].fillna("").astype(str), "model_id", "n")
    columns = (
        *(Column("lens", "lens", "name"), Column("status", "status", "name"), Column("reason", "reason")),
        *(Column("n", "models", "count"), Column("model_id", "which")),
    )
    return replace(table, frame=frame, columns=columns)


def _gaps(table: Table) -> Table:
    """Put pairs that lack the same into one row, and lenses of one pair too."""
    frame = gathered(table.frame.assign(lens=table.frame["lens"].replace("", "all")), "lens", "lenses")
    frame = gathered(frame.drop(columns="lenses"), "robust", "n")
    columns = (
        *(Column("missing", "what is missing"), Column("lens", "lens", "name")),
        *(Column("normal", "normal model", "name"), Column("n", "pairs", "count"), Column("robust", "robust models")),
    )
    return replace(table, frame=frame, columns=columns)


def _data(run: RunData, table: Table, anchors: Mapping[str, str], *, is_listed: bool) -> dict[str, Any]:
    """Give the page's script every model's id and place, and, where the page cannot list them, their cells."""
    facts = [[entry.model_id, anchors[entry.model_id]] for entry in run.catalog]
    found: dict[str, Any] = {"models": facts, "chartable": _chartable(table)}
    if is_listed:
        return found
    columns = [{"key": c.key, "label": c.label, "numeric": c.is_numeric} for c in table.columns]
    return found | {"columns": columns, "rows": table.rows()}


def _chartable(table: Table) -> list[tuple[str, str]]:
    """Key and label of every number of the models that has at least two values."""
    numeric = [column for column in table.columns if column.is_numeric]
    return [(c.key, c.label) for c in numeric if table.frame[c.key].notna().sum() > 1]


def _chart(models: pd.DataFrame, table: Table, scores: Sequence[Score]) -> Chart | None:
    """Draw the first score that a paper makes a claim about against robust accuracy, or else the first two numbers.

    A score that is the same of every model is left to the reader to choose.
    """
    labels = {key: label for key, label in _chartable(table) if len(table.frame[key].dropna().unique()) > 1}
    target = robustness_column(models)
    wished = [score.name for score in scores if score.claim and score.name != target] + list(labels)
    x = next((key for key in wished if key in labels and key != target), None)
    y = target if target in labels else next((key for key in labels if key != x), None)
    if x is None or y is None:
        return None
    return scatter(models, (x, labels[x]), (y, labels[y]))


def _recipe(run: RunData, settings: Settings) -> dict[str, Any]:
    """Say how to make the run again: its `run.toml`, the command, and what its images hold."""
    path = run.folder / "run.toml"
    try:
        text = path.read_text(encoding="utf-8")
        content = tomllib.loads(text).get("content", {})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError):
        text, content = "", {}
    digests = [(str(name), str(value)) for name, value in content.items()] if isinstance(content, dict) else []
    mixed = [without_paths(said) for said in mixed_options(run, settings).values()]
    return {"run_toml": without_paths(text), "digests": digests, "mixed": mixed}


def _unbroken(text: str) -> str:
    """Keep `p = 0.01` and `p < 0.05` on one line."""
    return text.replace(" = ", "\u00a0=\u00a0").replace(" < ", "\u00a0<\u00a0")


def _images(figures: Sequence[FinishedFigure], *, inline: bool) -> dict[str, InlineImage]:
    images, spent = {}, 0
    for finished in figures:
        name = finished.figure.name
        small, width, height = finished.image
        spent += len(small) * 4 // 3
        source = f"figures/{name}.png"
        if inline and spent <= _BUDGET:
            source = f"data:image/webp;base64,{base64.b64encode(small).decode()}"
        images[name] = InlineImage(source, width // 2, height // 2)
    return images


def _lenses(
    screens: Mapping[str, ScreenTable],
    tables: Mapping[str, Table],
    figures: Sequence[FinishedFigure],
    images: Mapping[str, InlineImage],
    scores: Sequence[Score],
) -> list[dict[str, Any]]:
    """One part a lens that has a score, a table or a figure, in the order of the register."""
    known = all_lenses()
    names = [*known, *(figure.figure.lens for figure in figures), *(score.lens for score in scores)]
    parts = []
    for name in dict.fromkeys(names):
        mine = [(f, images[f.figure.name], _hover(f)) for f in figures if f.figure.lens == name]
        shown = [screens[table.name] for table in tables.values() if table.lens == name]
        own = [score for score in scores if score.lens == name]
        if mine or shown or own:
            title = (known[name].title if name in known else "") or name
            parts.append({"name": name, "title": title, "figures": mine, "tables": shown, "scores": own})
    return parts


def _hover(finished: FinishedFigure) -> dict[str, str]:
    """Say what lies under the pointer, as JSON of each of a picture's `data-` attributes."""
    found = {}
    if finished.points and len(finished.points) <= _MOST_POINTS:
        points = [[round(p.x, 4), round(p.y, 4), p.model_id, p.text] for p in finished.points]
        found["points"] = json.dumps(points, ensure_ascii=False, separators=(",", ":"))
    if finished.grid is not None:
        found["grid"] = json.dumps(_grid(finished.grid), ensure_ascii=False, separators=(",", ":"))
    return found


def _grid(grid: Grid) -> dict[str, Any]:
    """Give a matrix with three digits; of a symmetric one what is below the diagonal and on it."""
    matrix = grid.matrix
    values = matrix.shown if len(matrix.model_ids) <= _MOST_VALUES else np.empty((0, 0))
    is_symmetric = bool(np.allclose(values, values.T, equal_nan=True))
    rows = [
        [float(f"{value:.3g}") if np.isfinite(value) else None for value in (row[: i + 1] if is_symmetric else row)]
        for i, row in enumerate(values.tolist())
    ]
    box = [round(share, 4) for share in grid.box]
    return {"box": box, "models": list(matrix.model_ids), "values": rows, "unit": matrix.unit}


def _versions(run: RunData) -> list[tuple[str, str]]:
    """Collect every version that the ledger names, joined where jobs ran with different ones."""
    found: dict[str, set[str]] = {}
    for versions in run.ledger.get("versions", []):
        if isinstance(versions, dict):
            for name, version in versions.items():
                found.setdefault(str(name), set()).add(str(version))
    return [(name, ", ".join(sorted(versions))) for name, versions in sorted(found.items())]
