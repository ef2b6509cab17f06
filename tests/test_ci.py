"""What a build server gets: SARIF, a summary, and the steps of action.yml run as a runner runs them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from html import unescape
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
import yaml
from small_zoo import weights
from typer.testing import CliRunner

from filterlens.cli.app import app
from filterlens.commands.bounds import BoundCheck
from filterlens.commands.check import CheckError, CheckResult, WeightCheck, as_junit
from filterlens.commands.check_outputs import as_sarif, as_summary
from filterlens.process.markup import markdown_code, markdown_text

ROOT = Path(__file__).parents[1]
# as OASIS publishes it
SCHEMA = json.loads((Path(__file__).parent / "commands" / "sarif-2.1.0.json").read_text(encoding="utf-8"))
EVIL = "a|b`c`<img src=x onerror=alert(1)>\n# head ![i](https://evil) @all $x$ www.evil \x1b[2J\u202e"


def sarif_of(text: str) -> Any:
    found = json.loads(text)
    jsonschema.Draft4Validator(SCHEMA, format_checker=jsonschema.Draft4Validator.FORMAT_CHECKER).validate(found)
    return found["runs"][0]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two checkpoints, one with a dead layer, and one file that is none."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").mkdir()
    torch.save(weights(0), tmp_path / "weights" / "good.pt")
    dead = weights(1)
    dead["block.conv.weight"].zero_()
    torch.save(dead, tmp_path / "weights" / "dead one.pt")
    return tmp_path


def check(*words: str, code: int) -> str:
    done = CliRunner().invoke(app, ["check", *words])
    assert done.exit_code == code, done.output if done.exception is None else done.exception
    return done.stdout


def test_several_checkpoints_are_held_to_the_same_bounds(folder: Path) -> None:
    words = [
        "weights/good.pt",
        "weights/dead one.pt",
        "--max-sparsity",
        "0.9",
        "--sarif",
        "c.sarif",
        "--junit",
        "c.xml",
    ]
    shown = check(*words, "--summary", "c.md", code=1)
    assert shown.startswith("weights/good.pt:\nPASS sparsity")
    assert "weights/dead one.pt:\nPASS sparsity" in shown
    run = sarif_of((folder / "c.sarif").read_text(encoding="utf-8"))
    (result,) = run["results"]
    assert result["ruleId"] == "weights" == run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"]
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "weights/dead%20one.pt"
    assert run["invocations"][0]["executionSuccessful"]
    summary = (folder / "c.md").read_text(encoding="utf-8")
    assert summary.startswith("## ❌ filterlens check: 1 of 4 checks failed\n")
    assert "### ✅ <code>weights/good.pt</code>" in summary
    assert "- block.conv.weight is all zero" in summary
    assert (folder / "c.xml").read_text(encoding="utf-8").count("dead one.pt: weights") == 1
    rows = json.loads(check(*words[:4], "--json", code=1))
    assert [row["model"] for row in rows] == ["weights/good.pt"] * 2 + ["weights/dead one.pt"] * 2


def test_one_that_cannot_be_read_hides_no_other(folder: Path) -> None:
    (folder / "none.pt").write_bytes(b"none")
    words = ["none.pt", "weights/good.pt", "--max-layer-sparsity", "0", "--sarif", "c.sarif", "--summary", "c.md"]
    shown = check(*words, code=2)
    assert "FAIL sparsity of layer block.conv" in shown
    run = sarif_of((folder / "c.sarif").read_text(encoding="utf-8"))
    assert [result["ruleId"] for result in run["results"]] == ["error", "sparsity"]
    assert not run["invocations"][0]["executionSuccessful"]
    assert "| ❌ | sparsity | <code>block.conv</code> |" in (folder / "c.md").read_text(encoding="utf-8")


def test_a_check_that_passes_has_no_alert_and_says_so(folder: Path) -> None:
    check("weights/good.pt", "--max-sparsity", "0.9", "--sarif", "c.sarif", "--summary", "c.md", code=0)
    assert sarif_of((folder / "c.sarif").read_text(encoding="utf-8"))["results"] == []
    assert "all 2 checks passed" in (folder / "c.md").read_text(encoding="utf-8")


def test_an_alert_keeps_its_fingerprint_while_the_value_changes() -> None:
    one, other, third = (
        sarif_of(as_sarif([BoundCheck("max-sparsity", "sparsity", "max", 0.3, value, model=model)]))["results"][0]
        for value, model in ((0.4, "a.pt"), (0.5, "a.pt"), (0.4, "b.pt"))
    )
    assert one["partialFingerprints"] == other["partialFingerprints"] != third["partialFingerprints"]


def hostile() -> list[CheckResult]:
    bound = BoundCheck("max-layer-sparsity", "sparsity", "max", 0.1, 0.5, layer=EVIL, model=EVIL, note=EVIL)
    return [bound, WeightCheck(f"{EVIL} is all zero", model=EVIL), CheckError(f"{EVIL}: none", model=EVIL)]


def test_names_of_others_are_text_in_every_output() -> None:
    summary = as_summary(hostile())
    assert not re.search(r"\n# head|<img|!\[|@all|\$x\$|www\.|https:|\x1b|\u202e", summary)
    assert {line.count("|") for line in summary.splitlines() if line.startswith("|")} == {6}
    assert "www.evil" in unescape(summary)
    run = sarif_of(as_sarif(hostile()))
    assert len(run["results"]) == 3
    assert "\x1b" not in json.dumps(run, ensure_ascii=False)
    assert "\\x1b[2J" in run["results"][0]["message"]["text"]
    assert "\x1b" not in as_junit(EVIL, hostile())
    assert markdown_code("a_b") == "<code>a&#95;b</code>"
    assert unescape(markdown_text("a*b_c[d](e)<f>&g;`h`")) == "a*b_c[d](e)<f>&g;`h`"


def test_no_value_is_no_number_that_json_lacks() -> None:
    lost = BoundCheck("max-sparsity", "sparsity", "max", 0.3, float("nan"), model="a.pt")
    assert "NaN" not in as_sarif([lost])
    assert "| none | ≤ 0.3 |" in as_summary([lost])


ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
CHECK = ACTION["runs"]["steps"][-1]


def test_no_script_of_the_action_holds_what_a_user_writes() -> None:
    for step in ACTION["runs"]["steps"]:
        assert "${{" not in step.get("run", ""), "it would be a part of the script"
    used = set(re.findall(r"inputs\.([\w-]+)", (ROOT / "action.yml").read_text(encoding="utf-8")))
    assert used == set(ACTION["inputs"])


def run_step(folder: Path, inputs: dict[str, str]) -> tuple[int, str, str]:
    """Run the action's last step as a runner does; return its exit code, the job's summary and the step's outputs."""
    values = {name: facts.get("default", "") for name, facts in ACTION["inputs"].items()} | inputs
    given = {
        name: re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda found: values[found[1]], text)
        for name, text in CHECK["env"].items()
    }
    (folder / "bin").mkdir(exist_ok=True)
    command = folder / "bin" / "filterlens"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "from filterlens.cli import main; main()" "$@"\n')
    command.chmod(0o755)
    for name in ("summary", "output"):
        (folder / name).write_text("")
    script = folder / "step.sh"
    script.write_text(CHECK["run"], encoding="utf-8")
    done = subprocess.run(
        [shutil.which("bash") or "bash", "--noprofile", "--norc", "-e", "-o", "pipefail", str(script)],
        cwd=folder, capture_output=True, text=True, check=False, timeout=120,
        env=os.environ | given | {
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1",
            "GITHUB_STEP_SUMMARY": str(folder / "summary"), "GITHUB_OUTPUT": str(folder / "output"),
        },
    )  # fmt: skip
    assert "command not found" not in done.stderr, done.stderr
    return done.returncode, (folder / "summary").read_text(encoding="utf-8"), (folder / "output").read_text()


