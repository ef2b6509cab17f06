"""`check` is a gate: what is dead, broken, worse than a baseline or unreadable does not pass, and is told apart."""

from __future__ import annotations

import json
import math
from pathlib import Path
from xml.etree import ElementTree as ET

import pandas as pd
import pytest
import torch
from small_zoo import make_zoo, weights
from typer.testing import CliRunner

import filterlens
from filterlens.cli.app import app
from filterlens.commands.bounds import BoundCheck, baseline_checks, bound_names, check_bound, parse_bound
from filterlens.commands.check import CheckError, as_junit
from filterlens.errors import InputError
from filterlens.lens import all_scores
from filterlens.score import as_table

PGD = "fonts-linf/preact_resnet-pgd-s0"


def run(*words: str | Path, code: int) -> str:
    """Run the command in this process; return what it wrote to standard output."""
    done = CliRunner().invoke(app, ["check", *map(str, words)])
    assert done.exit_code == code, done.output
    return done.stdout


def write(path: Path, state: dict[str, torch.Tensor]) -> Path:
    torch.save({"state_dict": state}, path)
    return path


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("good") / "good.pt", weights(0))


def test_a_network_whose_last_convolution_is_all_zero_does_not_pass(good: Path, tmp_path: Path) -> None:
    state = weights(0)
    state["block.conv.weight"].zero_()
    dead = write(tmp_path / "dead.pt", state)
    run(good, "--max-sparsity", "0.9", code=0)
    printed = run(dead, "--max-sparsity", "0.9", "--junit", tmp_path / "j.xml", code=1)
    assert "PASS sparsity" in printed
    assert "FAIL block.conv.weight is all zero" in printed
    suite = ET.parse(tmp_path / "j.xml").getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("2", "1", "0")
    assert "PASS block.conv.weight is all zero (allowed)" in run(
        dead, "--max-sparsity", "0.9", "--allow-dead-layers", code=0
    )


@pytest.mark.parametrize(
    ("layer", "value", "said"),
    [("head.weight", 0.0, "is all zero"), ("head.weight", 0.25, "is constant (0.25)"),
     ("head.weight", math.nan, "holds NaN or Inf"), ("block.norm.weight", math.inf, "holds NaN or Inf"),
     ("stem.weight", 1e-42, "is all zero")],
)  # fmt: skip
def test_every_layer_is_looked_at_not_only_what_a_lens_sees(
    tmp_path: Path, layer: str, value: float, said: str
) -> None:
    state = weights(0)
    state[layer].fill_(value)
    results = filterlens.check(write(tmp_path / "m.pt", state), ["max-sparsity=1"])
    assert [r.text for r in results if r.name == "weights"] == [f"{layer} {said}"]
    assert not results[-1].passed


def test_a_normalisation_that_scales_by_zero_is_no_dead_layer(tmp_path: Path) -> None:
    state = weights(0)
    state["block.norm.weight"].zero_()
    state["head.bias"] = torch.zeros(10)
    assert all(r.passed for r in filterlens.check(write(tmp_path / "m.pt", state), ["max-sparsity=1"]))


def test_a_bound_on_layers_is_broken_by_the_worst_of_them(good: Path) -> None:
    mean, layers = filterlens.check(good, ["max-sparsity=0.1", "max-layer-sparsity=0.1"])[:2]
    assert mean.passed
    assert isinstance(layers, BoundCheck)
    assert not layers.passed
    assert (layers.layer, layers.value) == ("block.conv", 0.125)
    lowest = filterlens.check(good, ["min-layer-orthogonality=0.1"])[0]
    assert isinstance(lowest, BoundCheck)
    found = filterlens.inspect(good).layers
    assert lowest.value == found.loc[found["metric"] == "orthogonality", "value"].min()


