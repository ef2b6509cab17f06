"""Four figures and two tables of a run at the size they are printed: `python tools/paper.py reports/fonts-linf`.

With a TeX they are on pages as of the paper; without one the figures alone, each on a sheet of its size, beside the
tables' files.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

from matplotlib.backends.backend_pdf import PdfPages

import filterlens
from filterlens.commands.report import all_figures
from filterlens.report.data import read_run
from filterlens.report.drawing import draw
from filterlens.report.latex import escape_latex
from filterlens.report.style import STYLES, Style

FIGURES = ("filters_depth", "filters_shift_depth", "downsampling_accuracy", "flatness_scatter", "filters_ridge")
SCORES = ("variance_entropy", "orthogonality", "aliasing", "alias_energy", "robust_loss", "average_flatness")
N = 4  # figures


def main() -> None:
    """Write `paper.pdf`, and what it is made of."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--style", default="cvpr", choices=[name for name in STYLES if name != "slides"])
    parser.add_argument("--out", type=Path, default=Path("paper"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    captions = draw_figures(given.run, given.style, given.out)
    write_tables(given.run, given.style, given.out)
    (given.out / "paper.tex").write_text(document(STYLES[given.style], captions), encoding="utf-8")
    if shutil.which("pdflatex"):
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "paper.tex"]
        done = subprocess.run(command, cwd=given.out, capture_output=True, check=False)  # noqa: S603
        said = done.stdout.decode("latin-1").splitlines()
        overfull = [line for line in said if line.startswith("Overfull")]
        if done.returncode or overfull:
            raise SystemExit("\n".join(overfull or said[-20:]))
    else:
        warnings.warn(f"there is no pdflatex: the tables are {given.out}/*.tex, set nowhere", stacklevel=1)
        sheets(given.run, given.style, given.out)
    sys.stdout.write(f"{given.out / 'paper.pdf'}\n")


def draw_figures(folder: Path, style: str, out: Path) -> dict[str, str]:
    """Draw the first figures that the run holds something for, as PDF; return their captions by name."""
    run = replace(read_run(folder), style=style)
    known = {figure.name: figure for figure in all_figures()}
    captions: dict[str, str] = {}
    for name in FIGURES:
        drawn = draw(known[name], run) if len(captions) < N else None
        if drawn is not None:
            (out / f"{name}.pdf").write_bytes(drawn[1])
            captions[name] = f"{known[name].title}. {drawn[0].caption}"
    return captions


def write_tables(folder: Path, style: str, out: Path) -> None:
    """Write one table that fits a column, and one that fits the page, of the scores that the run has."""
    pairs = set(filterlens.Run(folder).pairs["metric"])
    scores = [score for score in SCORES if score in pairs]
    (out / "narrow.tex").write_text(filterlens.table(folder, scores, style=style), encoding="utf-8")
    (out / "wide.tex").write_text(filterlens.table(folder, scores, width="page", style=style), encoding="utf-8")


def document(style: Style, captions: dict[str, str]) -> str:
    """Return a text of the journal's measures, with every figure at its own size."""
    two = "twocolumn," if style.columns > 1 else ""
    gap = style.page - 2 * style.column if style.columns > 1 else 0.25
    figures = [
        rf"\begin{{figure*}}\centering\includegraphics{{{name}.pdf}}\caption{{{escape_latex(said)}}}\end{{figure*}}"
        for name, said in captions.items()
    ]
    head = [
        rf"\documentclass[{two}10pt]{{article}}\usepackage[T1]{{fontenc}}\usepackage[utf8]{{inputenc}}\usepackage{{times}}",
        rf"\usepackage[letterpaper,textwidth={style.page}in,columnsep={gap}in,textheight=9in]{{geometry}}",
        r"\usepackage{booktabs,longtable,array,textcomp,graphicx}\begin{document}",
        rf"\section*{{{len(captions)} figures and two tables at their printed size}}",
        f"Style {style.name}: a page of {style.page:g} inches. No figure is scaled, no table is resized.",
    ]
    return "\n".join([*head, r"\input{narrow.tex}", r"\input{wide.tex}", *figures, r"\end{document}", ""])


def sheets(folder: Path, style: str, out: Path) -> None:
    """Put every figure on a sheet of its own size, in one PDF."""
    run = replace(read_run(folder), style=style)
    with PdfPages(out / "paper.pdf") as pages:
        for figure in (figure for figure in all_figures() if (out / f"{figure.name}.pdf").is_file()):
            drawn = draw(figure, run)
            if drawn is not None:
                pages.savefig(drawn[0].figure)


if __name__ == "__main__":
    main()
