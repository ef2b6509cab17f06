"""What each signal finds on the curves of `benchmarks/collapse.py`: collapses found, healthy trainings stopped.

    python benchmarks/collapse_table.py [--figure docs/images/collapse.png]

Thresholds are chosen on all architectures but one and judged on that one, each in turn.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from torch import nn

from filterlens.training import EarlyStopping

CURVES = Path(__file__).resolve().parents[1] / "docs" / "evidence" / "collapse-curves.csv"
ROBUST = 0.15  # accuracy under attack that a network without any robustness does not reach; chance is 0.1
WITHIN = 2  # epochs between a collapse and its alarm
SIGNALS = (
    "aliasing",
    "aliasing_relative",
    "alias_energy",
    "pgd20_error",
    "pgd2_error",
    "linearity_error",
    "gradient_misalignment",
)
NOISES = (0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2)
THRESHOLDS = (0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0)


@dataclass(frozen=True)
class Outcome:
    """How many collapses were found within two epochs, how many of the other trainings were stopped.

    `elsewhen` are collapsing trainings that were stopped at another time, `delays` the epochs from collapse to alarm.
    """

    found: int = 0
    elsewhen: int = 0
    collapsing: int = 0
    stopped: int = 0
    healthy: int = 0
    delays: tuple[int, ...] = ()

    def __add__(self, other: Outcome) -> Outcome:
        return Outcome(
            self.found + other.found,
            self.elsewhen + other.elsewhen,
            self.collapsing + other.collapsing,
            self.stopped + other.stopped,
            self.healthy + other.healthy,
            self.delays + other.delays,
        )


def collapse_epoch(accuracy: Sequence[float]) -> int | None:
    """Find the epoch from which accuracy under attack stays below half of its best before, in a robust network."""
    for epoch in range(1, len(accuracy)):
        best = max(accuracy[:epoch])
        if best > ROBUST and max(accuracy[epoch:]) < best / 2:
            return epoch
    return None


@cache
def alarm(scores: tuple[float, ...], threshold: float, noise: float) -> int | None:
    """Find the epoch in which the rule stops the training."""
    stopping, model = EarlyStopping(threshold=threshold, noise=noise), nn.Identity()
    return next((epoch for epoch, score in enumerate(scores) if stopping.step(score, model)), None)


def undecided(curve: pd.DataFrame) -> bool:
    """Tell an adversarial training that never became robust: it has neither collapsed nor gone well."""
    return bool(curve["recipe"].iloc[0] != "normal" and curve["pgd20_accuracy"].max() <= ROBUST)


def judge(curves: pd.DataFrame, signal: str, threshold: float, noise: float) -> Outcome:
    total = Outcome()
    for _, curve in curves.groupby("training", sort=False):
        if undecided(curve):
            continue
        at, stop = collapse_epoch(curve["pgd20_accuracy"].tolist()), alarm(tuple(curve[signal]), threshold, noise)
        if at is None:
            total += Outcome(stopped=int(stop is not None), healthy=1)
        elif stop is not None and abs(stop - at) <= WITHIN:
            total += Outcome(found=1, collapsing=1, delays=(stop - at,))
        else:
            total += Outcome(elsewhen=int(stop is not None), collapsing=1)
    return total


def choose(curves: pd.DataFrame, signal: str) -> tuple[float, float]:
    """Choose threshold and noise: most collapses found, fewest healthy trainings stopped; of equals the least eager."""

    def value(setting: tuple[float, float]) -> tuple[int, float]:
        outcome = judge(curves, signal, *setting)
        return outcome.found - outcome.stopped - outcome.elsewhen, setting[0] * setting[1]

    return max(product(THRESHOLDS, NOISES), key=value)


def leave_one_architecture_out(curves: pd.DataFrame, signal: str) -> Outcome:
    total = Outcome()
    for architecture, left_out in curves.groupby("architecture", sort=False):
        total += judge(left_out, signal, *choose(curves[curves["architecture"] != architecture], signal))
    return total


def with_the_defaults(curves: pd.DataFrame) -> Outcome:
    """Judge `EarlyStopping()` on the default signal, on the very trainings that the defaults were chosen on."""
    stopping = EarlyStopping()
    return judge(curves, "gradient_misalignment", stopping.threshold, stopping.noise)


def table(curves: pd.DataFrame) -> str:
    """Write one Markdown row a signal."""
    lines = [
        "| signal | collapses found within 2 epochs | stopped at another time | healthy stopped | delay | ms |",
        "|---|---|---|---|---|---|",
    ]
    for signal in SIGNALS:
        found = leave_one_architecture_out(curves, signal)
        seconds = "seconds_aliasing" if "alias" in signal else f"seconds_{signal}"
        delays = f"{min(found.delays):+d} … {max(found.delays):+d}" if found.delays else "–"
        lines.append(
            f"| `{signal}` | {found.found} of {found.collapsing} | {found.elsewhen} "
            f"| {found.stopped} of {found.healthy} | {delays} | {1000 * curves[seconds].median():.0f} |"
        )
    return "\n".join(lines)


def draw(curves: pd.DataFrame, path: Path) -> None:
    """Draw accuracy and signals by epoch, a column an architecture: collapsing, healthy, never robust."""
    shown = ["pgd20_accuracy", *(signal for signal in SIGNALS if signal != "pgd20_error")]
    architectures = list(dict.fromkeys(curves["architecture"]))
    figure = Figure(figsize=(8, 1.25 * len(shown)), layout="constrained")
    axes = figure.subplots(len(shown), len(architectures), sharex=True, sharey="row", squeeze=False)
    for (_, curve), (row, signal) in product(curves.groupby("training", sort=False), enumerate(shown)):
        axis = axes[row, architectures.index(curve["architecture"].iloc[0])]
        at = collapse_epoch(curve["pgd20_accuracy"].tolist())
        colour = "#999999" if undecided(curve) else "#0072B2" if at is None else "#D55E00"
        axis.plot(curve["epoch"], curve[signal], color=colour, linewidth=0.9)
        if at is not None:
            axis.plot(at, curve[signal].iloc[at], "o", color="#D55E00", markersize=3)
    for row, signal in enumerate(shown):
        axes[row, 0].set_ylabel(signal.replace("_", "\n", 1), fontsize=7)
    for column, architecture in enumerate(architectures):
        axes[0, column].set_title(architecture, fontsize=8)
        axes[-1, column].set_xlabel("epoch", fontsize=8)
    for axis in axes.flat:
        axis.tick_params(labelsize=6)
    axes[shown.index("aliasing"), 0].set_yscale("log")
    figure.savefig(path, dpi=62)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", type=Path, default=CURVES)
    parser.add_argument("--figure", type=Path)
    args = parser.parse_args()
    curves = pd.read_csv(args.csv)
    print(table(curves))
    if args.figure is not None:
        draw(curves, args.figure)


if __name__ == "__main__":
    main()
