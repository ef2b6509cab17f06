"""One checkpoint at a time: score it, place it among a reference zoo, compare it with another, hold it to bounds."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree as ET

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from filterlens.catalogs import Catalog, Entry, load_catalog, shipped_folder
from filterlens.errors import CheckpointError, InputError
from filterlens.lens import Options, RunSettings, all_scores, get_score
from filterlens.process.printable import printable
from filterlens.runs import analyze, extract
from filterlens.runs.folder import check_folder
from filterlens.score import model_scores, read_scores

__all__ = [
    "Breach",
    "Place",
    "check",
    "compare",
    "outstanding",
    "parse_bound",
    "place",
    "reference_scores",
    "score_model",
]

BUNDLED = "fonts-linf"


def score_model(
    source: str | Path,
    *,
    lenses: Sequence[str] | Mapping[str, Options] = ("filters",),
    settings: RunSettings | None = None,
) -> pd.DataFrame:
    """Score one checkpoint, or read the scores of an audited run's folder.

    Parameters
    ----------
    source
        A source URI or path (see `filterlens.loaders`), a shipped catalog's model as `CATALOG/MODEL_ID`, or the
        folder of a finished audit.
    lenses, settings
        As in `filterlens.runs.extract`.

    Returns
    -------
        The tidy score table (see `filterlens.score`).

    Raises
    ------
    CheckpointError
        The model cannot be loaded or scored.
    """
    if (Path(source) / "scores.parquet").is_file():
        check_folder(Path(source))
        return read_scores(Path(source) / "scores.parquet")
    catalog = _one_model(str(source))
    if str(source).startswith("module:"):  # the caller's own word, not a catalog's
        settings = replace(settings or RunSettings(), allow_code=True)
    with TemporaryDirectory(prefix="filterlens-") as folder:
        outcome = extract(catalog, Path(folder), lenses=lenses, settings=settings)
        missed = [row for row in outcome.rows if row.status != "ok"]
        if missed:
            raise CheckpointError(f"{source}: {missed[0].lens}: {missed[0].reason}")
        return analyze(Path(folder))


def _one_model(source: str) -> Catalog:
    shipped, _, model_id = source.partition("/")
    if model_id and (shipped_folder() / f"{shipped}.csv").is_file():
        catalog = load_catalog(shipped)
        return Catalog(catalog.name, (catalog[model_id].model_copy(update={"match": ""}),), catalog.folder)
    name = source.rstrip("/").rsplit("/", 1)[-1][:300] or source
    return Catalog("one", (Entry(model_id=name, source=source),), Path.cwd())


@dataclass(frozen=True, slots=True)
class Place:
    """Where one score stands among a reference zoo's models.

    `robust` and `normal` are percentiles in [0, 100]: the share of those models that score lower, ties half.
    `looks` is `robust` or `normal`, whichever group's median is nearer in units of the groups' pooled spread.
    """

    metric: str
    value: float
    robust: float
    normal: float
    robust_median: float
    normal_median: float
    looks: str


def reference_scores(folder: Path | None = None) -> pd.DataFrame:
    """Return the reference zoo: one row a model, `robust` and the mean of every metric.

    Parameters
    ----------
    folder
        Of a finished audit; the bundled zoo's own scores where None.

    Raises
    ------
    InputError
        The folder is no audit, or says of no model whether it is robust.
    """
    if folder is None:
        return pd.read_csv(shipped_folder() / BUNDLED / "scores.csv", index_col="model_id")
    if not (folder / "catalog.csv").is_file():
        raise InputError(f"--reference {folder} is not an audit's folder: it has no catalog.csv")
    check_folder(folder)
    catalog = load_catalog(folder / "catalog.csv")
    robust = pd.Series({entry.model_id: entry.robust for entry in catalog}, name="robust", dtype=object)
    table = model_scores(read_scores(folder / "scores.parquet")).join(robust)
    known = table[table["robust"].notna()]
    if known.empty:
        raise InputError(f"--reference {folder}: its catalog says of no model whether it is robust")
    return known.astype({"robust": bool})


def place(scores: pd.DataFrame, reference: pd.DataFrame) -> list[Place]:
    """Place a model's scores among the reference's robust and normal models."""
    mine = model_scores(scores).iloc[0]
    places = []
    is_robust = reference["robust"].to_numpy(bool)
    for metric, value in zip(map(str, mine.index), mine.to_numpy(float), strict=True):
        known = all_scores().get(metric)
        if metric not in reference or known is None or known.auxiliary or math.isnan(value):
            continue
        column = reference[metric].to_numpy(float)
        robust, normal = (column[group & ~np.isnan(column)] for group in (is_robust, ~is_robust))
        if len(robust) and len(normal):
            places.append(_place(metric, float(value), robust, normal))
    return places


def _place(metric: str, value: float, robust: NDArray[np.float64], normal: NDArray[np.float64]) -> Place:
    middle = {"robust": float(np.median(robust)), "normal": float(np.median(normal))}
    looks = min(middle, key=lambda group: abs(value - middle[group]))
    return Place(
        metric,
        value,
        _percentile(value, robust),
        _percentile(value, normal),
        middle["robust"],
        middle["normal"],
        looks if middle["robust"] != middle["normal"] else "",
    )


def _percentile(value: float, among: NDArray[np.float64]) -> float:
    return float(100 * ((among < value).mean() + 0.5 * (among == value).mean()))


def outstanding(scores: pd.DataFrame, n: int = 3) -> pd.DataFrame:
    """Return the layers that stand out most within their own model.

    A layer stands out by its largest distance from the model's median layer, in units of 1.4826 times the median
    absolute deviation (the robust z-score); fewer than 4 layers say nothing and give none.

    Returns
    -------
        Columns `layer`, `metric`, `value`, `median`, `z`, the most outstanding layer first.
    """
    main = {name for name, score in all_scores().items() if not score.auxiliary}
    layers = scores[(scores["layer"] != "") & scores["metric"].isin(main) & scores["value"].notna()]
    found = []
    for _, rows in layers.groupby("metric", sort=False):
        values = rows["value"].to_numpy(float)
        median = float(np.median(values))
        spread = 1.4826 * float(np.median(np.abs(values - median)))
        if len(values) >= 4 and spread > 0:
            found.append(rows[["layer", "metric", "value"]].assign(median=median, z=(values - median) / spread))
    if not found:
        return pd.DataFrame(columns=["layer", "metric", "value", "median", "z"])
    every = pd.concat(found)
    order = every["z"].abs().sort_values(ascending=False, kind="stable").index
    return every.loc[order].drop_duplicates("layer").head(n).reset_index(drop=True)


def compare(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Compare two checkpoints (or two runs) layer by layer.

    Returns
    -------
        Columns `model` (empty for two single models), `layer` (empty for the model's mean), `metric`, `first`,
        `second`, `difference` = second - first. A layer that only one side has is NaN on the other.
    """
    single = len(set(first["model_id"])) == 1 and len(set(second["model_id"])) == 1
    sides = []
    for table, name in ((first, "first"), (second, "second")):
        main = table[table["metric"].map(lambda m: m not in all_scores() or not all_scores()[m].auxiliary)]
        means = model_scores(main).melt(ignore_index=False, value_name="value").reset_index().assign(layer="")
        layers = main[main["layer"] != ""][["model_id", "layer", "metric", "value"]]
        rows = pd.concat([means, layers], ignore_index=True)
        rows["model"] = "" if single else rows["model_id"]
        sides.append(rows.set_index(["model", "layer", "metric"])["value"].rename(name))
    joined: pd.DataFrame = pd.concat(sides, axis=1, sort=False)
    joined["difference"] = joined["second"] - joined["first"]
    return joined.reset_index()


