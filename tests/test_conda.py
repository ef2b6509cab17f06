"""conda/recipe.yaml says of versions and requirements what pyproject.toml says, and rattler-build builds it."""

from __future__ import annotations

import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
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


def stand_in_python(folder: Path) -> Path:
    """Lay out a conda package `python` that is this Python: a virtual environment which sees what is installed here."""
    base = Path(sys._base_executable)  # type: ignore[attr-defined]
    (folder / "bin").mkdir(parents=True)
    for name in ("python", "python3", f"python3.{sys.version_info.minor}"):
        (folder / "bin" / name).symlink_to(base)
    (folder / "pyvenv.cfg").write_text(f"home = {base.parent}\n")
    site = folder / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    site.mkdir(parents=True)
    (site / "installed.pth").write_text("\n".join(one for one in sys.path if Path(one).name == "site-packages"))
    return folder


def stand_ins(folder: Path, channel: Path) -> None:
    """Put a package without content into a channel for every requirement, under the version that is installed here."""
    from rattler_build import assemble_package

    def package(name: str, found: str, files: Path) -> None:
        assemble_package(
            name=name,
            version=found,
            target_platform="noarch",
            build_string="0",
            output_dir=channel / "noarch",
            files_dir=files,
        )

    package("python", ".".join(map(str, sys.version_info[:3])), stand_in_python(folder / "python"))
    by_conda = {conda: pip for pip, conda in NAMES.items()}
    needed = [one for found in RECIPE["outputs"] for part in found["requirements"].values() for one in part]
    for name in {one.split()[0] for one in needed} - {"python", "filterlens"}:
        files = folder / name
        (files / "share").mkdir(parents=True)
        (files / "share" / name).touch()
        package(name, version(by_conda.get(name, name)), files)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_rattler_build_builds_both_packages_and_runs_their_tests(tmp_path: Path) -> None:
    """Without conda-forge: requirements are stand-ins, and the libraries those of this environment."""
    rattler_build = pytest.importorskip("rattler_build")
    channel = tmp_path / "channel"
    stand_ins(tmp_path / "stand-ins", channel)
    logs = []
    for rendered in rattler_build.Stage0Recipe.from_file(ROOT / "conda" / "recipe.yaml").render():
        config = rattler_build.ToolConfiguration(test_strategy="native")
        logs.append("\n".join(rendered.run_build(config, channel, [channel.as_uri()]).log))
    assert all("all tests passed!" in log for log in logs)
    assert f"filterlens {filterlens.__version__}" in logs[0].splitlines()
    assert "[2/2] vgg_maxpool-pgd-s0: filters ok" in logs[1]
    built = {one.name.rsplit("-", 2)[0] for one in (channel / "noarch").glob("filterlens*.conda")}
    assert built == {"filterlens", "filterlens-audit"}
