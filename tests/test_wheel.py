"""Wheel and sdist hold everything that a user needs: catalogs, the zoo's weights, fonts, templates."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_wheel_audits_the_bundled_zoo_outside_the_checkout(tmp_path: Path) -> None:
    # without --wheel the wheel is built from the sdist, which shows that the sdist is whole
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (sdist,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "CITATION.cff", "CHANGELOG.md", "tests/test_wheel.py", "docs/index.md"} <= inside
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    environment = os.environ | {"PYTHONPATH": str(site)}

    def run(*arguments: str) -> str:
        code = "import filterlens; from filterlens.cli import main; print(filterlens.__file__); main()"
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert str(site) in done.stdout
        return done.stdout

    assert "OFF" not in run("selftest")
    run("audit", "--leaderboard", "fonts-linf", "--lens", "filters", "--out", "run")
    assert (tmp_path / "run" / "index.html").stat().st_size > 10_000
    assert "gavrikov2022" in run("catalogs")