@dataclass(frozen=True, slots=True)
class Breach:
    """One bound, whether it holds, and the value that was held against it."""

    metric: str
    side: str
    bound: float
    value: float
    holds: bool

    @property
    def text(self) -> str:
        """Say it in one line."""
        sign = "<=" if self.side == "max" else ">="
        return f"{self.metric} {self.value:.4g}, wanted {sign} {self.bound:g}"


def parse_bound(text: str) -> tuple[str, str, float]:
    """Read `max-sparsity=0.3` or `min-orthogonality=0.8` as (metric, side, bound).

    Raises
    ------
    InputError
        It is not of that form, or there is no such score.
    """
    name, _, number = text.partition("=")
    side, _, metric = name.strip().removeprefix("--").partition("-")
    metric = metric.replace("-", "_")
    if side not in {"min", "max"} or not metric:
        raise InputError(f"{text!r} is no bound: write max-SCORE=NUMBER or min-SCORE=NUMBER")
    try:
        bound = float(number)
    except ValueError:
        raise InputError(f"{text!r}: {number!r} is not a number") from None
    metric = {"entropy": "variance_entropy"}.get(metric, metric)
    return get_score(metric).name, side, bound


def check(scores: pd.DataFrame, bounds: Sequence[tuple[str, str, float]]) -> list[Breach]:
    """Hold a model's scores to bounds; a score that has no value holds none.

    Raises
    ------
    InputError
        The model has no such score at all.
    """
    means = model_scores(scores).iloc[0]
    results = []
    for metric, side, bound in bounds:
        if metric not in means:
            raise InputError(f"{metric} was not measured: add its lens ({get_score(metric).lens}) with --lens")
        value = float(means[metric])
        results.append(Breach(metric, side, bound, value, value <= bound if side == "max" else value >= bound))
    return results


def as_junit(source: str, results: Sequence[Breach]) -> str:
    """Write results as a JUnit file, one test case a bound."""
    failures = sum(not result.holds for result in results)
    suite = ET.Element(
        "testsuite", name=f"filterlens check {printable(source)}", tests=str(len(results)), failures=str(failures)
    )
    for result in results:
        case = ET.SubElement(suite, "testcase", classname="filterlens", name=f"{result.side}-{result.metric}")
        if not result.holds:
            ET.SubElement(case, "failure", message=printable(result.text))
    return ET.tostring(suite, encoding="unicode", xml_declaration=True)


def as_json(content: Mapping[str, object]) -> str:
    """Write plain values as JSON; what has no value is null."""

    def plain(value: object) -> object:
        if isinstance(value, float) and not math.isfinite(value):
            return None
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return [plain(item) for item in value] if isinstance(value, list | tuple) else value

    return json.dumps(plain(dict(content)), indent=2, ensure_ascii=False)
