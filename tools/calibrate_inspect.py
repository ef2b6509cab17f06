"""Write docs/evidence/inspect_calibration.csv: how often the verdict of `filterlens inspect` is right.

`python tools/calibrate_inspect.py`. For each z-score against chance, every network of a bundled zoo is judged from
the networks of the other architectures alone; an empty verdict is none. A test compares the file with what the code
gives.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from filterlens.commands.reference import left_out_verdicts, reference_scores

PATH = Path(__file__).resolve().parents[1] / "docs" / "evidence" / "inspect_calibration.csv"


def calibration() -> pd.DataFrame:
    """One row a network and z-score: `model_id`, `dataset`, `architecture`, `robust`, `metric`, `z`, `verdict`."""
    every = reference_scores()
    zoos = [every.of(every.facts["dataset"].eq(name)) for name in every.facts["dataset"].unique()]
    parts = [
        zoo.facts[["dataset", "architecture", "robust"]].assign(
            metric=name, z=zoo.means[name].map("{:.6g}".format), verdict=left_out_verdicts(name, zoo)
        )
        for zoo in zoos
        for name in map(str, zoo.means)
        if name.endswith("_z") and zoo.means[name].notna().any()
    ]
    return pd.concat(parts).rename_axis("model_id").reset_index()


if __name__ == "__main__":
    PATH.parent.mkdir(exist_ok=True)
    calibration().to_csv(PATH, index=False)
