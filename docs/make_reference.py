"""Write docs/{cli,scores,references}.md, docs/schemas/ and CITATION.cff from the code; a test holds them up to date.

Run: `python docs/make_reference.py`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from filterlens.cli.app import app
from filterlens.commands.schemas import SCHEMAS, schema
from filterlens.lens import all_scores
from filterlens.references import Paper, all_papers, bibtex
from filterlens.score import Score

DOCS = Path(__file__).parent


def cli_reference() -> str:
    """Every command with its options, as Markdown."""
    root = typer.main.get_group(app)
    parts = ["# Command line\n", "Generated from `filterlens COMMAND --help`.\n"]
    for name, command in root.commands.items():
        parts += _command(name, command)
    return "\n".join(parts)


def _command(name: str, command: Any) -> list[str]:
    subcommands = getattr(command, "commands", None)
    if subcommands:
        nested = [line for sub, child in subcommands.items() for line in _command(f"{name} {sub}", child)]
        return [f"## filterlens {name}\n", (command.help or "").strip() + "\n", *nested]
    lines = [f"## filterlens {name}\n", (command.help or "").strip() + "\n"]
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and "--help" not in p.opts and not p.hidden]
    panels: dict[str, list[str]] = {
        "": [f"| `{p.name.upper()}` | {_cell(p.help)} | {_default(p)} |" for p in arguments]
    }
    for p in options:
        row = f"| {_names(p)} | {_cell(p.help)} | {_default(p)} |"
        panels.setdefault(getattr(p, "rich_help_panel", None) or "", []).append(row)
    for panel, rows in panels.items():
        if rows:
            title = [f"**{panel}**\n"] if panel else []
            lines += [*title, "| option | what it does | default |", "|---|---|---|", *rows, ""]
    return lines


def _names(parameter: Any) -> str:
    names = [*parameter.opts, *parameter.secondary_opts]
    return ", ".join(f"`{name}`" for name in names)


def _cell(text: str | None) -> str:
    return (text or "").replace("|", "\\|").replace("\n", " ")


def _default(parameter: Any) -> str:
    shown = getattr(parameter, "show_default", "")
    value = shown if isinstance(shown, str) and shown else parameter.default
    empty = value is None or value is False or value in ("", [], ())
    return "" if empty or callable(value) or "UNSET" in repr(value).upper() else f"`{getattr(value, 'value', value)}`"


def score_reference() -> str:
    """Every score with its formula, as Markdown."""
    parts = [
        "# Scores\n",
        "Every score that the tables and figures show, as `filterlens explain SCORE` says it. Exact definitions of "
        "symbols are on the lens's page.\n",
    ]
    lens = ""
    for score in all_scores().values():
        if score.lens != lens:
            lens = score.lens
            parts.append(f"## {lens.capitalize()} lens\n")
        if not score.auxiliary:
            parts += _score(score)
    companions = [f"| `{s.name}` | {s.lens} | {_cell(s.summary)} |" for s in all_scores().values() if s.auxiliary]
    parts += ["## Companions\n", "Interval ends, counts and z-scores, in `scores.parquet` beside the scores.\n"]
    return "\n".join([*parts, "| name | lens | what it is |", "|---|---|---|", *companions, ""])


def references() -> str:
    """Every paper that scores and docs cite, as a list and as BibTeX."""
    papers = all_papers().values()
    return "\n".join(
        [
            "# References\n",
            "The papers by the keys that scores and docs cite. `filterlens explain SCORE` prints those of a score, "
            "`filterlens explain --bibtex > papers.bib` writes them all for LaTeX.\n",
            *[
                f"- **{paper.key}** {paper}{f' [doi:{paper.doi}](https://doi.org/{paper.doi})' if paper.doi else ''}"
                for paper in papers
            ],
            "\n```bibtex",
            bibtex(papers).rstrip(),
            "```\n",
        ]
    )


def citation() -> str:
    """CITATION.cff with the papers as its references."""
    head, _, _ = (DOCS.parent / "CITATION.cff").read_text(encoding="utf-8").partition("references:\n")
    return head + "references:\n" + "".join(f"  - {_cff(paper)}\n" for paper in all_papers().values())


def _cff(paper: Paper) -> str:
    authors = [author.split(", ") for author in paper.authors.split(" and ")]
    entry: dict[str, Any] = {
        "type": "article" if paper.journal else "conference-paper",
        "title": paper.title,
        "authors": [{"family-names": family, "given-names": given} for family, given in authors],
        "year": paper.year,
    }
    more = {"journal": paper.journal, "volume": paper.volume, "collection-title": paper.venue, "doi": paper.doi}
    return json.dumps(entry | {name: value for name, value in more.items() if value}, ensure_ascii=False)


def _score(score: Score) -> list[str]:
    low, high = ("" if bound is None else f"{bound:g}" for bound in score.bounds)
    rows = {
        "formula": f"`{score.formula}`" if score.formula else "",
        "range": f"{low or '−∞'} to {high or '∞'} {score.unit}".strip(),
        "robust models": f"{score.robust_is} ({score.claim})" if score.robust_is else "",
        "chance": score.chance,
        "pitfalls": score.pitfalls,
        "reference": score.reference,
    }
    lines = [f"### {score.name}\n", f"{score.title}. {score.summary}\n"]
    return [*lines, *[f"- **{name}**: {text}" for name, text in rows.items() if text], ""]


def schemas() -> dict[str, str]:
    """Every JSON Schema by its file's name, which holds its version."""
    made = {f"{name}-{version}.json": schema(name) for name, version in SCHEMAS.items()}
    return {file: json.dumps(found, indent=2, ensure_ascii=False) + "\n" for file, found in made.items()}


if __name__ == "__main__":
    for file, text in schemas().items():
        (DOCS / "schemas" / file).write_text(text, encoding="utf-8")
    (DOCS / "cli.md").write_text(cli_reference(), encoding="utf-8")
    (DOCS / "scores.md").write_text(score_reference(), encoding="utf-8")
    (DOCS / "references.md").write_text(references(), encoding="utf-8")
    (DOCS.parent / "CITATION.cff").write_text(citation(), encoding="utf-8")
