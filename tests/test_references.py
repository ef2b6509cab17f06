"""Every paper that is cited by a key has an entry, and what a researcher puts into a paper is whole."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

import filterlens
from filterlens.cli.app import app
from filterlens.errors import InputError
from filterlens.lens import all_scores
from filterlens.references import Paper, all_papers, bibtex, cited_papers

ROOT = Path(__file__).resolve().parents[1]
CITED = re.compile(r"\b[A-Z][a-z]+(?:19|20)\d\d(?:DB|Lens|Conf)?\b")


def test_every_key_of_a_score_has_an_entry() -> None:
    for score in all_scores().values():
        for key in CITED.findall(f"{score.reference} {score.claim}"):
            assert key in all_papers(), f"{score.name} cites {key}"


def test_every_key_in_docstrings_and_pages_has_an_entry() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    cited = {
        key: path for path in pages for key in re.findall(r"\[([A-Z][a-z]+\d{4}[A-Za-z]*)\]", path.read_text("utf-8"))
    }
    modules = (ROOT / "filterlens").rglob("*.py")
    cited |= {key: path for path in modules for key in re.findall(r"\[(\w+)\]_", path.read_text("utf-8"))}
    assert len(cited) > 8
    assert {key: str(path) for key, path in cited.items() if key not in all_papers()} == {}


def test_no_entry_is_cited_nowhere() -> None:
    texts = " ".join(path.read_text("utf-8") for path in (ROOT / "filterlens").rglob("*.py"))
    assert [key for key in all_papers() if not re.search(rf"\b{key}\b", texts)] == []


@pytest.mark.parametrize("paper", all_papers().values(), ids=lambda paper: paper.key)
def test_an_entry_has_what_bibtex_asks_for(paper: Paper) -> None:
    entry = paper.bibtex()
    assert entry.count("{") == entry.count("}")
    assert bool(paper.journal) != bool(paper.venue)
    assert str(paper.year) in paper.key
    assert all(author.count(",") == 1 for author in paper.authors.split(" and "))
    assert paper.key.startswith(paper.authors.partition(",")[0].replace("č", "ch").replace("ą", "a"))


def test_texts_name_their_papers_once_and_strangers_not_at_all() -> None:
    found = cited_papers("Roy2007 §2", "after Roy2007; Nobody2024", "Clauset2009 §3")
    assert [paper.key for paper in found] == ["Clauset2009", "Roy2007"]
    assert (
        str(found[0]) == "Clauset, Shalizi & Newman: Power-Law Distributions in Empirical Data. SIAM Review 51, 2009."
    )


def test_ampersands_are_escaped() -> None:
    paper = Paper("A2020", "B, C", "D & E", 2020, venue="F")
    assert r"D \& E" in bibtex([paper])


def test_explain_prints_the_papers_and_writes_bibtex() -> None:
    shown = CliRunner().invoke(app, ["explain", "effective_rank"])
    assert "[Roy2007] Roy & Vetterli: The Effective Rank" in shown.output
    shown = CliRunner().invoke(app, ["explain", "effective_rank", "--bibtex"])
    assert shown.output == filterlens.bibtex("effective_rank")
    assert filterlens.bibtex().count("@") >= len(filterlens.bibtex("sparsity").split("@")) + 8
    with pytest.raises(InputError, match="effective_rank"):
        filterlens.bibtex("effective_rnk")
