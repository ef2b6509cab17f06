"""What a run says, in plain sentences computed from its numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from filterlens.lens import all_lenses
from filterlens.report.formats import cell
from filterlens.runs.parts import left_out_of_pool
from filterlens.score import Score

__all__ = [
    "Bar",
    "Headline",
    "bars",
    "compared",
    "correlated",
    "counted",
    "headlines",
    "join_words",
    "predicted",
    "unpooled",
]

_TIMES = 1.5  # ratio from which "times" says more than a difference
_SIGNIFICANT = 0.05
MIN_MODELS = 8  # models from which the strongest of several correlations is worth a sentence


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar from zero to a value: its start and length as shares of a scale on which zero lies at `zero`."""

    start: float
    length: float
    zero: float


@dataclass(frozen=True, slots=True)
class Headline:
    """One score's comparison: the sentence, both means as text and as bars on one scale."""

    title: str
    sentence: str
    robust: str
    normal: str
    robust_bar: Bar
    normal_bar: Bar


def bars(values: Sequence[float], bounds: tuple[float | None, float | None]) -> list[Bar]:
    """Lay values out on one scale that holds zero: up to a score's upper bound, below zero as far as a value goes.

    Examples
    --------
    >>> bars([-1.0, 3.0], (None, None))
    [Bar(start=0.0, length=0.25, zero=0.25), Bar(start=0.25, length=0.75, zero=0.25)]
    """
    low = min(0.0, *values)
    high = max(0.0, *values, bounds[1] or 0.0)
    scale = high - low or 1.0
    zero = -low / scale
    return [Bar(min(zero, zero + value / scale), abs(value) / scale, zero) for value in values]