def test_a_layer_without_a_score_takes_no_part_in_a_bound_on_layers() -> None:
    rows = [{"model_id": "m", "lens": "filters", "metric": "orthogonality", "layer": n, "value": v}
            for n, v in (("one channel", math.nan), ("other", 0.6))]  # fmt: skip
    bound = parse_bound("min-layer-orthogonality=0.5")
    assert check_bound(bound, as_table(rows)).passed
    assert not check_bound(bound, as_table(rows[:1])).passed, "no layer at all has a value"


def test_every_score_has_four_bounds_and_each_is_an_option() -> None:
    names = list(bound_names())
    assert len(set(names)) == len(names) == 4 * (len(all_scores()) + 1)
    for name in names:
        assert parse_bound(f"{name}=1").metric in all_scores()
    for name in ("max-layer-variance-entropy-raw", "min-entropy", "max-layer-aliasing-relative"):
        assert "no such option" not in CliRunner().invoke(app, ["check", "nothing.pt", f"--{name}", "1"]).output.lower()
    done = CliRunner().invoke(app, ["check", "nothing.pt", "--max-layer-sparsty", "1"])
    assert done.exit_code == 2
    assert "--max-layer-sparsity" in done.output


@pytest.mark.parametrize(
    ("bounds", "said"),
    [(["max-layer-robust-accuracy=1"], "robust_accuracy was not measured: add its lens"),
     (["max-layer=1"], "no score is called 'layer'"),
     (["maxi=1"], "is no bound"), (["max-sparsity=nan"], "is not a number"), (["max-sparsity="], "not a number")],
)  # fmt: skip
def test_what_is_no_bound_is_said(good: Path, bounds: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        filterlens.check(good, bounds)


def test_a_score_of_the_whole_model_has_no_layers() -> None:
    table = as_table([{"model_id": "m", "lens": "robustness", "metric": "robust_accuracy", "layer": "", "value": 0.5}])
    assert check_bound(parse_bound("min-robust-accuracy=0.4"), table).passed
    with pytest.raises(InputError, match=r"is of the whole model: write min-robust_accuracy=0\.4"):
        check_bound(parse_bound("min-layer-robust-accuracy=0.4"), table)


def test_a_checkpoint_is_held_to_another_layer_by_layer(good: Path, tmp_path: Path) -> None:
    same = filterlens.check(good, against=good, tolerance=0)
    assert all(r.passed for r in same)
    assert {r.layer for r in same if isinstance(r, BoundCheck)} == {"", "stem", "block.conv"}
    state = weights(0)
    state["block.conv.weight"][:4] *= 1e-6
    worse = write(tmp_path / "worse.pt", state)
    broken = [r for r in filterlens.check(worse, against=good) if not r.passed]
    assert ("sparsity", "block.conv") in {(r.metric, r.layer) for r in broken if isinstance(r, BoundCheck)}
    assert all(r.passed for r in filterlens.check(worse, against=good, tolerance=1))
    assert "FAIL sparsity of layer block.conv" in run(worse, "--against", good, "--tolerance", "0.1", code=1)


def test_a_layer_that_the_checkpoint_lacks_fails(good: Path, tmp_path: Path) -> None:
    state = {name: tensor for name, tensor in weights(0).items() if name != "stem.weight"}
    other = write(tmp_path / "other.pt", state)
    broken = [r for r in filterlens.check(other, against=good, tolerance=10) if not r.passed]
    assert {getattr(r, "layer", None) for r in broken} == {"stem"}
    assert any(r.text.startswith("sparsity of layer stem none, wanted <= ") for r in broken)


def test_a_baseline_whose_layers_all_have_other_names_is_no_baseline(good: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other.pt", {f"net.{name}": tensor for name, tensor in weights(0).items()})
    with pytest.raises(InputError, match=r"\(net\.block\.conv … and block\.conv …\): .* --arch gives them its names"):
        filterlens.check(other, against=good)


def test_a_run_as_baseline_is_the_range_of_its_models(tmp_path: Path) -> None:
    zoo = make_zoo(tmp_path / "zoo")
    folder = tmp_path / "run"
    filterlens.extract(zoo, folder)
    filterlens.analyze(folder)
    inside = filterlens.check(zoo.parent / "net0-normal.pt", against=folder, tolerance=0)
    assert all(r.passed for r in inside)
    assert {getattr(r, "layer", "") for r in inside} == {""}
    state = weights(0)
    state["block.conv.weight"][:6] *= 1e-6
    assert not all(r.passed for r in filterlens.check(write(tmp_path / "m.pt", state), against=folder, tolerance=0.1))


def test_only_worse_is_worse_where_the_better_side_is_known() -> None:
    better = {score.name: score.higher_is_better for score in all_scores().values()}
    name = next(name for name, known in better.items() if known)
    table = as_table([{"model_id": "m", "lens": "x", "metric": name, "layer": "", "value": 0.9}])
    for value, passed in ((0.1, True), (0.95, False)):
        checks = baseline_checks(table, pd.DataFrame({name: [value]}), table.head(0), 0.0)
        assert [check.passed for check in checks] == [passed]


def test_the_bundled_reference_is_for_networks_of_its_kind(good: Path) -> None:
    assert all(r.passed for r in filterlens.check(PGD, against="bundled"))
    with pytest.raises(InputError, match="nobody says on what data this network was trained"):
        filterlens.check(good, against="bundled")


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--max-sparsity", "0.9"], "there is no file"), ([], "give at least one bound"),
     (["--max-sparsity", "a lot"], "is not a number"), (["--max-sparsity", "1", "--tolerance", "-1"], "0 or more")],
)  # fmt: skip
def test_what_cannot_be_checked_is_an_error_in_every_output(tmp_path: Path, words: list[str], said: str) -> None:
    junit = tmp_path / "check.xml"
    junit.write_text("<testsuite>of an earlier check that passed</testsuite>")
    (row,) = json.loads(run(tmp_path / "missing.pt", *words, "--json", "--junit", junit, code=2))
    assert (row["name"], row["passed"]) == ("error", False)
    assert said in row["text"]
    suite = ET.parse(junit).getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("1", "0", "1")
    assert said in str(suite[0][0].get("message"))
    assert suite[0][0].tag == "error"


