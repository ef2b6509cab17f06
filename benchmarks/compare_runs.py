"""Are the scores and the pooled filters of two runs equal bit for bit? `python benchmarks/compare_runs.py A B`."""

from __future__ import annotations

import argparse
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

KEYS = ["lens", "metric", "model_id", "layer"]


def compare_scores(first: Path, second: Path) -> str:
    """Rows that both hold, rows that one holds, and every metric that differs with its largest difference."""
    tables = [pd.read_parquet(run / "scores.parquet") for run in (first, second)]
    both = tables[0].merge(tables[1], on=KEYS, how="outer", suffixes=("_first", "_second"), indicator=True)
    lines: list[str] = []
    for side, name in (("left_only", first.name), ("right_only", second.name)):
        alone = both[both["_merge"] == side].value_counts(["lens", "metric"], sort=False).reset_index()
        lines += [f"only {name}: {n} rows of {lens}, {metric}" for lens, metric, n in alone.to_numpy()]
    shared = both[both["_merge"] == "both"]
    old, new = shared["value_first"], shared["value_second"]
    differs = ~((old == new) | (old.isna() & new.isna()))
    lines.append(f"{len(shared)} rows of both, {int((~differs).sum())} equal bit for bit")
    largest = (old - new).abs()[differs].groupby([shared["lens"], shared["metric"]]).agg(["size", "max"])
    lines += [f"{lens}, {metric}: {n:.0f} rows, at most {most:.2g}" for (lens, metric), n, most in largest.itertuples()]
    return "\n".join(lines)


def compare_pools(first: Path, second: Path) -> str:
    """Arrays of `pooled.h5` that differ."""
    with h5py.File(first / "pooled.h5") as old, h5py.File(second / "pooled.h5") as new:
        names = [set[str](), set[str]()]
        for file, found in zip((old, new), names, strict=True):
            file.visititems(lambda name, item, found=found: found.add(name) if isinstance(item, h5py.Dataset) else None)
        same = [n for n in names[0] & names[1] if np.array_equal(old[n][()], new[n][()], equal_nan=_real(old[n]))]
        odd = sorted((names[0] | names[1]) - set(same))
    return f"{len(same)} pooled arrays equal" + (f", these differ: {', '.join(odd)}" if odd else "")


def _real(array: h5py.Dataset) -> bool:
    return bool(array.dtype.kind == "f")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    runs = parser.parse_args()
    print(compare_scores(runs.first, runs.second))
    print(compare_pools(runs.first, runs.second))
