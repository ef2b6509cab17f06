"""The page: one self-contained HTML file that opens from disk, without network and without JavaScript."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from filterlens.lens import all_lenses
from filterlens.process.printable import printable
from filterlens.report.cautions import Settings
from filterlens.report.comparison import MIN_PAIRS, comparable_pairs, main_scores, pair_models, robustness_column
from filterlens.report.data import RunData
from filterlens.report.figure import FinishedFigure
from filterlens.report.formats import Table
from filterlens.report.models import model_sections
from filterlens.report.prediction import held_out_r2
from filterlens.report.style import NORMAL, ROBUST
from filterlens.report.summary import correlated, counted, headlines, predicted
from filterlens.version import __version__

__all__ = ["InlineImage", "inline_image", "render_page"]

_BUDGET = 3_000_000  # bytes of inline figures; those beyond are shown from beside the page


@dataclass(frozen=True, slots=True)
class InlineImage:
    """Where an `img` takes its picture from, and its size in CSS pixels."""

    source: str
    width: int
    height: int


def inline_image(png: bytes) -> tuple[bytes, int, int]:
    """Reduce a picture to 256 colours, a third of its size; return it with width and height in pixels."""
    from PIL import Image

    with Image.open(io.BytesIO(png), formats=("PNG",)) as image:
        out = io.BytesIO()
        image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(out, format="PNG", optimize=True)
        small = out.getvalue()
        return (small if len(small) < len(png) else png), image.width, image.height


def render_page(
    run: RunData,
    tables: Sequence[Table],
    figures: Sequence[FinishedFigure],
    failed: Mapping[str, str],
    *,
    settings: Settings,
    inline: bool = True,
) -> str:
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
    by_name = {table.name: table for table in tables}
    models = run.models
    scores = main_scores(run)
    sections = model_sections(run, models, scores)
    compared = by_name.get("robust_vs_normal")
    pairs = comparable_pairs(models, scores)
    sentences = [counted(models, pair_models(models), (len(pairs), pairs["normal"].nunique()), run.ledger)]
    told = [] if compared is None else headlines(compared.frame, scores)
    if compared is not None and not told:
        sentences.append(f"No comparison is tested: that takes {MIN_PAIRS} distinct normal models.")
    if run.duplicates:
        sentences.append(run.duplicates)
    if "correlation" in by_name:
        sentences += correlated(by_name["correlation"].frame, partial(held_out_r2, models))
    if "predictors" in by_name:
        sentences += predicted(by_name["predictors"].frame)
    context = {
        "title": run.folder.resolve().name,
        "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "version": __version__,
        "colours": {"robust": ROBUST, "normal": NORMAL},
        "sentences": sentences,
        "headlines": told,
        "tables": by_name,
        "lenses": _lenses(by_name, figures, _images(figures, inline=inline), scores),
        "sections": sections,
        "anchors": {section.entry.model_id: section.anchor for section in sections},
        "robust_side": {entry.model_id: entry.robust for entry in run.catalog},
        "accuracy": {"robust_acc": "published", "robust_accuracy": "measured"}.get(robustness_column(models), ""),
        "failed": failed,
        "cautions": [] if "cautions" not in by_name else by_name["cautions"].frame["caution"].tolist(),
        "settings": [(lens, parameters, len(ids)) for (lens, parameters), ids in sorted(settings.items())],
        "versions": _versions(run),
    }
    return printable(environment.get_template("index.html").render(context), lines=True)


def _images(figures: Sequence[FinishedFigure], *, inline: bool) -> dict[str, InlineImage]:
    images, spent = {}, 0
    for finished in figures:
        name = finished.figure.name
        small, width, height = inline_image(finished.png)
        spent += len(small) * 4 // 3
        source = f"figures/{name}.png"
        if inline and spent <= _BUDGET:
            source = f"data:image/png;base64,{base64.b64encode(small).decode()}"
        images[name] = InlineImage(source, width // 2, height // 2)
    return images


def _lenses(
    tables: Mapping[str, Table],
    figures: Sequence[FinishedFigure],
    images: Mapping[str, InlineImage],
    scores: Sequence[Any],
) -> list[dict[str, Any]]:
    """One part a lens that has a score, a table or a figure, in the order of the register."""
    known = all_lenses()
    names = [*known, *(figure.figure.lens for figure in figures), *(score.lens for score in scores)]
    parts = []
    for name in dict.fromkeys(names):
        mine = [(finished, images[finished.figure.name]) for finished in figures if finished.figure.lens == name]
        shown = [table for table in tables.values() if table.lens == name]
        own = [score for score in scores if score.lens == name]
        if mine or shown or own:
            title = (known[name].title if name in known else "") or name
            parts.append({"name": name, "title": title, "figures": mine, "tables": shown, "scores": own})
    return parts


def _versions(run: RunData) -> list[tuple[str, str]]:
    """Collect every version that the ledger names, joined where jobs ran with different ones."""
    found: dict[str, set[str]] = {}
    for versions in run.ledger.get("versions", []):
        if isinstance(versions, dict):
            for name, version in versions.items():
                found.setdefault(str(name), set()).add(str(version))
    return [(name, ", ".join(sorted(versions))) for name, versions in sorted(found.items())]
