"""One section a model: its facts, its mean scores, its layers and its jobs."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from hashlib import sha256

import pandas as pd

from filterlens.catalogs import Entry
from filterlens.report.data import RunData
from filterlens.report.formats import cell
from filterlens.report.screen import numbered, without_paths
from filterlens.report.tables import score_column
from filterlens.score import Score

__all__ = ["LayerTable", "ModelSection", "anchor", "model_sections"]

_UNSAFE = re.compile(r"[^\w.-]")


@dataclass(frozen=True, slots=True)
class LayerTable:
    """Layers of one lens: headings, rows of text (layer, kind, depth, scores), and notes that rows refer to by number.

    A row's number, 0 for none, stands in `marks`.
    """

    lens: str
    heads: tuple[str, ...]
    rows: list[tuple[str, ...]]
    marks: list[int]
    footnotes: list[str]

    @property
    def size(self) -> int:
        """Roughly its bytes in a page."""
        return sum(4 * len(row) + sum(map(len, row)) for row in self.rows)


@dataclass(frozen=True, slots=True, eq=False)
class ModelSection:
    """Everything that the page says about one model."""

    anchor: str
    entry: Entry
    partners: list[tuple[str, str]]
    scores: list[tuple[str, str]]
    layers: list[LayerTable]
    jobs: list[tuple[str, str, str]]

    @property
    def layers_page(self) -> str:
        """Name of the page of its layers, where they have one of their own."""
        return f"tables/layers-{self.anchor.removeprefix('model-')}.html"


def anchor(entry: Entry) -> str:
    """Name the place of a model on the page, after its id: a link to it still leads there when models are added.

    Ids with other characters than letters, digits, `.`, `_` and `-` get a digest in place of them.
    """
    plain = _UNSAFE.sub("_", entry.model_id)[:100]
    if plain != entry.model_id:
        plain = f"{plain}-{sha256(entry.model_id.encode('utf-8', 'surrogatepass')).hexdigest()[:10]}"
    return f"model-{plain}"


def model_sections(run: RunData, models: pd.DataFrame, scores: list[Score]) -> list[ModelSection]:
    """Make the section of every model, in the catalog's order.

    Parameters
    ----------
    run
        The run.
    models
        `run.models`.
    scores
        Descriptors of the scores to show.
    """
    anchors = {entry.model_id: anchor(entry) for entry in run.catalog}
    robust_of: dict[str, list[str]] = {}
    for entry in run.catalog:
        if entry.match:
            robust_of.setdefault(entry.match, []).append(entry.model_id)
    table = run.sized_scores
    of_layers = table[(table["layer"] != "") & table["metric"].isin([score.name for score in scores])]
    layers = dict(list(of_layers.groupby("model_id", sort=False)))
    jobs = dict(list(run.ledger.groupby("model_id", sort=False)))
    means = {score.name: models[score.name].astype(float) for score in scores if score.name in models}
    sections = []
    for entry in run.catalog:
        partners = [entry.match] if entry.match else robust_of.get(entry.model_id, [])
        shown = [(s, float(means[s.name].loc[entry.model_id])) for s in scores if s.name in means]
        mine = jobs.get(entry.model_id)
        sections.append(
            ModelSection(
                anchor=anchors[entry.model_id],
                entry=entry,
                partners=[(name, anchors.get(name, "")) for name in partners],
                scores=[(score_column(score).label, cell(value)) for score, value in shown if not math.isnan(value)],
                layers=_layer_tables(layers.get(entry.model_id), scores),
                jobs=[] if mine is None else _jobs(mine),
            )
        )
    return sections


def _jobs(ledger: pd.DataFrame) -> list[tuple[str, str, str]]:
    reason = ledger["reason"].fillna("").map(str).map(without_paths)
    return list(zip(ledger["lens"].map(str), ledger["status"].map(str), reason, strict=True))


def _layer_tables(rows: pd.DataFrame | None, scores: list[Score]) -> list[LayerTable]:
    if rows is None:
        return []
    tables = []
    for lens in dict.fromkeys(score.lens for score in scores):
        mine = rows[rows["lens"] == lens]
        if mine.empty:
            continue
        names = [score for score in scores if score.lens == lens and (mine["metric"] == score.name).any()]
        tables.append(_layer_table(lens, mine, names))
    return tables


def _layer_table(lens: str, rows: pd.DataFrame, scores: list[Score]) -> LayerTable:
    """Pivot by hand: pandas' own takes longer than everything else together over a hundred models."""
    values: dict[tuple[str, str], dict[str, float]] = {}
    depths: dict[tuple[str, str], float] = {}
    notes: dict[tuple[str, str], str] = {}
    columns = (rows[name].tolist() for name in ("layer", "kind", "metric", "conv_depth", "value", "note"))
    for layer, kind, metric, depth, value, note in zip(*columns, strict=True):
        values.setdefault((layer, kind), {})[metric] = value
        depths[layer, kind] = depth
        if note:
            notes[layer, kind] = note
    order = sorted(values, key=lambda key: math.inf if math.isnan(depths[key]) else depths[key])
    heads = ("layer", "kind", "depth", *(score.title for score in scores))
    body = [
        (*key, cell(depths[key], "count"), *(cell(values[key].get(score.name)) for score in scores)) for key in order
    ]
    numbers = numbered([notes.get(key, "") for key in order])
    marks = [numbers[notes.get(key, "")] for key in order]
    return LayerTable(lens, heads, body, marks, [without_paths(note) for note in numbers if note])
