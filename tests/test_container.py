"""The Dockerfile was written without a Docker at hand: what can be checked without one is checked here."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LINES = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def arguments(instruction: str) -> list[list[str]]:
    """The words behind every such instruction."""
    return [line.split()[1:] for line in LINES if line.split()[:1] == [instruction]]


def copied() -> list[str]:
    """What is taken from the checkout."""
    return [source for words in arguments("COPY") if not words[0].startswith("--from") for source in words[:-1]]


def test_everything_copied_is_there_and_let_through() -> None:
    rules = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in rules
    for source in copied():
        assert (ROOT / source).exists(), source
        assert f"!{source}" in rules, source
    assert {rule[1:] for rule in rules if rule.startswith("!")} == set(copied())


def test_everything_that_the_wheel_is_built_of_is_copied() -> None:
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {
        "pyproject.toml", PROJECT["project"]["readme"], *PROJECT["project"]["license-files"], *wheel["packages"],
        *wheel["force-include"],
    }  # fmt: skip
    assert needed == set(copied())


def test_base_images_are_named_by_a_version() -> None:
    defaults = dict(words[0].split("=", 1) for words in arguments("ARG"))
    for words in arguments("FROM"):
        image = re.sub(r"\$\{(\w+)\}", lambda match: defaults[match[1]], words[0])
        assert re.search(r":\d+\.\d+\.\d+-", image), image
        assert "latest" not in image
        minor = re.search(r":(\d+\.\d+)\.", image)
        assert minor is not None
        assert f"Programming Language :: Python :: {minor[1]}" in PROJECT["project"]["classifiers"]


def test_the_image_starts_our_command_without_privileges() -> None:
    (entry,) = arguments("ENTRYPOINT")
    assert entry == ['["filterlens"]']
    assert "filterlens" in PROJECT["project"]["scripts"]
    assert arguments("USER")[-1] == ["1000"]


def test_the_pages_build_arguments_are_the_files() -> None:
    page = (ROOT / "docs" / "large-audits.md").read_text(encoding="utf-8")
    named = set(re.findall(r"--build-arg (\w+)=", page))
    assert named
    assert named <= {words[0].split("=")[0] for words in arguments("ARG")}


def test_the_linter_has_nothing_to_say() -> None:
    linter = Path(sys.executable).with_name("hadolint")
    if not linter.is_file():
        pytest.skip("hadolint is not installed beside this Python (the extra filterlens[dev] brings it on x86-64)")
    done = subprocess.run([linter, str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