def test_the_actions_step_passes_fails_and_says_why(folder: Path) -> None:
    code, summary, output = run_step(folder, {"models": "weights/*.pt\n", "bounds": "max-sparsity=0.9\n"})
    assert (code, output) == (1, "exit-code=1\n")
    assert "weights/good.pt" in summary
    assert "block.conv.weight is all zero" in summary
    assert len(sarif_of((folder / "filterlens.sarif").read_text(encoding="utf-8"))["results"]) == 1
    assert (folder / "filterlens-junit.xml").is_file()
    words = {"models": "weights/dead one.pt", "args": "--allow-dead-layers\n--format\njson"}
    code, summary, output = run_step(folder, words | {"bounds": "max-sparsity=0.9"})
    assert (code, output) == (0, "exit-code=0\n"), summary


def test_what_a_user_writes_is_no_script_and_no_option(folder: Path) -> None:
    models = "$(touch made)\n; touch made #\n`touch made`\n--out=made\n"
    code, summary, _ = run_step(folder, {"models": models, "bounds": "$(touch made)\n", "against": "$(touch made)"})
    assert code == 2
    assert not (folder / "made").exists()
    assert "❌" in summary


def test_the_hooks_are_commands_that_there_are() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    assert [hook["id"] for hook in hooks] == ["filterlens-check", "filterlens-check-installed"]
    for hook in hooks:
        assert hook["entry"] == "filterlens check"
        assert re.search(hook["files"], "a/b.safetensors")
        assert not re.search(hook["files"], "a/b.py")
        assert hook["require_serial"]
