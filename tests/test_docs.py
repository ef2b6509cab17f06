"""Nothing that a user meets is undocumented, and generated pages are up to date."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path

import pytest
import typer

from filterlens import errors
from filterlens.catalogs import catalog_names
from filterlens.cli.app import app
from filterlens.commands.audit import all_figures
from filterlens.lens import all_lenses, all_scores
from filterlens.loaders import schemes

DOCS = Path(__file__).resolve().parents[1] / "docs"


def _reference():
    spec = importlib.util.spec_from_file_location("make_reference", DOCS / "make_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("page", "make"), [("cli.md", "cli_reference"), ("scores.md", "score_reference")])
def test_the_generated_pages_are_up_to_date(page: str, make: str) -> None:
    written = (DOCS / page).read_text(encoding="utf-8")
    assert written == getattr(_reference(), make)(), "run `python docs/make_reference.py`"


def test_every_command_has_help_with_an_example_and_every_option_says_what_it_does() -> None:
    commands = list(typer.main.get_command(app).commands.items())
    while commands:
        name, command = commands.pop()
        if hasattr(command, "commands"):
            commands += [(f"{name} {sub}", child) for sub, child in command.commands.items()]
            continue
        assert f"filterlens {name}" in command.help, name
        assert not [p.name for p in command.params if not p.help and p.name != "help"], name


def test_every_score_is_described() -> None:
    for score in all_scores().values():
        assert score.summary, score.name
        assert score.auxiliary or (score.formula and score.title), score.name


def test_every_lens_has_a_page_that_is_in_the_navigation() -> None:
    navigation = (DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8")
    for name in all_lenses():
        assert (DOCS / "lenses" / f"{name}.md").is_file(), name
        assert f"lenses/{name}.md" in navigation, name


def test_every_source_is_documented() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in DOCS.glob("*.md"))
    for scheme in schemes():
        assert scheme == "file" or f"`{scheme}:" in text, scheme


def test_every_catalog_is_documented() -> None:
    text = (DOCS / "catalogs.md").read_text(encoding="utf-8")
    assert not [name for name in catalog_names() if name not in text]


def test_links_between_pages_lead_somewhere() -> None:
    for page in [*DOCS.rglob("*.md"), DOCS.parent / "README.md", DOCS.parent / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), (page.name, target)


def _messages() -> str:
    """Every string of the package; `…` stands where a message has a value, neighbouring strings are one."""
    found = []
    for path in (DOCS.parent / "filterlens").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return re.sub(r"…[`']?", "…", "\n".join(found).replace("`", ""))


def test_every_message_of_the_errors_page_is_one_of_the_codes() -> None:
    page = (DOCS / "errors.md").read_text(encoding="utf-8")
    shown = [row.split("` |")[0] for row in page.split("\n| `")[1:]]
    assert len(shown) > 40
    code = _messages()
    for message in shown:
        parts = [part.strip(" `(") for part in message.split("…")]
        missing = [part for part in parts if part.strip(" ,:;)") and part not in code]
        assert not missing, f"no message says {missing} any more: {message}"


def test_every_error_has_its_place_on_the_errors_page() -> None:
    headings = re.findall(r"^## .*`(\w+)`$", (DOCS / "errors.md").read_text(encoding="utf-8"), re.MULTILINE)
    children = {name for name in errors.__all__ if name != "FilterlensError"}
    assert all(issubclass(getattr(errors, name), errors.FilterlensError) for name in children)
    assert sorted(headings) == sorted(children)


@pytest.mark.parametrize("name", all_lenses())
def test_every_lens_page_says_the_same_six_things(name: str) -> None:
    page = (DOCS / "lenses" / f"{name}.md").read_text(encoding="utf-8")
    intro, *sections = re.split(r"^## ", page, flags=re.MULTILINE)
    assert len(intro.split()) > 30, "what the lens says comes first"
    long = {section.partition("\n")[0] for section in sections if len(section.split()) > 25}
    asked = {
        "The scores",
        "What it costs",
        "How to read the figures",
        "Pitfalls",
        "Relation to the paper and its peers",
    }
    assert asked <= long, asked - long


def test_the_gallery_has_every_figure() -> None:
    gallery = (DOCS / "gallery.md").read_text(encoding="utf-8")
    for figure in all_figures():
        assert f"images/gallery/{figure.name}.png)" in gallery or f"(`{figure.name}`)" in gallery, figure.name
