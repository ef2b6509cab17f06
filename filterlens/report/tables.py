"""The tables of a report, each from a run's data."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace

import pandas as pd

from filterlens.catalogs.trajectories import training_of
from filterlens.errors import FilterlensError
from filterlens.lens import get_score
from filterlens.report.comparison import compare_scores, incomplete_pairs, main_scores, robustness_column, scores_of
from filterlens.report.correlation import SHIFTS, correlate, correlate_shifts
from filterlens.report.data import RunData
from filterlens.report.depth import by_depth
from filterlens.report.formats import Column, Table
from filterlens.report.kernels import is_size, per_kernel_lenses
from filterlens.report.prediction import predict_robustness
from filterlens.report.statistics import benjamini_hochberg
from filterlens.score import DEPTH_GROUPS, Score, model_scores

__all__ = ["TableMaker", "counts_of", "ledger_table", "one_family", "report_tables", "score_column"]

TableMaker = Callable[[RunData, pd.DataFrame], Table]
"""Makes a table of a run, given `run.models`; one without rows is left out."""

NAME = Column("model_id", "model", "name", about="The model's id in the catalog.")
DATASET = Column("dataset", "data set", "name")
ARCHITECTURE = Column("architecture", "architecture", "name")
ROBUST = Column("robust", "robust", "flag", about="Trained to be robust.")
CLEAN_ACC = Column("clean_acc", "clean acc.", "number", "%", "", "Published clean accuracy.")
ROBUST_ACC = Column("robust_acc", "robust acc.", "number", "%", "↑", "Published robust accuracy.")
SHIFTED = {name: f"{text} acc." for name, text in SHIFTS.items() if name != "clean_acc"}
SCORE = Column("title", "score", "name")
METRIC = Column(
    "metric", "key", "name", about="The score's name in scores.parquet; of filters that are not 3x3, with their size.",
    detail=True,
)  # fmt: skip


def score_column(score: Score) -> Column:
    """Column of a score, with unit, direction and definition from its descriptor."""
    better = {True: "↑", False: "↓", None: ""}[score.higher_is_better]
    return Column(score.name, score.title, "number", score.unit, better, score.summary)


def counts_of(models: pd.DataFrame) -> str:
    """Say how many models there are of each kind."""
    robust = models["robust"]
    counts = [(int(robust.eq(True).sum()), "robust"), (int(robust.eq(False).sum()), "normal")]  # noqa: FBT003 - values
    counts.append((len(models) - counts[0][0] - counts[1][0], "of unknown robustness"))
    return f"{len(models)} models ({', '.join(f'{n} {kind}' for n, kind in counts if n)})"


def models_table(run: RunData, models: pd.DataFrame) -> Table:
    """Every model: published accuracies beside the mean of every score."""
    scores = [score for score in main_scores(run) if score.name in models]
    shifts = [
        Column(name, text, "number", "%")
        for name, text in SHIFTED.items()
        if name in models and models[name].notna().any()
    ]
    columns = (NAME, DATASET, ARCHITECTURE, ROBUST, CLEAN_ACC, ROBUST_ACC, *shifts, *map(score_column, scores))
    paper = Column("paper", "paper", about="Title or link.", detail=True)
    note = f"{counts_of(models)}. Arrows point to the side that goes with robustness, where that is known."
    return Table("models", "Every model", note, models.reset_index(), (*columns, paper))


SIDES = (
    Column("n_pairs", "pairs", "count", about="Robust models with a matched normal model, both with a value."),
    Column("n_normal", "normal models", "count", about="Distinct normal models: the unit of test and interval."),
    Column("robust_mean", "robust", "value", about="Mean ± std over units, partners averaged.", beside="robust_std"),
    Column("normal_mean", "normal", "value", about="Mean ± std over distinct normal models.", beside="normal_std"),
    Column("difference", "difference", "value", about="Mean of robust − normal over units."),
    Column(
        "ci_low",
        "95 % interval",
        "value",
        "",
        "",
        "Student's t over units; none under 4 normal models.",
        "ci_high",
        " to ",
    ),
    Column("effect", "effect", "value", about="Matched-pairs rank-biserial correlation, −1 to 1."),
    Column("p", "p", "p", about="Wilcoxon signed-rank test, exact, two-sided; none under 4 normal models."),
    Column("p_adjusted", "p (BH)", "p", about="Benjamini–Hochberg over this table."),
    METRIC,
)
CLAIM = (
    Column(
        "robust_is", "claimed", "name", about="What a paper claims of robust models; `filterlens explain` says which."
    ),
    Column("n_expected", "as claimed", "count", about="Pairs with the claimed sign."),
    Column("note", "note", detail=True),
)
UNIT = Column("unit", "unit", "name")
HOW = (
    "Unit: the normal model, its robust partners averaged. Interval: 95 %, Student's t. p: exact Wilcoxon "
    "signed-rank test; BH: adjusted over the table."
)


def comparison_tables(run: RunData, models: pd.DataFrame) -> Iterable[Table]:
    """Robust against normal: overall, by data set, by architecture."""
    scores = main_scores(run)
    overall = (SCORE, UNIT, *SIDES, *CLAIM)
    frame = compare_scores(models, scores)
    yield Table("robust_vs_normal", "Robust against normal", "", frame, overall, general=(HOW,))
    for by, column in (("dataset", DATASET), ("architecture", ARCHITECTURE)):
        title = f"Robust against normal by {column.head}"
        frame = compare_scores(models, scores, by=by)
        yield Table(f"robust_vs_normal_by_{by}", title, "", frame, (column, *overall), general=(HOW,))


def trajectory_table(run: RunData, models: pd.DataFrame) -> Table:
    """Every checkpoint of a training with the mean of every score, by training and epoch."""
    scores = [score for score in main_scores(run) if score.name in models]
    names = {entry.model_id: training_of(entry) for entry in run.catalog if entry.epoch is not None}
    frame = models.loc[[name for name in models.index if name in names]].reset_index()
    frame = frame.assign(training=frame["model_id"].map(names)).sort_values(["training", "epoch"], ignore_index=True)
    epoch = Column("epoch", "epoch", "count", about="Epochs (or steps) after which the checkpoint was kept.")
    training = (Column("training", "training", "name", about="The catalog's, or else the folder of the checkpoint."),)
    columns = (*(training if len(set(names.values())) > 1 else ()), epoch, NAME, *map(score_column, scores))
    return Table("trajectory", "Over training", "By training and epoch.", frame, columns)


def depth_table(run: RunData, models: pd.DataFrame) -> Table:
    """Robust against normal in the first convolution and in each depth decile, by data set."""
    facts = models[["robust", "match", "match_rule", "dataset", "architecture"]]
    long = by_depth(run.sized_scores)
    frames = []
    for group, part in long.groupby("group"):
        wide = part.pivot_table(index="model_id", columns="metric", values="value")
        scores = [score for score in main_scores(run) if score.name in wide]
        compared = compare_scores(facts.join(wide), scores, by="dataset")
        frames.append(compared.assign(depth=DEPTH_GROUPS[int(str(group))], place=group))
    frame = one_family(frames, ["dataset", "metric", "place"])
    depth = Column("depth", "depth", "name", about="0: first convolution; (a, b]: share of the network's depth.")
    columns = (DATASET, SCORE, depth, UNIT, *SIDES)
    lens = next((score.lens for score in main_scores(run) if score.by_depth), "")
    note = "Layers weighted as in the paper."
    return Table("by_depth", "Robust against normal by depth", note, frame, columns, lens, general=(HOW,))


def kernel_table(run: RunData, models: pd.DataFrame) -> Table:
    """Robust against normal by filter size, where a run holds several."""
    facts = models[["robust", "match", "match_rule", "dataset", "architecture"]]
    rows = run.scores[run.scores["lens"].isin(per_kernel_lenses()) & run.scores["value"].notna()].assign(weight=1.0)
    scores = [score for score in scores_of(rows).values() if not score.auxiliary]
    sizes = [size for size in pd.unique(rows["kind"]) if is_size(size)]
    frames = [
        compare_scores(facts.join(model_scores(rows[rows["kind"] == size])), scores, by="dataset").assign(kernel=size)
        for size in (sizes if len(sizes) > 1 else [])
    ]
    frame = one_family(frames, ["dataset", "metric", "kernel"])
    kernel = Column("kernel", "filters", "name", about="Height and width of the filters.")
    columns = (DATASET, SCORE, kernel, UNIT, *SIDES)
    lens = next((score.lens for score in scores), "")
    note = f"Every filter size of a model, each of its layers weighing alike; sizes are never averaged. {HOW}"
    return Table("by_kernel", "Robust against normal by filter size", note, frame, columns, lens=lens)


def one_family(frames: list[pd.DataFrame], order: list[str]) -> pd.DataFrame:
    """Put parts of one table together and adjust their p-values as one family."""
    frames = [frame for frame in frames if len(frame)]
    if not frames:
        return pd.DataFrame(
            columns=[*order, *(key for column in (SCORE, UNIT, *SIDES) for key in column.keys), "depth"]
        )
    table = pd.concat(frames, ignore_index=True)
    ranks = {name: {value: i for i, value in enumerate(pd.unique(table[name]))} for name in order}
    table = table.sort_values(order, key=lambda column: column.map(ranks[str(column.name)]), kind="stable")
    return table.assign(p_adjusted=benjamini_hochberg(table["p"].astype(float))).reset_index(drop=True)


def comparison_by_layer(
    run: RunData, models: pd.DataFrame, metric: str, kinds: Collection[str], name: str
) -> pd.DataFrame:
    """Compare robust and normal models by one score, for each `layer` of its rows apart, as one family.

    Parameters
    ----------
    run, models
        The run, and a row a model.
    metric, kinds
        The score, and which rows of its lens.
    name
        Column that says which `layer` it is, such as the name of a corruption.
    """
    score = get_score(metric)
    facts = models[["robust", "match", "match_rule", "dataset", "architecture"]]
    rows = run.lens_scores(score.lens)
    rows = rows[rows["kind"].isin(kinds) & rows["value"].notna()].assign(weight=1.0)
    frames = [
        compare_scores(facts.join(model_scores(part)), [score], by="dataset").assign(**{name: str(layer)})
        for layer, part in rows.groupby("layer", sort=False)
    ]
    return one_family(frames, ["dataset", name])


def correlation_table(run: RunData, models: pd.DataFrame) -> Table:
    """Rank correlation with robust accuracy."""
    target = robustness_column(models)
    which = {"robust_acc": "published", "robust_accuracy": "measured"}.get(target, "unknown")
    note = (
        f"Spearman's ρ among robust models with {which} robust accuracy; groups under 4 models have no coefficient. "
        "Interval: Fisher's z for ranks. p: exact up to 8 models, then Student's t; BH: adjusted over the group."
    )
    columns = (
        *(DATASET, ARCHITECTURE, SCORE),
        Column("rho", "ρ", "value", about="Spearman's rank correlation, −1 to 1."),
        Column("ci_low", "95 % interval", "value", "", "", "Fisher's z (Bonett and Wright).", "ci_high", " to "),
        Column("n", "n", "count", about="Robust models in the group."),
        Column("p", "p", "p", about="Two-sided, against no monotone relation."),
        Column("p_adjusted", "p (BH)", "p", about="Benjamini–Hochberg over the scores of the group."),
        METRIC,
    )
    frame = correlate(models, main_scores(run), target=target)
    frame["architecture"] = frame["architecture"].replace("", "all")
    return Table("correlation", "Correlation with robust accuracy", note, frame, columns)


def shifts_table(run: RunData, models: pd.DataFrame) -> Table:
    """Rank correlation with accuracies under distribution shift."""
    note = (
        "Spearman's ρ among the models that are not robust, with published accuracies. Models of one family are no "
        "independent draws, so that intervals and p are too small where families are large. Accuracies on these test "
        "sets go together: the last column takes out what score and accuracy share with clean accuracy."
    )
    columns = (
        *(DATASET, Column("test_set", "test set", "name"), SCORE),
        Column("rho", "ρ", "value", about="Spearman's rank correlation, −1 to 1."),
        Column("ci_low", "95 % interval", "value", "", "", "Fisher's z (Bonett and Wright).", "ci_high", " to "),
        Column("n", "n", "count", about="Models with both."),
        Column("p", "p", "p", about="Two-sided, against no monotone relation."),
        Column("p_adjusted", "p (BH)", "p", about="Benjamini–Hochberg over the scores of the test set."),
        Column("rho_given_clean", "ρ given clean acc.", "value", about="Partial rank correlation, −1 to 1."),
        METRIC,
    )
    frame = correlate_shifts(models, main_scores(run))
    return Table("correlation_shifts", "Correlation with accuracy under distribution shift", note, frame, columns)


def prediction_table(run: RunData, models: pd.DataFrame) -> Table:
    """How well attack-free scores predict robust accuracy."""
    note = (
        "Ridge regression, architectures held out in turn; the architecture baseline holds out single models instead, "
        "and so is given more. Only where a data set has 20 robust models with everything known."
    )
    columns = (
        *(DATASET, Column("predictor", "predictor", "name")),
        Column("r2", "R²", "value", about="Variance explained on held-out models; negative: worse than the mean."),
        Column("p", "p", "p", about="One-sided t test over architectures: errors are below those of the mean."),
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


def report_tables(
    run: RunData,
    lens_tables: Sequence[TableMaker] = (),
    failed: dict[str, str] | None = None,
    mixed: Mapping[str, str] = {},
) -> list[Table]:
    """Every table that the run has rows for, those of lenses among them, and the ledger's.

    Parameters
    ----------
    run
        The run.
    lens_tables
        Tables of lenses.
    failed
        Filled with what a table shows and why it could not be made, as of a damaged `pooled.h5`; raised where None.
    mixed
        What is said, by lens, of rows that were made under different options: above every table that compares them.
    """
    models = run.models
    first = models_table(run, models)
    made = list(comparison_tables(run, models))
    general = (depth_table, kernel_table, correlation_table, shifts_table, prediction_table, pairs_table)
    for make in (trajectory_table, *lens_tables, *general):
        try:
            made.append(make(run, models))
        except Exception as error:
            if failed is None:
                raise
            said = str(error) if isinstance(error, FilterlensError) else f"{type(error).__name__}: {error}"
            failed[str(make.__doc__).removesuffix(".")] = said
    shown = [first, *(table for table in made if len(table.frame))]
    return [*(_with_notes(table, mixed, run.duplicates) for table in shown), ledger_table(run)]


def _with_notes(table: Table, mixed: Mapping[str, str], duplicates: str) -> Table:
    said = [text for lens, text in mixed.items() if table.lens in {"", lens}]
    return replace(table, general=(*said, *table.general, *filter(None, [duplicates])))
