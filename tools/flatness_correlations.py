"""Write docs/evidence/flatness_correlations.csv: flatness against robustness within each bundled zoo's robust networks.

`python tools/flatness_correlations.py`, from the zoos' published scores (catalogs/ZOO/scores.csv).
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pandas as pd

from filterlens.commands.reference import reference_scores
from filterlens.report.correlation import within_robust

PATH = Path(__file__).resolve().parents[1] / "docs" / "evidence" / "flatness_correlations.csv"


def correlations() -> pd.DataFrame:
    """One row a panel of the figure: `x`, `y`, `dataset`, `rho`, `low`, `high`, `p`, `n`."""
    zoo = reference_scores()
    models = zoo.facts.join(zoo.means)
    rows = [
        {"x": x, "y": y, "dataset": dataset, **asdict(found)}
        for y in ("robust_loss", "robust_accuracy")
        for x in ("average_flatness", "worst_flatness")
        for dataset, found in within_robust(models, x, y).items()
    ]
    return pd.DataFrame(rows).round(4)


if __name__ == "__main__":
    PATH.parent.mkdir(exist_ok=True)
    correlations().to_csv(PATH, index=False)
