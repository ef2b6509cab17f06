"""The Dockerfile was written without a Docker at hand: what can be checked without one is checked here."""

from __future__ import annotations

import ast
import os
import re
import shutil
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


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_steps_of_the_build_run_one_by_one(tmp_path: Path) -> None:
    """In folders instead of layers: torch and the rest are those installed here, the wheel is built anew."""
    place, source, work = tmp_path / "opt", tmp_path / "src", tmp_path / "work"
    for folder in (source, work):
        folder.mkdir()
    site = subprocess.run(
        [sys.executable, "-c", "import sys; print(*(p for p in sys.path if p.endswith('site-packages')), sep='\\n')"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    environment |= {"PATH": f"{place / 'bin'}{os.pathsep}{environment['PATH']}", "TORCH_INDEX": ""}
    # nothing is fetched: what a step asks for and is not here makes it fail
    environment |= {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "0",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }

    def run(step: str) -> str:
        step = step.replace("/opt/filterlens", str(place))
        done = subprocess.run(
            ["sh", "-ec", step], cwd=source, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{step}\n{done.stdout}{done.stderr}"
        return done.stdout

    for line in (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
        instruction, _, rest = line.partition(" ")
        if instruction == "COPY" and not rest.startswith("--from"):
            *names, target = rest.split()
            for name in names:
                there = source / target
                copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
                copy(ROOT / name, there)
        elif instruction == "RUN" and "venv" in rest:
            make, _, install = rest.partition(" && ")
            run(f"{make} && pip uninstall --quiet --yes setuptools")  # an old one, which an index would replace
            (found,) = place.glob("lib/python*/site-packages")
            (found / "installed.pth").write_text(site, encoding="utf-8")
            run(install)
        elif instruction == "RUN" and "pip install" in rest:
            assert "OFF" not in run(rest)
    (script,) = arguments("ENTRYPOINT")[0]
    command = str(place / "bin" / ast.literal_eval(script)[0])
    shown = subprocess.run(
        [command, "catalogs", "fonts-linf"], cwd=work, env=environment, capture_output=True, text=True, check=False
    )
    assert shown.returncode == 0, shown.stderr
    assert "vgg_maxpool-pgd-s0" in shown.stdout
    where = [str(place / "bin" / "python"), "-c", "import filterlens; print(filterlens.__file__)"]
    done = subprocess.run(where, cwd=work, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(str(place))
