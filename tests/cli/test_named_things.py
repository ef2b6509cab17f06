"""What users are told exists: options, catalogs, models and paths in messages, help and docs."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from filterlens.catalogs import catalog_names, load_catalog
from filterlens.cli.app import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [*(ROOT / "docs").rglob("*.md"), *(ROOT / "catalogs").rglob("*.md")]
    + [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
)
OPTION = re.compile(r"(?<![\w/-])--[a-z][a-z0-9-]*")
MODEL = re.compile(rf"(?<![\w/.-])({'|'.join(catalog_names())})/([\w.-]+)(?![\w/])")
FILE = re.compile(r"(?<![\w/.-])filterlens/[\w./-]*\w")

RUN = re.compile(r"filterlens (import filterdb|export filterdb|study \w+|[a-z]+)\b([^`|#;]*)")
CATALOG = re.compile(
    r"""(?:filterlens catalogs(?: lock\b)?+|--leaderboard|\s-l|load_catalog\("|audit\(")"""
    r"""\s*(?<![a-z])([a-z][\w-]+)(?=[\s"`]|$)"""
)

#: options of other programs, which lines of ours name
OTHERS = {
    *("--backend-store-uri", "--logdir"),  # mlflow ui, tensorboard
    *("--nodes", "--ntasks", "--ntasks-per-node", "--cpus-per-task", "--gpus-per-task", "--exclude"),  # Slurm
    *("--head", "--port", "--block", "--address"),  # ray start
    *("--build-arg", "--rm", "--gpus", "--shm-size", "--user"),  # Docker
    *("--ways", "--kinds", "--sample", "--table", "--length", "--chains"),  # make hostile, make interruptions
    *("--install-completion", "--show-completion"),  # Typer
    *("--torch-backend", "--no-deps", "--recipe"),  # uv, pip, rattler-build
    *("--chromium", "--axe", "--runs"),  # tools/screenshots.py
    "--split",  # of a data set's authors
    "--largest-share",  # of the lens that docs/add-a-lens.md makes
}


def commands() -> Iterator[tuple[str, typer.core.TyperCommand]]:
    """Every command with its words."""
    waiting: list[tuple[str, Any]] = list(typer.main.get_group(app).commands.items())
    while waiting:
        name, command = waiting.pop()
        if hasattr(command, "commands"):
            waiting += [(f"{name} {sub}", child) for sub, child in command.commands.items()]
        else:
            yield name, command


def options() -> set[str]:
    return {"--help", "--version"} | {
        name for _, command in commands() for p in command.params for name in [*p.opts, *p.secondary_opts]
    }


def texts_of(path: Path) -> list[str]:
    """Every string of a module, docstrings too; neighbouring strings are one, `…` stands for a value."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            found.append("".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
    return found


def lines() -> Iterator[tuple[str, str]]:
    """Every line of the docs and of the package's messages and docstrings, with where it stands."""
    for page in PAGES:
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
            yield f"{page.relative_to(ROOT)}:{number}", line
    for path in sorted((ROOT / "filterlens").rglob("*.py")):
        for text in texts_of(path):
            for line in text.splitlines():
                yield str(path.relative_to(ROOT)), line


def test_every_option_that_is_named_exists_on_some_command() -> None:
    known = options() | OTHERS
    assert not {(where, name) for where, line in lines() for name in OPTION.findall(line) if name not in known}


def test_every_option_of_a_command_that_is_shown_is_one_of_its_own() -> None:
    own = {
        name: {"--help"} | {option for p in command.params for option in [*p.opts, *p.secondary_opts]}
        for name, command in commands()
    }
    shown = [(where, *found) for where, line in lines() for found in RUN.findall(line)]
    assert len([words for _, name, words in shown if name in own and OPTION.search(words)]) > 30
    assert not {
        (where, name, option)
        for where, name, words in shown
        if name in own
        for option in OPTION.findall(words)
        if option not in own[name] | OTHERS
    }


def test_every_model_of_a_shipped_catalog_that_is_named_exists() -> None:
    known = {name: {entry.model_id for entry in load_catalog(name)} for name in catalog_names()}
    wrong = {
        (where, f"{catalog}/{model}")
        for where, line in lines()
        for catalog, model in MODEL.findall(line)
        if model not in known[catalog] and not _is_file(catalog, model) and not line.lstrip().startswith("reports/")
    }
    assert not wrong


def _is_file(catalog: str, name: str) -> bool:
    """Whether it is a file of the zoo's folder, or of a run's."""
    return (ROOT / "catalogs" / catalog / name).exists() or Path(name).suffix in {".csv", ".html", ".toml", ".parquet"}


def test_every_catalog_that_a_command_names_exists() -> None:
    named = {(where, name) for where, line in lines() if "filterlens" in line for name in CATALOG.findall(line)}
    assert len(named) > 15
    assert not {(where, name) for where, name in named if name not in catalog_names()}


def test_every_path_of_the_package_that_is_named_exists() -> None:
    wrong = {
        (where, path)
        for where, line in lines()
        for path in FILE.findall(line)
        if not (ROOT / path).exists() and "://" not in line
    }
    assert not wrong


@pytest.mark.parametrize("word", ["--no-such-option", "fonts-linf/preact-0-pgd", "filterlens/scores/descriptor.py"])
def test_what_does_not_exist_would_be_found(word: str) -> None:
    if OPTION.fullmatch(word):
        assert word not in options()
    elif found := MODEL.fullmatch(word):
        assert found[2] not in {entry.model_id for entry in load_catalog(found[1])}
    else:
        assert FILE.fullmatch(word)
        assert not (ROOT / word).exists()
