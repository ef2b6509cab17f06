"""conda/recipe.yaml says of versions and requirements what pyproject.toml says."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import yaml

import filterlens

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
RECIPE: Any = yaml.safe_load((ROOT / "conda" / "recipe.yaml").read_text(encoding="utf-8"))
NAMES = {"matplotlib": "matplotlib-base", "torch": "pytorch"}
BY_PIP = {"robustbench", "pyautoattack"}  # docs/install.md says so


def output(name: str) -> Any:
    (found,) = [one for one in RECIPE["outputs"] if one["package"]["name"] == name]
    return found


def as_conda(requirements: list[str]) -> set[str]:
    """Requirements as conda writes them."""
    pairs = (one.split(">=") for one in requirements)
    return {f"{NAMES.get(name, name)} >={version}" for name, version in pairs if name not in BY_PIP}


def test_version_and_requirements_are_those_of_the_project() -> None:
    assert RECIPE["context"]["version"] == filterlens.__version__
    run = set(output("filterlens")["requirements"]["run"])
    assert run == {f"python {PROJECT['requires-python']}", *as_conda(PROJECT["dependencies"])}
    run = set(output("filterlens-audit")["requirements"]["run"])
    assert run == {"filterlens ==${{ version }}", *as_conda(PROJECT["optional-dependencies"]["audit"])}


def test_it_is_built_and_started_as_the_wheel_is() -> None:
    found = output("filterlens")
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]
    assert as_conda(build["requires"]) <= set(found["requirements"]["host"])
    scripts = [f"{name} = {target}" for name, target in PROJECT["scripts"].items()]
    assert found["build"]["python"]["entry_points"] == scripts
    assert (ROOT / "conda" / RECIPE["source"]["path"]).resolve() == ROOT
    assert (ROOT / RECIPE["about"]["license_file"]).is_file()
    assert RECIPE["about"]["license"] == PROJECT["license"]
