"""Print the tables of docs/lenses/robustness.md, from docs/evidence/attacks.csv: `python benchmarks/attacks_table.py`.

Networks of which nobody says whether they are robust are among the others.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pandas as pd

CSV = Path(__file__).resolve().parents[1] / "docs" / "evidence" / "attacks.csv"
OURS = {"pgd": "PGD", "apgd": "APGD", "joint": "joint"}
PEERS = {"torchattacks": "torchattacks' PGD", "foolbox": "foolbox's PGD", "autoattack_apgd": "AutoAttack's APGD-CE"}
NORMS = {"Linf": "L∞", "L2": "L2"}
MARGIN = 0.5  # points


def accuracies(table: pd.DataFrame) -> str:
    """Mean accuracies, a row a norm and kind of network."""
    names = OURS | PEERS
    lines = [f"| norm, networks | n | {' | '.join(names.values())} |", f"|---|{'---:|' * (len(names) + 1)}"]
    for norm, (robust, kind) in product(NORMS, ((True, "robust"), (False, "other, ε / 10"))):
        part = table[table["norm"].eq(norm) & (table["robust"].astype(str) == "True").eq(robust)]
        means = ("–" if pd.isna(part[name]).all() else f"{part[name].mean():.1f}" for name in names)
        lines.append(f"| {NORMS[norm]}, {kind} | {len(part)} | {' | '.join(means)} |")
    return "\n".join(lines)


def gap(table: pd.DataFrame, ours: str, peer: str, norm: str) -> pd.Series:
    """Points by which ours is weaker, of each network."""
    part = table[table["norm"].eq(norm)]
    return (part[ours] - part[peer]).dropna()


def weaker(table: pd.DataFrame) -> str:
    """How much ours is weaker than each peer: mean, most, and the number of networks beyond half a point."""
    lines = ["| ours | beside | norm | mean | most | more than 0.5 |", "|---|---|---|---:|---:|---:|"]
    for ours, peer, norm in product(OURS, PEERS, NORMS):
        points = gap(table, ours, peer, norm)
        if len(points):
            cells = f"{points.mean():.2f} | {points.max():.0f} | {(points > MARGIN).sum()} of {len(points)}"
            lines.append(f"| {OURS[ours]} | {PEERS[peer]} | {NORMS[norm]} | {cells} |".replace("-0.00", "0.00"))
    return "\n".join(lines).replace("| -", "| −")


if __name__ == "__main__":
    results = pd.read_csv(CSV)
    print(accuracies(results), weaker(results), sep="\n\n")
