"""What each rule finds on the curves of `benchmarks/collapse.py`: collapses found, healthy trainings stopped.

    python benchmarks/collapse_table.py [--figure docs/images/collapse.png]

The first table is of the first set of trainings: settings are chosen on all architectures but one and judged on that
one, each in turn. The second is of the held-out trainings, with the settings chosen on the whole first set, and with
the defaults. A jump is `EarlyStopping`, a fall `CollapseStopping`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from filterlens.inputs.fonts import load_fonts
from filterlens.training import CollapseStopping, EarlyStopping
from filterlens.training.early_stopping import Stopping

EVIDENCE = Path(__file__).resolve().parents[1] / "docs" / "evidence"
CURVES, HELD_OUT = EVIDENCE / "collapse-curves.csv", EVIDENCE / "collapse-held-out.csv"
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
Setting = tuple[float, float]


@cache
def batch_labels(n: int) -> Tensor:
    """Labels of the fixed batch of so many images that signals are measured on."""
    return torch.from_numpy(load_fonts(n, 1).labels)


def jump(setting: Setting, _signal: str) -> Stopping:
    """Make the rule for any signal; a setting is a threshold and a noise."""
    return EarlyStopping(threshold=setting[0], noise=setting[1])


def fall(setting: Setting, signal: str) -> Stopping:
    """Make the rule for errors; a setting is the patience and the share that accuracy may lose."""
    labels = batch_labels(256 if signal.endswith("_256") else 64)
    return CollapseStopping(labels, patience=int(setting[0]), share=1 - setting[1])


# settings to choose from: the larger the product of the two, the less eager
JUMPS = tuple(product((0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0), (0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2)))
FALLS = tuple(product((1.0, 2.0), (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7)))


@dataclass(frozen=True)
class Rule:
    """A signal, and what is looked for in it."""

    signal: str
    make: Callable[[Setting, str], Stopping]
    settings: tuple[Setting, ...]

    @property
    def name(self) -> str:
        """Such as "fall of `pgd2_error`"."""
        return f"{self.make.__name__} of `{self.signal}`"


PGD2_FALLS, PGD2_FALLS_256 = Rule("pgd2_error", fall, FALLS), Rule("pgd2_error_256", fall, FALLS)
RULES = (*(Rule(signal, jump, JUMPS) for signal in SIGNALS), Rule("pgd20_error", fall, FALLS), PGD2_FALLS)
MISALIGNMENT_JUMPS = RULES[SIGNALS.index("gradient_misalignment")]
COLLAPSE_DEFAULTS: Setting = (2.0, 0.45)  # of `CollapseStopping`, as `fall` takes them
JUMP_DEFAULTS: Setting = (2.0, 0.02)


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
def alarm(scores: tuple[float, ...], rule: Rule, setting: Setting) -> int | None:
    """Find the epoch in which the rule stops the training."""
    stopping, model = rule.make(setting, rule.signal), nn.Identity()
    return next((epoch for epoch, score in enumerate(scores) if stopping.step(score, model)), None)


def undecided(curve: pd.DataFrame) -> bool:
    """Tell an adversarial training that never became robust: it has neither collapsed nor gone well."""
    return bool(curve["recipe"].iloc[0] != "normal" and curve["pgd20_accuracy"].max() <= ROBUST)


def judge(curves: pd.DataFrame, rule: Rule, setting: Setting) -> Outcome:
    total = Outcome()
    for _, curve in curves.groupby("training", sort=False):
        if undecided(curve):
            continue
        at, stop = collapse_epoch(curve["pgd20_accuracy"].tolist()), alarm(tuple(curve[rule.signal]), rule, setting)
        if at is None:
            total += Outcome(stopped=int(stop is not None), healthy=1)
        elif stop is not None and abs(stop - at) <= WITHIN:
            total += Outcome(found=1, collapsing=1, delays=(stop - at,))
        else:
            total += Outcome(elsewhen=int(stop is not None), collapsing=1)
    return total


def choose(curves: pd.DataFrame, rule: Rule) -> Setting:
    """Choose a setting: most collapses found, fewest healthy trainings stopped; of equals the least eager."""

    def value(setting: Setting) -> tuple[int, float]:
        outcome = judge(curves, rule, setting)
        return outcome.found - outcome.stopped - outcome.elsewhen, setting[0] * setting[1]

    return max(rule.settings, key=value)


def leave_one_architecture_out(curves: pd.DataFrame, rule: Rule) -> Outcome:
    total = Outcome()
    for architecture, left_out in curves.groupby("architecture", sort=False):
        total += judge(left_out, rule, choose(curves[curves["architecture"] != architecture], rule))
    return total


HEAD = """\
| rule | collapses found within 2 epochs | stopped at another time | healthy stopped | delay | ms |
|---|---|---|---|---|---|"""


def row(name: str, outcome: Outcome, curves: pd.DataFrame, signal: str) -> str:
    """Write a Markdown row; milliseconds are the median of one measurement of the signal."""
    seconds = "seconds_aliasing" if "alias" in signal else f"seconds_{signal}"
    cost = f"{1000 * curves[seconds].median():.0f}" if seconds in curves else "–"
    delays = f"{min(outcome.delays):+d} … {max(outcome.delays):+d}" if outcome.delays else "–"
    return (
        f"| {name} | {outcome.found} of {outcome.collapsing} | {outcome.elsewhen} "
        f"| {outcome.stopped} of {outcome.healthy} | {delays} | {cost} |"
    )


def table(curves: pd.DataFrame) -> str:
    """Write the table of the first set, a row a rule, and the defaults on the trainings they were chosen on."""
    rows = [row(rule.name, leave_one_architecture_out(curves, rule), curves, rule.signal) for rule in RULES]
    for rule, setting in ((MISALIGNMENT_JUMPS, JUMP_DEFAULTS), (PGD2_FALLS, COLLAPSE_DEFAULTS)):
        name = f"{rule.name}, defaults, chosen on these trainings"
        rows.append(row(name, judge(curves, rule, setting), curves, rule.signal))
    return "\n".join((HEAD, *rows))


def held_out_table(held_out: pd.DataFrame, curves: pd.DataFrame) -> str:
    """Write the table of the held-out trainings: settings chosen on the first set, and the defaults."""
    rows = [row(rule.name, judge(held_out, rule, choose(curves, rule)), held_out, rule.signal) for rule in RULES]
    for rule, setting in (
        (MISALIGNMENT_JUMPS, JUMP_DEFAULTS),
        (PGD2_FALLS, COLLAPSE_DEFAULTS),
        (PGD2_FALLS_256, COLLAPSE_DEFAULTS),
    ):
        rows.append(row(f"{rule.name}, defaults", judge(held_out, rule, setting), held_out, rule.signal))
    return "\n".join((HEAD, *rows))


def draw(curves: pd.DataFrame, path: Path) -> None:
    """Draw accuracy and signals by epoch, a column an architecture: collapsing, healthy, never robust.

    Dots are collapses, crosses the epochs in which `CollapseStopping()` stops.
    """
    shown = ["pgd20_accuracy", *(signal for signal in SIGNALS if signal != "pgd20_error")]
    architectures = list(dict.fromkeys(curves["architecture"]))
    figure = Figure(figsize=(8, 1.25 * len(shown)), layout="constrained")
    axes = figure.subplots(len(shown), len(architectures), sharex=True, sharey="row", squeeze=False)
    for (_, curve), (line, signal) in product(curves.groupby("training", sort=False), enumerate(shown)):
        axis = axes[line, architectures.index(curve["architecture"].iloc[0])]
        at = collapse_epoch(curve["pgd20_accuracy"].tolist())
        colour = "#999999" if undecided(curve) else "#0072B2" if at is None else "#D55E00"
        axis.plot(curve["epoch"], curve[signal], color=colour, linewidth=0.9)
        if at is not None:
            axis.plot(at, curve[signal].iloc[at], "o", color="#D55E00", markersize=3)
        stop = alarm(tuple(curve["pgd2_error"]), PGD2_FALLS, COLLAPSE_DEFAULTS)
        if signal == "pgd2_error" and stop is not None:
            axis.plot(stop, curve[signal].iloc[stop], "x", color="black", markersize=4)
    for line, signal in enumerate(shown):
        axes[line, 0].set_ylabel(signal.replace("_", "\n", 1), fontsize=7)
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
    parser.add_argument("--held-out", type=Path, default=HELD_OUT)
    parser.add_argument("--figure", type=Path)
    args = parser.parse_args()
    curves = pd.read_csv(args.csv)
    print(table(curves))
    held_out = pd.read_csv(args.held_out)
    print(f"\n{held_out_table(held_out, curves)}")
    if args.figure is not None:
        draw(held_out, args.figure)


if __name__ == "__main__":
    main()
