"""The papers that scores and docs cite by key, such as `Gavrikov2022DB`: the entries are in `references.toml`."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

__all__ = ["Paper", "all_papers", "bibtex", "cited_papers"]

_KEY = re.compile(r"\b[A-Z][A-Za-z]+(?:19|20)\d\d[A-Za-z]*\b")


@dataclass(frozen=True, slots=True)
class Paper:
    """One paper.

    Parameters
    ----------
    key
        Name and year, as scores and docs cite it.
    authors
        As BibTeX writes them: `Family, Given and Family, Given`.
    title, year
        Of the published version.
    journal, volume
        Of an article; empty and 0 for a paper of a conference.
    venue
        The conference; empty for an article.
    doi
        Empty where the publisher gives none.
    """

    key: str
    authors: str
    title: str
    year: int
    journal: str = ""
    venue: str = ""
    volume: int = 0
    doi: str = ""

    def __str__(self) -> str:
        """Give authors, title, place and year, as a list of references prints them."""
        names = [author.partition(",")[0] for author in self.authors.split(" and ")]
        listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} & {names[-1]}"
        place = f"{self.journal} {self.volume or ''}".strip() if self.journal else self.venue
        end = "" if self.title.endswith(("!", "?")) else "."
        return f"{listed}: {self.title}{end} {place}, {self.year}."

    def bibtex(self) -> str:
        """Give the paper as a BibTeX entry in UTF-8, as BibLaTeX and today's BibTeX read it."""
        fields = {
            "author": self.authors, "title": f"{{{self.title}}}", "booktitle": self.venue, "journal": self.journal,
            "volume": self.volume or "", "year": self.year, "doi": self.doi,
        }  # fmt: skip
        lines = [f"  {name:9} = {{{value}}}," for name, value in fields.items() if value]
        kind = "article" if self.journal else "inproceedings"
        return "\n".join([f"@{kind}{{{self.key},", *lines, "}"]).replace("&", r"\&")


@cache
def all_papers() -> dict[str, Paper]:
    """Every paper by its key, in alphabetical order."""
    entries = tomllib.loads(files("filterlens").joinpath("references.toml").read_text(encoding="utf-8"))
    return {key: Paper(key, **fields) for key, fields in sorted(entries.items())}


def cited_papers(*texts: str) -> list[Paper]:
    """Find the papers whose keys stand in texts, each once, in alphabetical order.

    Keys that filterlens has no entry for (a third party's lens cites its own) are left out.

    Parameters
    ----------
    texts
        Such as a score's `reference` and `claim`.
    """
    keys = {key for text in texts for key in _KEY.findall(text)}
    return [paper for key, paper in all_papers().items() if key in keys]


def bibtex(papers: Iterable[Paper]) -> str:
    """Write a `.bib` file's text: one entry a paper, an empty line between two."""
    return "\n\n".join(paper.bibtex() for paper in papers) + "\n"
