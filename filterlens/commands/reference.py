"""Where a model's scores stand among a reference zoo's, and whether that zoo is of its kind at all."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from filterlens.catalogs import Catalog, load_catalog, shipped_folder
from filterlens.commands.plan import BUNDLED
from filterlens.commands.scoring import Scored
from filterlens.errors import InputError
from filterlens.lens import RunSettings, all_scores
from filterlens.report.data import read_run
from filterlens.score import model_scores

__all__ = [
    "SIZES",
    "Place",
    "Reference",
    "check_comparable",
    "comparable",
    "describe",
    "left_out_verdicts",
    "network_sizes",
    "place",
    "reference_scores",
]

SIZES = ("conv_layers", "filters", "input_channels")
_SIZE_FACTOR = 2.0  # beyond half the smallest and twice the largest, a network is of another size
_MARGIN = 0.25  # of the reference's range of a z-score, beyond which nothing is known
_ARCHITECTURES = 3  # left out in turn before a verdict is given
_SAME = 1e-6
_BUNDLED = "-bundled-512"  # test images of a data set under a name of their own


@dataclass(frozen=True, slots=True)
class Place:
    """Where one score stands among a reference zoo's models.

    Parameters
    ----------
    metric, value
        The score and the model's mean of it.
    robust, normal
        Percentiles in [0, 100]: the share of those models that score lower, ties half.
    robust_median, normal_median
        Of the reference.
    looks
        `robust` or `normal`: the group whose median of the score's z against chance is nearer. Empty where the score
        has no such z, the model lies beyond the reference's range of it, or the verdict does not hold for networks
        that were left out of the reference.
    right, tested
        For how many reference networks that verdict is right, of those it is given for, when all of their
        architecture are left out.
    """

    metric: str
    value: float
    robust: float
    normal: float
    robust_median: float
    normal_median: float
    looks: str
    right: int
    tested: int


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """Models that a checkpoint is placed among.

    Parameters
    ----------
    name
        For people.
    facts
        One row a model: `robust`, `dataset`, `architecture`, and `SIZES`. The index holds ids; of the bundled zoos
        CATALOG/MODEL_ID.
    means
        One row a model, one column a score, z-scores among them.
    bundled
        Whether it is the package's own, which nobody chose for the checkpoint.
    """

    name: str
    facts: pd.DataFrame
    means: pd.DataFrame
    bundled: bool

    def of(self, rows: pd.Series) -> Reference:
        """Return some of its models."""
        return replace(self, facts=self.facts[rows], means=self.means[rows])


def network_sizes(scores: pd.DataFrame) -> pd.DataFrame:
    """How large the networks of a score table are, from the rows of the filters lens.

    Returns
    -------
        One row a model: `conv_layers`, `filters` and `input_channels` of the convolutions that have a weight in the
        model's mean; NaN where unknown.
    """
    layers = scores[(scores["layer"] != "") & (scores["weight"] > 0)]
    filters = layers[layers["metric"] == "sparsity"]
    first = layers[layers["conv_depth"] == 0].drop_duplicates(["model_id", "metric"]).set_index("model_id")
    counts, c_out = (first.loc[first["metric"] == name, "weight"] for name in ("sparsity", "orthogonality"))
    by_model = filters.groupby("model_id", sort=False)["weight"]
    table = pd.DataFrame({"conv_layers": by_model.size(), "filters": by_model.sum(), "input_channels": counts / c_out})
    return table.reindex(pd.unique(scores["model_id"])).astype(float)


def reference_scores(folder: str | Path | None = None) -> Reference:
    """Read a reference zoo: the models that are known to be robust or normal.

    Parameters
    ----------
    folder
        Of a finished audit; the bundled zoos' own scores where None.

    Raises
    ------
    InputError
        The folder is no audit, or says of no model whether it is robust.
    """
    if folder is None:
        zoos = [_bundled(name) for name in BUNDLED]
        facts, means = (pd.concat([getattr(zoo, what) for zoo in zoos]) for what in ("facts", "means"))
        return Reference("the bundled zoos", facts, means, bundled=True)
    folder = Path(folder)
    if not (folder / "catalog.csv").is_file():
        raise InputError(f"--reference {folder} is not an audit's folder: it has no catalog.csv")
    run = read_run(folder)
    sizes = network_sizes(run.scores)
    found = _reference(str(folder), run.catalog, model_scores(run.scores), sizes, bundled=False)
    if found.facts.empty:
        raise InputError(f"--reference {folder}: its catalog says of no model whether it is robust")
    return found


def _bundled(name: str) -> Reference:
    table = pd.read_csv(shipped_folder() / name / "scores.csv", index_col="model_id")
    means = table.drop(columns=["robust", *SIZES])
    found = _reference(name, load_catalog(name), means, table[list(SIZES)], bundled=True)
    ids = [f"{name}/{model_id}" for model_id in found.facts.index]
    return replace(found, facts=found.facts.set_axis(ids), means=found.means.set_axis(ids))


def _reference(name: str, catalog: Catalog, means: pd.DataFrame, sizes: pd.DataFrame, *, bundled: bool) -> Reference:
    rows = {entry.model_id: (entry.robust, entry.dataset, entry.architecture) for entry in catalog}
    facts = pd.DataFrame.from_dict(rows, orient="index", columns=["robust", "dataset", "architecture"], dtype=object)
    facts = facts[facts["robust"].notna() & facts.index.isin(means.index)]
    facts["robust"] = facts["robust"].astype(bool)
    return Reference(name, facts.join(sizes), means.loc[facts.index], bundled)


def comparable(found: Scored, reference: Reference, settings: RunSettings | None = None) -> tuple[Reference, str]:
    """Return the part of a reference that is of a model's kind, and a sentence that says why there is none.

    Of its kind are networks of the same data set (the catalog's, or `--data`), which take as many channels, and of
    which the smallest and largest are at most twice as large and as small. The model itself is no part of it.

    Parameters
    ----------
    found
        One model with its scores.
    reference
        The zoo.
    settings
        Whose `data` say for what data a checkpoint is of which no catalog says it.

    Returns
    -------
        The reference's part, empty where it is not comparable; then the sentence says why, and is empty otherwise.
    """
    nothing = reference.of(pd.Series(data=False, index=reference.facts.index))
    entry = next(iter(found.catalog))
    data = entry.dataset or (settings.data if settings is not None else "")
    there = " and ".join(dict.fromkeys(str(name) for name in reference.facts["dataset"]))
    if not data and reference.bundled:
        return nothing, (
            f"Not compared with {reference.name}: nobody says on what data this network was trained, and those there "
            f"are of {there}; name the data with --data, or a zoo of its kind with --reference."
        )
    if data:
        own = reference.of(reference.facts["dataset"].map(lambda name: _key(str(name)) == _key(data)))
        if own.facts.empty:
            return nothing, f"Not compared with {reference.name}: the networks there are of {there}, this one of {data}."
        reference = own
    size, known = network_sizes(found.scores).iloc[0], reference.facts
    if not np.isfinite(size["filters"]) or known["filters"].isna().all():
        return (
            nothing,
            f"Not compared with {reference.name}: without the filters lens nobody knows of what size the networks are.",
        )
    if not known["input_channels"].eq(size["input_channels"]).any():
        channels = " or ".join(f"{n:g}" for n in sorted(set(known["input_channels"].dropna())))
        return nothing, (
            f"Not compared with {reference.name}: the networks there take {channels or 'unknown'} channels, this one "
            f"{size['input_channels']:g}."
        )
    for name, noun in (("filters", "filters"), ("conv_layers", "convolutions")):
        low, high = known[name].min(), known[name].max()
        if not low / _SIZE_FACTOR <= size[name] <= high * _SIZE_FACTOR:
            return nothing, (
                f"Not compared with {reference.name}: the networks there have {low:,.0f} to {high:,.0f} {noun}, this one "
                f"{size[name]:,.0f}."
            )
    return reference.of(~_is_model(found, reference)), ""


def describe(reference: Reference) -> str:
    """Say which networks a model is compared with."""
    robust, n = int(reference.facts["robust"].sum()), len(reference.facts)
    catalogs = sorted({str(name).partition("/")[0] for name in reference.facts.index})
    name = f"{reference.name} ({', '.join(catalogs)})" if reference.bundled else reference.name
    kinds = ", ".join(sorted({str(kind) for kind in reference.facts["architecture"] if kind}))
    return f"Compared with {name}: {robust} robust and {n - robust} normal networks{f' ({kinds})' if kinds else ''}."


def check_comparable(found: Scored, reference: Reference, settings: RunSettings | None) -> Reference:
    """Return the part of a reference that is of a model's kind.

    Raises
    ------
    InputError
        There is none; the message says why.
    """
    part, why = comparable(found, reference, settings)
    if why:
        raise InputError(why)
    return part


def _is_model(found: Scored, reference: Reference) -> pd.Series:
    """Which of the reference's models is the model itself: all scores that both have are the same."""
    mine = model_scores(found.scores).iloc[0].dropna()
    both = [name for name in mine.index if name in reference.means]
    near = np.isclose(reference.means[both].to_numpy(float), mine[both].to_numpy(float), rtol=_SAME, atol=_SAME)
    same = near.all(axis=1) if len(both) > 1 else np.zeros(len(reference.means), dtype=bool)
    return pd.Series(same, index=reference.means.index)


def _key(dataset: str) -> str:
    return dataset.casefold().removesuffix(_BUNDLED).replace("-", "").replace("_", "")


def place(scores: pd.DataFrame, reference: Reference) -> list[Place]:
    """Place a model's scores among a reference's robust and normal models."""
    mine = model_scores(scores).iloc[0]
    is_robust = reference.facts["robust"].to_numpy(bool)
    places = []
    for metric, value in mine.items():
        known = all_scores().get(str(metric))
        if metric not in reference.means or known is None or known.auxiliary or math.isnan(value):
            continue
        column = reference.means[metric].to_numpy(float)
        robust, normal = (column[group & ~np.isnan(column)] for group in (is_robust, ~is_robust))
        if len(robust) and len(normal):
            looks, right, tested = _judge(float(mine.get(f"{metric}_z", math.nan)), f"{metric}_z", reference)
            medians = float(np.median(robust)), float(np.median(normal))
            shares = _percentile(value, robust), _percentile(value, normal)
            places.append(Place(str(metric), float(value), *shares, *medians, looks, right, tested))
    return places


def _judge(z: float, name: str, reference: Reference) -> tuple[str, int, int]:
    """Verdict on a z-score, and how often the verdict is right on architectures that were left out.

    There is none unless it is right for most networks of either side of every architecture, of which there are three
    at least: networks of one architecture are no independent cases.
    """
    if math.isnan(z) or name not in reference.means:
        return "", 0, 0
    verdicts = left_out_verdicts(name, reference)
    facts = reference.facts
    right = verdicts == facts["robust"].map({True: "robust", False: "normal"})
    cells = right.groupby([facts["architecture"], facts["robust"]]).mean()
    holds = facts["architecture"].nunique() >= _ARCHITECTURES and bool((cells > 0.5).all())
    verdict = _verdict(z, reference.means[name], facts["robust"]) if holds else ""
    return verdict, int(right.sum()), int((verdicts != "").sum())


def left_out_verdicts(name: str, reference: Reference) -> pd.Series:
    """Verdict on every network of a reference from the networks of other architectures; empty where there is none."""
    values, facts = reference.means[name], reference.facts
    verdicts = {}
    for model_id, value in zip(map(str, values.index), values.to_numpy(float), strict=True):
        others = facts["architecture"] != facts.loc[model_id, "architecture"]
        verdicts[model_id] = _verdict(float(value), values[others], facts.loc[others, "robust"])
    return pd.Series(verdicts, dtype=object)


def _verdict(z: float, known: pd.Series, robust: pd.Series) -> str:
    """Name the group whose median is nearer; empty beyond the range of all, or where a group is missing."""
    is_robust, values = robust.to_numpy(bool), known.to_numpy(float)
    finite = np.isfinite(values)
    if math.isnan(z) or not (is_robust & finite).any() or not (~is_robust & finite).any():
        return ""
    low, high = float(values[finite].min()), float(values[finite].max())
    if high == low or not low - _MARGIN * (high - low) <= z <= high + _MARGIN * (high - low):
        return ""
    middle = {True: np.median(values[is_robust & finite]), False: np.median(values[~is_robust & finite])}
    return "robust" if abs(z - middle[True]) < abs(z - middle[False]) else "normal"


def _percentile(value: float, among: NDArray[np.float64]) -> float:
    return float(100 * ((among < value).mean() + 0.5 * (among == value).mean()))
