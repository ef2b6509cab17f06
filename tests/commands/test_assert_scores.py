"""`assert_scores` in tests of others: by pytest's plugin, and as a function."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch
from torch import nn

import filterlens
from filterlens.commands.bounds import Bound, BoundCheck, parse_bound
from filterlens.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = "filterlens.cli.pytest_plugin"
TESTS = """
import torch
from torch import nn

class Net(nn.Sequential): pass

def make():
    torch.manual_seed(0)
    net = Net(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3))
    with torch.no_grad():
        net[1].weight[:2] = 0
    return net

def test_good(assert_scores):
    assert_scores(make(), sparsity="<0.3", orthogonality=[">0.1", "<=1"])

def test_bad(assert_scores):
    assert_scores(make(), sparsity="<0.3", layer_sparsity="<0.2")
"""


def network() -> nn.Module:
    """Two layers, of the second of which a quarter of the filters is zero."""
    torch.manual_seed(0)
    made = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3))
    with torch.no_grad():
        made[1].weight[:2] = 0  # type: ignore[operator]
    return made


def test_the_plugin_fails_a_test_with_model_score_value_bound_and_layer(tmp_path: Path) -> None:
    (tmp_path / "test_theirs.py").write_text(TESTS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", PLUGIN, "-p", "no:cacheprovider", "test_theirs.py"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "1 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    assert "AssertionError: Net: 1 of 3 checks failed" in done.stdout
    assert "FAIL sparsity of layer 1 0.25, wanted < 0.2" in done.stdout
    assert ">       assert_scores(make()" in done.stdout, "the test's own line is shown"
    assert "assertion.py" not in done.stdout, "and none of ours"


def test_the_plugin_is_declared_and_loads_nothing_heavy() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["entry-points"]["pytest11"] == {"filterlens": PLUGIN}
    code = f"import pytest, sys; before = set(sys.modules); import {PLUGIN}; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "filterlens" in loaded
    assert not loaded & {"torch", "numpy", "pandas", "pydantic", "typer", "rich", "matplotlib"}
    assert len(done.stdout.split()) < 40


def test_the_function_says_all_checks() -> None:
    filterlens.assert_scores(network(), "max-layer-sparsity=0.25", sparsity=["<0.25", ">0"])
    with pytest.raises(AssertionError) as failed:
        filterlens.assert_scores(network(), "max-layer-sparsity=0.2", sparsity="<0.3")
    assert str(failed.value).splitlines() == [
        "Sequential: 1 of 3 checks failed",
        "  FAIL sparsity of layer 1 0.25, wanted <= 0.2",
        "  pass sparsity 0.181818, wanted < 0.3",
        "  pass every layer's weights are finite, and none all zero or all equal",
    ]


def test_a_dead_layer_fails_and_can_be_allowed() -> None:
    dead = network()
    with torch.no_grad():
        dead[1].weight[:] = 0  # type: ignore[index]
    with pytest.raises(AssertionError, match=r"FAIL 1\.weight is all zero"):
        filterlens.assert_scores(dead, sparsity="<=1")
    filterlens.assert_scores(dead, sparsity="<=1", allow_dead_layers=True)


def test_lenses_are_those_of_the_scores_and_options_go_to_them() -> None:
    filterlens.assert_scores(network(), spectral_centroid=">0", sparsity="<0.5", kernel="3x3")
    with pytest.raises(InputError, match="no score is called 'sparsety'; did you mean sparsity"):
        filterlens.assert_scores(network(), sparsety="<0.3")
    with pytest.raises(InputError, match="has an option 'sparsity'"):
        filterlens.assert_scores(network(), "max-sparsity=1", sparsity=0.3)
    with pytest.raises(InputError, match="give at least one bound"):
        filterlens.assert_scores(network())
    with pytest.raises(InputError, match="'much' is not a number"):
        filterlens.assert_scores(network(), sparsity="<much")


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("sparsity<=0.3", "max-sparsity=0.3"),
        (" sparsity >= 0.3 ", "min-sparsity=0.3"),
        ("layer-sparsity<=1e-3", "max-layer-sparsity=0.001"),
        ("layer_variance_entropy>=0", "min-layer-variance-entropy=0"),
        ("entropy<=2", "max-entropy=2"),
    ],
)
def test_both_spellings_are_one_bound(text: str, same: str) -> None:
    assert parse_bound(text) == parse_bound(same)


def test_a_strict_bound_is_broken_by_its_own_value() -> None:
    assert parse_bound("sparsity<0.3") == Bound("sparsity", "max", 0.3, strict=True)
    for side in ("max", "min"):
        strict = BoundCheck("", "sparsity", side, 0.3, 0.3, strict=True)
        assert not strict.passed
        assert BoundCheck("", "sparsity", side, 0.3, 0.3).passed
    assert BoundCheck("", "sparsity", "max", 0.3, math.nextafter(0.3, 0), strict=True).passed
    assert not BoundCheck("", "sparsity", "max", 0.3, math.nan, strict=True).passed
    assert strict.text == "sparsity 0.3, wanted > 0.3"


@pytest.mark.parametrize("text", ["sparsity==0.3", "sparsity<", "<0.3", "sparsity<<0.3", "sparsity<nan", "sparsity=<1"])
def test_what_is_no_bound_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"is no bound|is not a number"):
        parse_bound(text)
