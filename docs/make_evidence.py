"""Write docs/evidence.md from docs/evidence/claims.csv and the tables that it names: `python docs/make_evidence.py`.

Each row of claims.csv is a claim: who makes it, where we repeat it, and the file, row and format of the number that
speaks for or against it.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from filterlens.report.claims import verdict

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent

TABLES = {
    "zoo": "reports/examples/fonts-linf/tables/robust_vs_normal.csv",
    "cifar10": "reports/examples/cifar10-small/tables/robust_vs_normal.csv",
    "depth": "reports/examples/cifar10-small/tables/by_depth.csv",
}
NUMBER = "{robust_mean:.3g} against {normal_mean:.3g}, {n_expected:.0f} of {n_pairs} pairs, p = {p_adjusted:.3f}"
RESULTS = {
    "holds": "reproduced",
    "contradicted": "contradicted",
    "not shown": "not shown",
    "no difference at all": "untestable here: no difference at all",
}
COMMANDS = {
    "AUDIT": "`filterlens audit`, `python tools/publish_zoo.py`",
    "FONTS": "`filterlens audit -l fonts-linf`, `python tools/publish_zoo.py reports/fonts-linf`",
    "COVERAGE": "`make coverage-of-intervals`",
    "RESNET20": "`filterlens audit --leaderboard resnet20.csv --data cifar10.npz --images 64 --channels all "
    "--lens downsampling,robustness`",
    "STUDY": "`filterlens study manifold --preset small`",
    "FLATNESS": "`filterlens study flatness --preset small`",
}
HEAD = """# Evidence

Every claim that README and these pages make or repeat, with its source, the number that speaks for or against it, the
table that holds the number, and the command that makes the table. `python docs/make_evidence.py` writes this page from
`docs/evidence/claims.csv`; a test compares the two. p is adjusted over all scores of the run. Papers are quoted in
our words.

**reproduced**, **contradicted**: adjusted p below 0.05, on that side. **not shown**: no clear difference. **untestable
here**: nothing that is bundled can decide it. **measured**: our own statement about this code.

Not listed: timings and memory, which belong to the machine that they name (`benchmarks/README.md`), promises of
[safety](safety.md), which tests hold, and the numbers of single figures in the [gallery](gallery.md). The ResNet-20
networks and CIFAR-10 images are not in the repository (two trained networks, JPEG copies of the test images).

"""


def row_of(claim: pd.Series) -> pd.Series:
    """Find the one row of evidence; of tables with a row a model, the models' values by name."""
    path = ROOT / TABLES[claim["file"]] if claim["file"] in TABLES else DOCS / "evidence" / claim["file"]
    found = pd.read_csv(path).query(claim["row"])
    if "model_id" in found:
        return found.set_index("model_id")["value"]
    if len(found) != 1:
        raise SystemExit(f"{claim['row']} is not one row of {path} but {len(found)}")
    return found.iloc[0]


def evidence() -> str:
    """Return the page."""
    claims = pd.read_csv(DOCS / "evidence" / "claims.csv").fillna("")
    lines = ["| claim | source | on | number | table | command | result |", "|---|---|---|---|---|---|---|"]
    for _, claim in claims.iterrows():
        number = table = "–"
        result = claim["result"]
        if claim["file"]:
            row = row_of(claim)
            number = (NUMBER if claim["number"] == "ZOO" else claim["number"]).format_map(row).replace("-", "−")
            table = f"`{TABLES.get(claim['file'], 'docs/evidence/' + claim['file'])}`"
            result = RESULTS[verdict(row.to_dict())] if result == "VERDICT" else result
        pages = ", ".join(page if page == "README" else f"[{page}]({page}.md)" for page in claim["where"].split(", "))
        command = COMMANDS.get(claim["command"], "–")
        cells = (claim["claim"], claim["source"], pages, number, table, command, f"**{result}**")
        lines.append(f"| {' | '.join(cells)} |")
    return HEAD + "\n".join(lines) + "\n"


if __name__ == "__main__":
    (DOCS / "evidence.md").write_text(evidence(), encoding="utf-8")
