"""The tables of a report, each from a run's data."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from filterlens.errors import FilterlensError
from filterlens.report.comparison import compare, correlate, incomplete_pairs, main_scores, robustness_column
from filterlens.report.data import RunData
from filterlens.report.depth import DEPTH_GROUPS, by_depth
from filterlens.report.formats import Column, Table
from filterlens.report.pooled import read_filter_pool
from filterlens.report.prediction import predict_robustness
from filterlens.scores import Score, model_scores

__all__ = ["ledger_table", "report_tables", "score_column"]

NAME = Column("model_id", "model", "name", about="The model's id in the catalog.")
DATASET = Column("dataset", "data set", "name")
ARCHITECTURE = Column("architecture", "architecture", "name")
ROBUST = Column("robust", "robust", "flag", about="Trained to be robust.")
CLEAN_ACC = Column("clean_acc", "clean acc.", "number", "%", "", "Published clean accuracy.")
ROBUST_ACC = Column("robust_acc", "robust acc.", "number", "%", "↑", "Published robust accuracy.")
SCORE = Column("title", "score", "name")
METRIC = Column("metric", "key", "name", about="The score's name in scores.parquet.")


def score_column(score: Score) -> Column:
    """Column of a score, with unit, direction and definition from its descriptor."""
    better = {True: "↑", False: "↓", None: ""}[score.higher_is_better]
    return Column(score.name, score.title, "number", score.unit, better, score.summary)


def _n(models: pd.DataFrame) -> str:
    robust = models["robust"]
    counts = [(int(robust.eq(True).sum()), "robust"), (int(robust.eq(False).sum()), "normal")]  # noqa: FBT003 - values
    counts.append((len(models) - counts[0][0] - counts[1][0], "of unknown robustness"))
    return f"{len(models)} models ({', '.join(f'{n} {kind}' for n, kind in counts if n)})"


def models_table(run: RunData, models: pd.DataFrame) -> Table:
    """Every model: published accuracies beside the mean of every score."""
    scores = [score for score in main_scores(run) if score.name in models]
    columns = (NAME, DATASET, ARCHITECTURE, ROBUST, CLEAN_ACC, ROBUST_ACC, *map(score_column, scores))
    paper = Column("paper", "paper", about="Title or link.")
    note = f"{_n(models)}. Arrows point to the side that goes with robustness, where that is known."
    return Table("models", "Every model", note, models.reset_index(), (*columns, paper))


_SIDES = (
    Column("n_pairs", "pairs", "count", about="Robust models with a matched normal model, both with a value."),
    Column("n_normal", "normal models", "count", about="Distinct normal models: the unit of test and interval."),
    Column("robust_mean", "robust", "value", about="Mean ± std over units, partners averaged.", beside="robust_std"),
    Column("normal_mean", "normal", "value", about="Mean ± std over distinct normal models.", beside="normal_std"),
    Column("difference", "difference", "value", about="Mean of robust − normal over units."),
    Column("ci_low", "95 % interval", "value", "", "", "Bootstrap, normal models resampled.", "ci_high", " to "),
    Column("effect", "effect", "value", about="Matched-pairs rank-biserial correlation, −1 to 1."),
    Column("p", "p", "p", about="Wilcoxon signed-rank test, exact, two-sided; none under 4 normal models."),
    Column("p_adjusted", "p (BH)", "p", about="Benjamini–Hochberg over this table."),
    METRIC,
)
_CLAIM = (
    Column("robust_is", "claimed", "name", about="The papers' claim about robust models."),
    Column("n_expected", "as claimed", "count", about="Pairs with the sign that the papers claim."),
    Column("note", "note"),
)
_UNIT = Column("unit", "unit", "name")
_HOW = (
    "Unit: the normal model, its robust partners averaged. Interval: 95 % percentile bootstrap. p: exact Wilcoxon "
    "signed-rank test; BH: adjusted over the table."
)


def comparison_tables(run: RunData, models: pd.DataFrame) -> Iterable[Table]:
    """Robust against normal: overall, by data set, by architecture."""
    scores = main_scores(run)
    overall = (SCORE, _UNIT, *_SIDES, *_CLAIM)
    yield Table("robust_vs_normal", "Robust against normal", _HOW, compare(models, scores), overall)
    for by, column in (("dataset", DATASET), ("architecture", ARCHITECTURE)):
        title = f"Robust against normal by {column.head}"
        yield Table(f"robust_vs_normal_by_{by}", title, _HOW, compare(models, scores, by=by), (column, *overall))


def trajectory_table(run: RunData, models: pd.DataFrame) -> Table:
    """Every checkpoint of a training with the mean of every score, by epoch."""
    scores = [score for score in main_scores(run) if score.name in models]
    frame = models.dropna(subset=["epoch"]).sort_values("epoch").reset_index()
    epoch = Column("epoch", "epoch", "count", about="Epochs (or steps) after which the checkpoint was kept.")
    return Table("trajectory", "Over training", "By epoch.", frame, (epoch, NAME, *map(score_column, scores)))


def depth_table(run: RunData, models: pd.DataFrame) -> Table:
    """Robust against normal in the first convolution and in each depth decile, by data set."""
    facts = models[["robust", "match", "match_rule", "dataset", "architecture"]]
    long = by_depth(run.scores)
    frames = []
    for group, part in long.groupby("group"):
        wide = part.pivot_table(index="model_id", columns="metric", values="value")
        scores = [score for score in main_scores(run) if score.name in wide]
        compared = compare(facts.join(wide), scores, by="dataset")
        frames.append(compared.assign(depth=DEPTH_GROUPS[int(str(group))], place=group))
    frame = _one_family(frames, ["dataset", "metric", "place"])
    depth = Column("depth", "depth", "name", about="0: first convolution; (a, b]: share of the network's depth.")
    columns = (DATASET, SCORE, depth, _UNIT, *_SIDES)
    return Table(
        "by_depth", "Robust against normal by depth", f"Layers weighted as in the paper. {_HOW}", frame, columns
    )


def shift_table(run: RunData, models: pd.DataFrame) -> Table:
    """How far the filters of robust and normal models lie apart, by data set."""
    pool = read_filter_pool(run)
    columns = (
        DATASET,
        Column(
            "shift", "shift D", "value", "nats", about="Symmetric KL of coefficients, weighted by explained variance."
        ),
        Column("n_robust", "robust filters", "count"),
        Column("n_normal", "normal filters", "count"),
        Column("paired", "paired models only", "flag"),
    )
    rows = []
    if pool is not None:
        counts = pool.arrays["shift_counts"]
        rows = [
            {
                "dataset": name,
                "shift": float(pool.arrays["shift"][d]),
                "n_robust": n[0],
                "n_normal": n[1],
                "paired": paired,
            }
            for d, (name, n, paired) in enumerate(zip(pool.datasets, counts.tolist(), pool.paired, strict=True))
        ]
    frame = pd.DataFrame(rows, columns=[column.key for column in columns])
    note = "Between the filters of robust and normal models; 0 where they are alike."
    return Table("distribution_shift", "Distribution shift", note, frame[frame["shift"].notna()], columns)


def aliasing_table(run: RunData, models: pd.DataFrame) -> Table:
    """Aliasing of robust and normal models by kind of operation and by its place in the network."""
    facts = models[["robust", "match", "match_rule", "dataset", "architecture"]]
    rows = run.lens_scores("downsampling")
    rows = rows[(rows["layer"] != "") & rows["value"].notna()].assign(weight=1.0)
    scores = [score for score in main_scores(run) if score.lens == "downsampling"]
    place = rows.groupby(["model_id", "metric", "kind"]).cumcount() + 1
    splits = [(str(kind), "all", part) for kind, part in rows.groupby("kind", sort=False)]
    splits += [(str(k), str(p), part) for (k, p), part in rows.groupby(["kind", place], sort=False)]
    frames = []
    for kind, number, part in splits:
        compared = compare(facts.join(model_scores(part)), scores, by="dataset")
        frames.append(compared.assign(kind=kind, place=number))
    frame = _one_family(frames, ["dataset", "kind", "place", "metric"])
    operation = Column("kind", "operation", "name", about="main: kernel larger than 1x1; shortcut: 1x1; pool.")
    columns = (
        DATASET,
        operation,
        Column("place", "place", "name", about="1: first of its kind."),
        SCORE,
        _UNIT,
        *_SIDES,
    )
    return Table("aliasing_by_operation", "Aliasing by operation", _HOW, frame, columns)


def _one_family(frames: list[pd.DataFrame], order: list[str]) -> pd.DataFrame:
    """Put parts of one table together and adjust their p-values as one family."""
    from filterlens.report.statistics import benjamini_hochberg

    frames = [frame for frame in frames if len(frame)]
    if not frames:
        return pd.DataFrame(
            columns=[*order, *(key for column in (SCORE, _UNIT, *_SIDES) for key in column.keys), "depth"]
        )
    table = pd.concat(frames, ignore_index=True)
    ranks = {name: {value: i for i, value in enumerate(pd.unique(table[name]))} for name in order}
    table = table.sort_values(order, key=lambda column: column.map(ranks[str(column.name)]), kind="stable")
    return table.assign(p_adjusted=benjamini_hochberg(table["p"].astype(float))).reset_index(drop=True)


def flatness_table(run: RunData, models: pd.DataFrame) -> Table:
    """Flatness beside accuracy."""
    lenses = ("robustness", "flatness")
    scores = [score for score in main_scores(run) if score.lens in lenses and score.name in models]
    flat = [score.name for score in scores if score.lens == "flatness"]
    frame = models[models[flat].notna().any(axis=1)] if flat else models.iloc[:0]
    columns = (NAME, DATASET, ARCHITECTURE, ROBUST, *map(score_column, scores))
    note = f"{_n(frame)}. Flatness: rise of the robust loss under weight perturbation, lower is flatter."
    return Table("flatness", "Flatness of the robust loss", note, frame.reset_index(), columns)


def correlation_table(run: RunData, models: pd.DataFrame) -> Table:
    """Rank correlation with robust accuracy."""
    target = robustness_column(models)
    which = {"robust_acc": "published", "robust_accuracy": "measured"}.get(target, "unknown")
    note = f"Spearman's ρ among robust models with {which} robust accuracy; groups under 4 models have no coefficient."
    columns = (
        *(DATASET, ARCHITECTURE, SCORE),
        Column("rho", "ρ", "value", about="Spearman's rank correlation, −1 to 1."),
        Column("n", "n", "count", about="Robust models in the group."),
        METRIC,
    )
    frame = correlate(models, main_scores(run), target=target)
    frame["architecture"] = frame["architecture"].replace("", "all")
    return Table("correlation", "Correlation with robust accuracy", note, frame, columns)


def prediction_table(run: RunData, models: pd.DataFrame) -> Table:
    """How well attack-free scores foretell robust accuracy."""
    note = (
        "Ridge regression, architectures held out in turn; the architecture baseline holds out single models instead, "
        "and so is given more. Only where a data set has 20 robust models with everything known."
    )
    columns = (
        *(DATASET, Column("predictor", "predictor", "name")),
        Column("r2", "R²", "value", about="Variance explained on held-out models; negative: worse than the mean."),
        Column("ci_low", "95 % interval", "value", "", "", "Bootstrap, architectures resampled.", "ci_high", " to "),
        *(Column("n", "models", "count"), Column("n_architectures", "architectures", "count")),
        Column("features", "from"),
    )
    return Table("predictors", "What predicts robustness", note, predict_robustness(models, main_scores(run)), columns)


def pairs_table(run: RunData, models: pd.DataFrame) -> Table:
    """Pairs with one side missing."""
    columns = (
        Column("robust", "robust model", "name"),
        Column("normal", "normal model", "name"),
        Column("lens", "lens", "name"),
        Column("missing", "what is missing"),
    )
    frame = incomplete_pairs(models, main_scores(run))
    return Table("incomplete_pairs", "Pairs with one side missing", "Left out of every comparison.", frame, columns)


def ledger_table(run: RunData) -> Table:
    """Failures and skips with their reasons."""
    columns = (
        *(NAME, Column("lens", "lens", "name"), Column("status", "status", "name"), Column("reason", "reason")),
        Column("seconds", "time", "value", "s"),
    )
    frame = run.ledger[run.ledger["status"].isin(["failed", "skipped"])].reset_index(drop=True)
    note = f"{len(run.ledger)} jobs (model × lens): {int((run.ledger['status'] == 'ok').sum())} done."
    return Table("failures", "Failures and skips", note, frame, columns)


def report_tables(run: RunData, failed: dict[str, str] | None = None) -> list[Table]:
    """Every table that the run has rows for, and the ledger's.

    Parameters
    ----------
    run
        The run.
    failed
        Filled with what a table shows and why it could not be made, as of a damaged `pooled.h5`; raised where None.
    """
    models = run.models
    made = [models_table(run, models), *comparison_tables(run, models)]
    rest = (
        trajectory_table,
        shift_table,
        depth_table,
        aliasing_table,
        correlation_table,
        prediction_table,
        flatness_table,
        pairs_table,
    )
    for make in rest:
        try:
            made.append(make(run, models))
        except Exception as error:
            if failed is None:
                raise
            said = str(error) if isinstance(error, FilterlensError) else f"{type(error).__name__}: {error}"
            failed[str(make.__doc__).removesuffix(".")] = said
    return [made[0], *(table for table in made[1:] if len(table.frame)), ledger_table(run)]
