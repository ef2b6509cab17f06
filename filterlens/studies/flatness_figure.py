"""Figure of the flatness study: flatness of the robust loss against the robust generalisation gap."""

from __future__ import annotations

import pandas as pd

from filterlens.report.correlation import rank_correlation
from filterlens.report.data import RunData, read_run
from filterlens.report.figure import Drawing, Figure
from filterlens.report.marks import SERIES
from filterlens.report.style import current_style, new_figure
from filterlens.studies.flatness_table import FLATNESS, study_networks

__all__ = ["FIGURES", "draw_gap"]

_SIDES = {"last": ("after the last epoch", *SERIES[0]), "early": ("stopped early", *SERIES[1])}


def draw_gap(run: RunData) -> Drawing | None:
    """Draw the robust gap against both cases of flatness, a mark an adversarially trained network."""
    networks = study_networks(read_run(run.folder, every=True))
    networks = networks[networks["robust"].eq(True)]  # noqa: FBT003 - a value
    order = {method: number for number, method in enumerate(networks["method"].unique(), start=1)}
    scale = current_style().lines
    figure = new_figure(3.4)
    axes = figure.subplots(1, 2, sharey=True)
    parts = []
    for axis, (name, title) in zip(axes, FLATNESS.items(), strict=True):
        lines = []
        for stopped, (label, colour, marker) in _SIDES.items():
            part = networks[networks["stopped"] == stopped]
            found = rank_correlation(part[name].astype(float), part["robust_gap"].astype(float))
            lines.append(f"{label}: {found.text}")
            axis.scatter(
                part[name], part["robust_gap"], s=22 * scale**2, color=colour, marker=marker, edgecolors="black",
                linewidths=0.4 * scale, label=label, clip_on=False, zorder=3,
            )  # fmt: skip
            numbers = {"rho": found.rho, "low": found.low, "high": found.high, "n": found.n}
            kept = part[["model_id", "method", "seed", "stopped", name, "robust_gap"]]
            parts.append(kept.rename(columns={name: "flatness"}).assign(case=name, **numbers))
        for row in networks[networks["stopped"] == "last"].itertuples():
            axis.annotate(
                str(order[row.method]), (getattr(row, name), row.robust_gap), xytext=(3, 3),
                textcoords="offset points", fontsize="x-small",
            )  # fmt: skip
        axis.set_title("\n".join(lines), loc="left", fontsize="x-small")
        axis.set_xlabel(f"{title} (nats)")
    axes[0].set_ylabel("robust gap (nats)")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2)
    methods = ", ".join(f"{number} {method}" for method, number in order.items())
    caption = (
        "Robust generalisation gap (robust loss on test less that on training images) against flatness of the robust "
        "loss; lower is flatter. A mark is an adversarially trained network, after the last epoch or at the epoch with "
        "the highest PGD accuracy on validation images. ρ is Spearman's rank correlation over n networks with its "
        f"95 % interval (Fisher's z). Numbers at networks after the last epoch: {methods}."
    )
    return Drawing(figure, pd.concat(parts, ignore_index=True), caption)


FIGURES: tuple[Figure, ...] = (Figure("study_gap", "flatness", "Robust gap against flatness", draw_gap),)