def join_words(words: Sequence[str]) -> str:
    """Join as people do: `a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _plural(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def unpooled(jobs: Iterable[tuple[str, str]]) -> list[str]:
    """Say of which models no distribution over all models together is made, where the figures would be missed.

    Parameters
    ----------
    jobs
        Models that lie many to a file, each with a lens that looked at it.
    """
    counts = Counter(lens for _, lens in jobs)
    return [
        f"{lens.title or lens.name}: {left_out_of_pool(counts[lens.name])}."
        for lens in all_lenses().values()
        if lens.pool and counts[lens.name]
    ]


def counted(models: pd.DataFrame, pairs: pd.DataFrame, n_compared: tuple[int, int], ledger: pd.DataFrame) -> str:
    """Say how many models, pairs and failures there are.

    Parameters
    ----------
    models, pairs, ledger
        Of the run.
    n_compared
        Pairs of which both sides have a value of some score, and their distinct normal models.
    """
    robust = [value for value in models["robust"] if value is True]
    normal = [value for value in models["robust"] if value is False]
    datasets = [str(name) for name in pd.unique(models["dataset"]) if name]
    on = f" on {join_words(datasets[:6])}" if datasets else ""
    text = f"{_plural(len(models), 'model')}{on}: {len(robust)} robust, {len(normal)} normal"
    unknown = len(models) - len(robust) - len(normal)
    text += f", {unknown} of unknown robustness. " if unknown else ". "
    n_pairs, n_normal = n_compared
    if n_pairs:
        text += f"{_plural(n_pairs, 'pair')} over {_plural(n_normal, 'distinct normal model')}"
        less = len(pairs) - n_pairs
        text += f"; {_plural(less, 'further pair')} lack scores on a side. " if less else ". "
    elif len(pairs):
        text += f"Of {_plural(len(pairs), 'pair')} none has scores on both sides, so that nothing is compared. "
    else:
        text += "No robust model has a matched normal model here, so that nothing is compared. "
    status = ledger["status"].value_counts()
    troubles = [f"{status[name]} {name}" for name in ("failed", "skipped") if status.get(name)]
    jobs = _plural(len(ledger), "job")
    return text + (
        f"Of {jobs}, {join_words(troubles)}; the reasons are at the end." if troubles else f"All {jobs} done."
    )


def compared(row: Mapping[str, Any]) -> str:
    """Say one row of `compare_scores` in words.

    Examples
    --------
    >>> row = {"title": "Aliasing", "robust_mean": 0.1, "normal_mean": 0.31, "difference": -0.21, "n_pairs": 8,
    ...        "n_higher": 0, "n_lower": 8, "n_expected": 8, "n_normal": 8, "p": 0.0078, "p_adjusted": 0.0078,
    ...        "robust_is": "lower"}
    >>> compared(row)
    'Robust models are 3.1 times lower, in 8 of 8 pairs, p = 0.008, as claimed.'
    """
    lower = row["difference"] < 0
    n_pairs = int(row["n_pairs"])
    if row["robust_mean"] == row["normal_mean"] and not row["n_higher"] and not row["n_lower"]:
        return f"No difference at all in {_plural(n_pairs, 'pair')}."
    agreeing = int(row["n_lower"] if lower else row["n_higher"])
    pairs = f"in {agreeing} of {_plural(n_pairs, 'pair')}"
    tested = f"p {_p(row['p_adjusted'])}"
    word = "lower" if lower else "higher"
    if pd.isna(row["p"]):
        few = f"with {_plural(int(row['n_normal']), 'distinct normal model')} there is no test"
        return f"Robust models are {_size(row)} {word} {pairs}; {few}."
    if row["p_adjusted"] >= _SIGNIFICANT:
        return f"No clear difference: robust models are {_size(row)} {word} {pairs}, {tested}."
    claim = {word: ", as claimed", "": ""}.get(row["robust_is"], ", against the claim")
    return f"Robust models are {_size(row)} {word}, {pairs}, {tested}{claim}."


def _p(value: float) -> str:
    text = cell(value, "p")
    return text if text.startswith("<") else f"= {text}"


def _size(row: Mapping[str, Any]) -> str:
    low, high = sorted((row["robust_mean"], row["normal_mean"]))
    if low > 0 and high / low >= _TIMES:
        return f"{high / low:.1f} times"
    return cell(abs(row["difference"]))


def headlines(comparison: pd.DataFrame, scores: Iterable[Score]) -> list[Headline]:
    """One headline a tested score that a paper makes a claim about; every tested score where there is none such.

    A score is tested where there are enough distinct normal models for a p-value.
    """
    comparison = comparison[comparison["p"].notna()]
    claimed = comparison[comparison["robust_is"] != ""]
    bounds = {score.name: score.bounds for score in scores}
    made = []
    for row in (claimed if len(claimed) else comparison).to_dict("records"):
        robust, normal = float(row["robust_mean"]), float(row["normal_mean"])
        robust_bar, normal_bar = bars([robust, normal], bounds.get(str(row["metric"]), (None, None)))
        unit = f" {row['unit']}" if row["unit"] not in {"", "share"} else ""
        facts: Mapping[str, Any] = {str(key): value for key, value in row.items()}
        made.append(
            Headline(
                title=str(row["title"]),
                sentence=compared(facts),
                robust=cell(robust) + unit,
                normal=cell(normal) + unit,
                robust_bar=robust_bar,
                normal_bar=normal_bar,
            )
        )
    return made


def correlated(correlation: pd.DataFrame, held_out: Callable[[str, str], float]) -> list[str]:
    """Name, for each data set, the attack-free score that goes most closely with robust accuracy.

    Only where there are eight models, where its correlation is significant after adjustment for all scores of the
    data set, and where it predicts models that were left out better than their mean does.

    Parameters
    ----------
    correlation
        From `filterlens.report.correlation.correlate`.
    held_out
        R² of a metric on left-out models of a data set, called as `held_out(dataset, metric)`.
    """
    said = []
    whole = correlation[(correlation["architecture"].isin(["", "all"])) & (correlation["n"] >= MIN_MODELS)]
    attack_free = whole[whole["lens"].isin([name for name, lens in all_lenses().items() if lens.attack_free])]
    tested = attack_free[attack_free["p_adjusted"].astype(float) < _SIGNIFICANT]
    for dataset, part in tested.groupby("dataset", sort=False):
        best = part.sort_values("rho", key=lambda rho: -rho.abs(), kind="stable").iloc[0]
        r2 = held_out(str(dataset), str(best["metric"]))
        if not r2 > 0:
            continue
        numbers = f"{best['rho']:.2f}, 95 % interval {best['ci_low']:.2f} to {best['ci_high']:.2f}".replace("-", "−")
        said.append(
            f"Among {best['n']} robust models on {dataset}, {str(best['title']).lower()} goes most closely with robust "
            f"accuracy (Spearman ρ = {numbers}, adjusted p {_p(best['p_adjusted'])}; R² = {r2:.2f} on left-out models)."
        )
    return said


def predicted(prediction: pd.DataFrame) -> list[str]:
    """Say how well attack-free scores predict robust accuracy, where they do: positive R², p below 0.05."""
    said = []
    for dataset, part in prediction.groupby("dataset", sort=False):
        rows = {row["predictor"]: row for row in part.to_dict("records")}
        cheap = rows["cheap scores"]
        if not (cheap["r2"] > 0 and cheap["p"] < 0.05):
            continue
        r2 = {name: f"{row['r2']:.2f}".replace("-", "−") for name, row in rows.items()}
        others = [f"{r2[name]} by {name}" for name in ("clean accuracy", "architecture") if name in r2]
        against = f", against {join_words(others)}" if others else ""
        said.append(
            f"On {dataset}, attack-free scores explain R² = {r2['cheap scores']} of robust accuracy on architectures "
            f"they have not seen{against} (p {_p(cheap['p'])}, n = {cheap['n']})."
        )
    return said