def test_a_damaged_checkpoint_is_unreadable_not_broken(tmp_path: Path) -> None:
    (tmp_path / "m.pt").write_bytes(b"no checkpoint")
    run(tmp_path / "m.pt", "--max-sparsity", "0.9", code=2)


def test_a_check_that_is_killed_leaves_no_older_verdict(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    junit = tmp_path / "check.xml"
    run(good, "--max-sparsity", "0.9", "--junit", junit, code=0)
    assert 'errors="0"' in junit.read_text()

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("filterlens.commands.check.check", killed)
    CliRunner().invoke(app, ["check", str(good), "--max-sparsity", "0.9", "--junit", str(junit)])
    assert "the check did not end" in junit.read_text()


def test_a_run_whose_weights_nobody_examined_is_no_proof(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    filterlens.extract(make_zoo(tmp_path / "zoo", pairs=1), folder, models=["net0-normal"])
    filterlens.analyze(folder)
    assert all(r.passed for r in filterlens.check(folder, ["max-sparsity=1"]))
    rows = [json.loads(line) | {"weights_sha256": ""} for line in (folder / "ledger.jsonl").read_text().splitlines()]
    (folder / "ledger.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError, match="weights were not examined: extract it again"):
        filterlens.check(folder, ["max-sparsity=1"])


def test_names_of_others_cannot_forge_a_junit_file() -> None:
    text = as_junit('m" x="1', [CheckError("<failure/>\x1b[2J")])
    suite = ET.fromstring(text)
    assert [case.tag for case in suite.iter()] == ["testsuite", "testcase", "error"]
    assert "\x1b" not in text
