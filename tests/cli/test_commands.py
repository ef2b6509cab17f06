"""The command line as a user runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree as ET

import pandas as pd
import pytest
from small_zoo import FIELDS, make_zoo, write_catalog

FILTERLENS = [sys.executable, "-c", "from filterlens.cli import main; main()"]


def run(*arguments: str | Path, cwd: Path | None = None, code: int = 0) -> str:
    """Run the command line and return what it printed, both streams together."""
    done = subprocess.run(
        [*FILTERLENS, *map(str, arguments)],
        capture_output=True, text=True, check=False, cwd=cwd, timeout=240,
        env=os.environ | {"NO_COLOR": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    printed = done.stdout + done.stderr
    assert done.returncode == code, printed
    assert "Traceback" not in printed
    return printed


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_zoo(tmp_path_factory.mktemp("zoo"), pairs=4)


@pytest.fixture(scope="module")
def audited(zoo: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("run") / "run"
    return folder, run("audit", "--leaderboard", zoo, "--out", folder)


def test_an_audit_prints_the_comparison_the_summary_and_the_report(audited: tuple[Path, str]) -> None:
    folder, printed = audited
    assert "[8/8] " in printed
    assert "robust against normal" in printed
    assert "Orthogonality" in printed
    assert printed.rstrip().endswith(f"report: {folder / 'index.html'}")
    for name in ("catalog.csv", "ledger.jsonl", "scores.parquet", "pooled.h5", "index.html"):
        assert (folder / name).stat().st_size > 100, name
    assert {path.suffix for path in (folder / "tables").iterdir()} == {".csv", ".md", ".tex"}
    assert {path.suffix for path in (folder / "figures").iterdir()} >= {".pdf", ".png", ".csv"}


@pytest.mark.parametrize("given", [["--lens", "filters, spectra"], ["--lens", "filters", "--lens", "spectra"]])
def test_lenses_are_separated_by_commas_or_repeated(zoo: Path, tmp_path: Path, given: list[str]) -> None:
    run("extract", "--leaderboard", zoo, *given, "--out", tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text().splitlines()]
    assert {row["lens"] for row in rows} == {"filters", "spectra"}


def test_the_same_command_again_does_nothing_new(audited: tuple[Path, str], zoo: Path) -> None:
    folder, _ = audited
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    printed = run("audit", "--leaderboard", zoo, "--out", folder)
    after = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert {path for path in after if after[path] != before.get(path)} <= {folder / ".lock"}
    assert "robust against normal" in printed


def test_one_broken_model_costs_exit_code_one_and_nothing_else(tmp_path: Path) -> None:
    zoo = make_zoo(tmp_path / "zoo")
    (tmp_path / "zoo" / "net1-normal.pt").write_bytes(b"PK\x03\x04 not really")
    printed = run("audit", "--leaderboard", zoo, "--out", tmp_path / "run", code=1)
    assert "net1-normal.pt" in printed
    assert "the same command tries again" in printed
    assert pd.read_parquet(tmp_path / "run" / "scores.parquet")["model_id"].nunique() == 3
    assert "net1-normal" in (tmp_path / "run" / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["audit", "-l", "no-such-zoo"], "there is no catalog 'no-such-zoo'"),
        (["audit", "-l", "fonts-linf", "--lens", "filter"], "no lens is called 'filter'"),
        (["audit", "-l", "fonts-linf", "--models", "zzz*"], "matches no model"),
        (["audit", "-l", "fonts-linf", "--channels", "none"], "--channels 'none'"),
        (["audit", "-l", "fonts-linf", "--device", "cuda:99"], "--device cuda:99 cannot be used here"),
        (["audit", "--imagse", "3"], "No such option"),
        (["audit", "--images", "0"], "Invalid value for '--images'"),
        (["inspect", "x.pt", "--images", "-3"], "Invalid value for '--images'"),
        (["explain", "sparsety"], "did you mean sparsity"),
        (["check", "x.pt"], "give at least one bound"),
        (["check", "x.pt", "-b", "sparsity=3"], "is no bound"),
        (["audit", "--lens", "robustness", "--attack", "cw"], "--attack: expected pgd or apgd, got 'cw'"),
        (["audit", "--lens", "filters", "--kernel", "3by3"], "--kernel '3by3' is no filter size"),
        (["audit", "--lens", "spectra", "--operator-frequencies", "0"], "--operator-frequencies: expected 1 to 1024"),
        (["fetch", "-l", "fonts-linf", "--mirror", "nowhere"], "--mirror nowhere: give a folder"),
    ],
)
def test_bad_usage_is_one_clear_line_and_exit_code_two(arguments: list[str], said: str, tmp_path: Path) -> None:
    printed = run(*arguments, cwd=tmp_path, code=2)
    assert said in " ".join(printed.replace("│", " ").split())
    assert not list(tmp_path.glob("reports/*/dumps/*"))


def test_a_bad_row_is_named_with_line_and_column(tmp_path: Path) -> None:
    zoo = make_zoo(tmp_path / "zoo")
    zoo.write_text(zoo.read_text().replace("8/255", "8/0", 1))
    assert "zoo.csv, line 2, column eps" in run("audit", "-l", zoo, "-o", tmp_path / "run", code=2)
    assert not (tmp_path / "run").exists()


def test_analyze_and_report_are_the_second_and_third_step_of_audit(zoo: Path, tmp_path: Path) -> None:
    run("extract", "-l", zoo, "-o", tmp_path / "run")
    assert not (tmp_path / "run" / "scores.parquet").exists()
    assert "scores of 8 models" in run("analyze", tmp_path / "run")
    assert "index.html" in run("report", tmp_path / "run")


def test_analyze_of_another_folder_says_so(tmp_path: Path) -> None:
    assert "is not a run's folder" in run("analyze", tmp_path, code=2)


def test_inspect_shows_layers_place_and_what_stands_out(zoo: Path, audited: tuple[Path, str]) -> None:
    source = zoo.parent / "net0-robust.pt"
    printed = run("inspect", source, "--reference", audited[0])
    assert "block.conv" in printed
    assert "place among them" in printed
    found = json.loads(run("inspect", source, "--reference", audited[0], "--json"))
    place = {p["metric"]: p for p in found["places"]}["sparsity"]
    assert 0 <= place["robust"] <= 100
    layers = {(row["layer"], row["metric"]): row["value"] for row in found["layers"]}
    assert layers["block.conv", "sparsity"] == 0.25


def test_compare_lists_layers_of_both_sides(zoo: Path, tmp_path: Path) -> None:
    out = tmp_path / "change.csv"
    run("compare", zoo.parent / "net0-normal.pt", zoo.parent / "net0-robust.pt", "--out", out)
    table = pd.read_csv(out, keep_default_na=False).set_index(["layer", "metric"])
    assert float(table["difference"]["block.conv", "sparsity"]) == pytest.approx(1 / 8)
    assert ("", "orthogonality") in table.index


def test_check_is_a_gate(zoo: Path, tmp_path: Path) -> None:
    source, junit = zoo.parent / "net0-robust.pt", tmp_path / "check.xml"
    assert "PASS sparsity" in run("check", source, "--max-sparsity", "0.9")
    assert "FAIL sparsity" in run("check", source, "--max-sparsity", "0.01", "--junit", junit, code=1)
    suite = ET.parse(junit).getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")


def test_explain_tells_formula_and_pitfalls() -> None:
    printed = run("explain", "variance_entropy")
    assert "log" in printed
    assert "pitfalls" in printed


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(tmp_path: Path) -> None:
    zoo = make_zoo(tmp_path / "zoo", pairs=60)
    process = subprocess.Popen(
        [*FILTERLENS, "extract", "-l", str(zoo), "-o", str(tmp_path / "run")],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    printed = process.stdout.read()
    process.stdout.close()
    assert process.wait(timeout=60) == 130
    assert "the same command goes on from here" in printed
    assert not list((tmp_path / "run").rglob("*.tmp"))
    done = len(list((tmp_path / "run" / "dumps").glob("*.h5")))
    assert 0 < done < 120
    assert " 120 " in run("extract", "-l", zoo, "-o", tmp_path / "run")


def test_hostile_ids_stay_in_their_folder(tmp_path: Path) -> None:
    make_zoo(tmp_path / "zoo")
    names = ["<script>alert(1)</script>", "a/b & c_%", "=cmd", "x" * 290]
    rest = ("net0-robust.pt", "cifar10", "Linf", "8/255", "tiny", "true", "", "", "")
    rows: list[tuple[object, ...]] = [(name, *rest) for name in names]
    catalog = write_catalog(tmp_path / "zoo" / "hostile.csv", rows)
    run("audit", "-l", catalog, "-o", tmp_path / "run")
    assert len(list((tmp_path / "run" / "dumps").iterdir())) == 4
    assert "<script>alert(1)" not in (tmp_path / "run" / "index.html").read_text(encoding="utf-8")
    assert len(FIELDS) == 10


def test_help_answers_at_once() -> None:
    began = time.process_time()
    children = os.times().children_user
    run("--help")
    assert os.times().children_user - children < 2.5  # of processor time, 0.9 on a quiet machine
    assert time.process_time() - began < 1
