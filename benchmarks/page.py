"""How long a report of many models takes to write, how large its page is, and how soon a browser shows it.

`python benchmarks/page.py 9 69 206 10000`: synthetic scores of every lens (`tests/report/synthetic.py`). `--layers` is
of each model; `--keep FOLDER` keeps the runs to be looked at. Times of the browser are measured where `--chromium`
names one: from the start of the navigation to the first contentful paint, and to the end of loading, the best of three.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from report.chromium import start
from report.synthetic import every_score, large_zoo, write_dumps, write_pool, write_run

from filterlens.commands.report import all_figures, all_tables
from filterlens.report import write_report

MEASURE = """new Promise(function (answer) { setTimeout(function () {
  var paint = performance.getEntriesByName("first-contentful-paint")[0], whole = performance.getEntriesByType("navigation")[0];
  answer([paint ? paint.startTime : null, whole.loadEventEnd]);
}, 300); })"""  # noqa: E501 - JavaScript


def make(folder: Path, n: int, n_layers: int) -> Path:
    """Write a run of `n` models with every score, and what pictures are drawn from for up to 300 of them."""
    models = large_zoo(n)
    write_run(folder, models, every_score(models, n_layers))
    if n <= 300:
        write_dumps(folder, models, every_lens=True)
        write_pool(folder, models)
    return folder


def browser_times(index: Path, chromium: str) -> tuple[float, float]:
    """First contentful paint and end of loading in milliseconds, the best of three new browsers."""
    times = []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as profile, start(chromium, Path(profile)) as browser:
            browser.open(index)
            paint, load = browser.run(MEASURE)
            times.append((float(paint or "nan"), float(load)))
    return min(paint for paint, _ in times), min(load for _, load in times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=int, default=[9, 69, 206])
    parser.add_argument("--layers", type=int, default=40)
    parser.add_argument("--chromium", default="")
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--no-figures", action="store_true")
    args = parser.parse_args()
    print("| models | write, s | page, MB | first paint, ms | loaded, ms |\n|---|---|---|---|---|")
    for n in args.models:
        with tempfile.TemporaryDirectory() as scratch:
            folder = make((args.keep or Path(scratch)) / f"models-{n}", n, args.layers)
            begun = time.perf_counter()
            index = write_report(folder, figures=() if args.no_figures else all_figures(), tables=all_tables())
            seconds = time.perf_counter() - begun
            paint, load = browser_times(index, args.chromium) if args.chromium else (float("nan"), float("nan"))
            print(f"| {n} | {seconds:.1f} | {index.stat().st_size / 1e6:.2f} | {paint:.0f} | {load:.0f} |", flush=True)


if __name__ == "__main__":
    main()
