"""What the flatness study says in numbers: a table of methods, and the paper's claims beside what was measured."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from filterlens.errors import ReportError
from filterlens.process.files import write_atomically
from filterlens.report.correlation import rank_correlation
from filterlens.report.data import RunData
from filterlens.report.statistics import mean_interval
from filterlens.studies.claims import COLUMNS

__all__ = [
    "FLATNESS",
    "STOPPED",
    "TABLE",
    "flatness_claims",
    "method_table",
    "methods_markdown",
    "study_networks",
    "write_methods",
]

STOPPED: Final = ("last", "early")
TABLE: Final = "trainings.csv"
FLATNESS: Final = {"average_flatness": "average-case flatness", "worst_flatness": "worst-case flatness"}
_NUMBERS: Final = {
    "epoch": "{:.0f}",
    "clean_accuracy": "{:.1%}",
    "robust_accuracy": "{:.1%}",
    "flatness_reference_loss": "{:.3f}",
    "train_robust_loss": "{:.3f}",
    "robust_gap": "{:.3f}",
    "average_flatness": "{:.3f}",
    "worst_flatness": "{:.4f}",
    "average_clean_flatness": "{:.3f}",
    "worst_clean_flatness": "{:.4f}",
}
_HEADS: Final = (
    "epoch", "clean accuracy", "robust accuracy", "robust loss", "robust loss, training", "robust gap",
    "average-case flatness", "worst-case flatness", "average case, clean loss", "worst case, clean loss",
)  # fmt: skip


def study_networks(run: RunData) -> pd.DataFrame:
    """One row a network: `method`, `seed`, `stopped`, `epoch`, the catalog's columns and every score.

    Raises
    ------
    ReportError
        The folder holds no study.
    """
    path = run.folder / TABLE
    if not path.is_file():
        raise ReportError(f"{run.folder} holds no study (no {TABLE}): run `filterlens study flatness --out` first")
    facts = pd.read_csv(path).set_index("model_id")
    return facts.join(run.models.drop(columns=["epoch"], errors="ignore")).reset_index()


def method_table(networks: pd.DataFrame) -> pd.DataFrame:
    """Mean over seeds of every method, after the last epoch and stopped early, in the order of the study.

    Returns
    -------
        Columns `method`, `stopped`, `networks`, and the scores that are known.
    """
    known = [name for name in _NUMBERS if name in networks]
    grouped = networks.groupby(["method", "stopped"], sort=False)
    means = grouped[known].mean()
    means.insert(0, "networks", grouped.size())
    return means.reset_index()


def flatness_claims(networks: pd.DataFrame) -> pd.DataFrame:
    """Hold the paper's claims to the study's numbers, among adversarially trained networks only.

    Returns
    -------
        Columns `claim`, `measure`, `value`, `low`, `high` (95 % intervals, networks the unit; NaN where none covers),
        `n`, `paper` (what it expects). Whether a claim holds is for the reader to say.
    """
    robust = networks[networks["robust"].eq(True)]  # noqa: FBT003 - a value
    rows: list[dict[str, object]] = []
    for number, (other, said) in enumerate(
        (("robust_gap", "robust gap"), ("flatness_reference_loss", "robust loss")), start=1
    ):
        claim = f"{number}. flatter goes with a smaller {said}"
        for stopped in STOPPED:
            part = robust[robust["stopped"] == stopped]
            for name, title in FLATNESS.items():
                found = rank_correlation(part[name].astype(float), part[other].astype(float))
                measure = f"Spearman, {title} and {said}, {_WHEN[stopped]}"
                rows.append(_row(claim, measure, (found.rho, found.low, found.high), found.n, "positive"))
    claim = "3. early stopping finds flatter minima"
    for name, title in {**FLATNESS, "robust_gap": "robust gap"}.items():
        sides = robust.pivot_table(index=["method", "seed"], columns="stopped", values=name)
        change = (sides["early"] - sides["last"]).dropna().to_numpy(dtype=float)
        value = float(change.mean()) if len(change) else math.nan
        rows.append(
            _row(claim, f"{title}, stopped early − last", (value, *mean_interval(change)), len(change), "below 0")
        )
    return pd.DataFrame(rows, columns=COLUMNS)


_WHEN: Final = {"last": "after the last epoch", "early": "stopped early"}


def _row(claim: str, measure: str, value: tuple[float, float, float], n: int, paper: str) -> dict[str, object]:
    return dict(zip(COLUMNS, (claim, measure, *value, n, paper), strict=True))


def write_methods(methods: pd.DataFrame, folder: Path) -> None:
    """Write `methods.csv` and, for reading, `methods.md`."""
    write_atomically(folder / "methods.csv", methods.to_csv(index=False))
    write_atomically(folder / "methods.md", methods_markdown(methods))


def methods_markdown(methods: pd.DataFrame) -> str:
    """Return the table of methods as it is read."""
    shown = {name: head for name, head in zip(_NUMBERS, _HEADS, strict=True) if name in methods}
    lines = [
        f"| method | stopped | n | {' | '.join(shown.values())} |",
        f"|---|---|---:|{'---:|' * len(shown)}",
    ]
    for row in methods.to_dict("records"):
        cells = [str(row["method"]), str(row["stopped"]), str(row["networks"])]
        cells += [_NUMBERS[name].format(row[name]) if np.isfinite(row[name]) else "–" for name in shown]
        lines.append(f"| {' | '.join(cells)} |".replace("| -", "| −"))
    return "\n".join(lines) + "\n"
