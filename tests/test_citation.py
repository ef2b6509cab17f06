"""CITATION.cff is valid, and says what the package says of itself."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

import filterlens

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def citation() -> dict[str, Any]:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    found: dict[str, Any] = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    return found


def test_the_citation_has_what_the_format_requires(citation: dict[str, Any]) -> None:
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)
    for reference in citation["references"]:
        assert {"type", "title", "authors", "year"} <= set(reference), reference
        assert all({"family-names", "given-names"} <= set(author) for author in reference["authors"])


def test_version_date_and_licence_are_the_packages(citation: dict[str, Any]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert citation["version"] == filterlens.__version__
    assert citation["license"] == project["license"]
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{citation['version']}] - {citation['date-released']}" in changes


def test_every_lens_has_its_paper(citation: dict[str, Any]) -> None:
    cited = {author["family-names"] for reference in citation["references"] for author in reference["authors"]}
    pages = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "lenses").glob("*.md"))
    assert set(re.findall(r"Gavrikov|Grabinski|Stutz", pages)) <= cited
