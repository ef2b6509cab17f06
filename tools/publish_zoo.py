"""Write what the project shows of a bundled zoo: `python tools/publish_zoo.py [RUN]` after `filterlens audit`.

From the finished run (`reports/cifar10-small` where no other is named): the reference scores that `filterlens inspect`
places a model in (catalogs/ZOO/scores.csv), the table of claims between the marks of that zoo in README.md,
docs/index.md and docs/claims.md, the claims one by one over both zoos in docs/claims.md, figures in docs/images, and
the example in reports/examples/ZOO: the page, its tables, and the run.toml that repeats it.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pandas as pd

from filterlens.commands.reference import SIZES, network_sizes
from filterlens.lens import all_scores
from filterlens.report.claims import verdict
from filterlens.report.data import RunData, read_run
from filterlens.runs.config import RunConfig
from filterlens.score import Score, model_scores

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "reports" / "examples"
PAIR = ROOT / "docs" / "evidence" / "resnet20-pair.csv"
END = "<!-- end of result -->"
FIGURES = {
    "cifar10-small": {"filters_depth": "cifar10_depth", "filters_first": "cifar10_first"},
    "fonts-linf": {},
}
PAGES = (ROOT / "README.md", ROOT / "docs" / "index.md", ROOT / "docs" / "claims.md")


def reference_scores(run: RunData) -> pd.DataFrame:
    """One row a model that is known to be robust or normal: its size, its scores and their z against chance."""
    models = run.models.join(network_sizes(run.scores))
    known = all_scores()
    metrics = [m for m in model_scores(run.scores).columns if m in known and _is_shown(m, known[m])]
    return models.loc[models["robust"].notna(), ["robust", *SIZES, *metrics]]


def _is_shown(metric: str, score: Score) -> bool:
    return not score.auxiliary or metric.endswith("_z")


def _interval(row: pd.Series) -> str:
    text = f"{row['difference']:.3g} ({row['ci_low']:.3g} … {row['ci_high']:.3g})"
    return text.replace("-", "−")


def result_table(comparison: pd.DataFrame) -> str:
    """Every claim about robust and normal models with its numbers, as Markdown."""
    lines = [
        "| score | claimed of robust models | robust | normal | difference (95 % interval) | pairs as claimed "
        "| adjusted p | here |",
        "|---|---|---:|---:|---|---|---:|---|",
    ]
    for _, row in comparison[comparison["robust_is"].fillna("") != ""].iterrows():
        claim = all_scores()[row["metric"]].claim.split(",")[0]
        values = f"{row['robust_mean']:.3g} | {row['normal_mean']:.3g} | {_interval(row)}".replace("-", "−")
        agree = f"{row['n_expected']:.0f} of {row['n_pairs']}"
        said = f"{row['title']} | {row['robust_is']} ({claim})"
        lines.append(f"| {said} | {values} | {agree} | {row['p_adjusted']:.3f} | **{verdict(row)}** |")
    return "\n".join(lines)


def by_claim(comparisons: dict[str, pd.DataFrame], pair: pd.DataFrame) -> str:
    """Every claim about robust and normal models with what each zoo, and one trained pair, says of it, as Markdown.

    Parameters
    ----------
    comparisons
        Of each zoo its table of robust against normal models.
    pair
        One row a score: `metric`, and the means of a `robust` and a `normal` network.
    """
    names = [name for name, score in all_scores().items() if score.robust_is]
    rows = {zoo: {row["metric"]: row for _, row in table.iterrows()} for zoo, table in comparisons.items()}
    trained = {row["metric"]: row for _, row in pair.iterrows()}
    lines = [f"| of robust models | {' | '.join(f'`{zoo}`' for zoo in rows)} | ResNet-20 pair |"]
    lines.append("|---|" + "---|" * (len(rows) + 1))
    for name in names:
        score = all_scores()[name]
        cells = [_held(table[name]) if name in table else "not measured" for table in rows.values()]
        cells.append(_of_pair(trained[name], score) if name in trained else "not measured")
        lines.append(f"| {score.title}: {score.robust_is} ({score.claim.split(',')[0]}) | {' | '.join(cells)} |")
    return "\n".join(lines)


def _held(row: pd.Series) -> str:
    return f"**{verdict(row)}**: {_interval(row)}, {row['n_expected']:.0f} of {row['n_pairs']} pairs"


def _of_pair(row: pd.Series, score: Score) -> str:
    difference = row["robust"] - row["normal"]
    side = (
        "equal" if difference == 0 else "as claimed" if (difference > 0) == (score.robust_is == "higher") else "against"
    )
    return f"{side}: {row['robust']:.3g} against {row['normal']:.3g}".replace("-", "−")


def start(zoo: str) -> str:
    """Mark in a page before a zoo's table."""
    return f"<!-- result of {zoo} -->"


def replace(path: Path, zoo: str, text: str) -> None:
    """Put the text between the page's two marks of a zoo, where it has them."""
    page = path.read_text(encoding="utf-8")
    before, mark, rest = page.partition(start(zoo))
    after = rest.partition(END)[2]
    if mark:
        path.write_text(f"{before}{mark}\n{text}\n{END}{after}", encoding="utf-8")


def copy_example(folder: Path, example: Path) -> None:
    """Keep a run's page, tables and run.toml as the example; the page without links to files that are not kept."""
    shutil.rmtree(example, ignore_errors=True)
    shutil.copytree(folder / "tables", example / "tables")
    shutil.copyfile(folder / "run.toml", example / "run.toml")
    page = (folder / "index.html").read_text(encoding="utf-8")
    (example / "index.html").write_text(
        re.sub(r' <span class="files"><a href="figures/.*?</span>', "", page), encoding="utf-8"
    )


def main(folder: Path) -> None:
    """Write every file that shows the zoo's results."""
    run = read_run(folder)
    zoo = RunConfig.read(folder / "run.toml").leaderboard
    copy_example(folder, EXAMPLES / zoo)
    reference_scores(run).to_csv(ROOT / "catalogs" / zoo / "scores.csv", float_format="%.8g")
    table = result_table(pd.read_csv(EXAMPLES / zoo / "tables" / "robust_vs_normal.csv"))
    for page in PAGES:
        replace(page, zoo, table)
    kept = {name: EXAMPLES / name / "tables" / "robust_vs_normal.csv" for name in FIGURES}
    found = {name: pd.read_csv(path) for name, path in kept.items() if path.is_file()}
    replace(PAGES[-1], "every claim", by_claim(found, pd.read_csv(PAIR)))
    for figure, name in FIGURES[zoo].items():
        shutil.copyfile(folder / "figures" / f"{figure}.png", ROOT / "docs" / "images" / f"{name}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "reports" / "cifar10-small")
