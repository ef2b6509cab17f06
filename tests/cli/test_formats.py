"""One option for how a table is printed, the same on every command that prints one."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from filterlens.cli.app import app
from filterlens.cli.options import Format
from filterlens.cli.printing import print_table, print_tables

PGD = "fonts-linf/preact_resnet-pgd-s0"
COMMANDS = {
    "catalogs": ["catalogs", "fonts-linf"],
    "explain": ["explain"],
    "fetch": ["fetch"],
    "ls": ["ls", "lenses"],
    "inspect": ["inspect", PGD],
    "compare": ["compare", PGD, "fonts-linf/preact_resnet-normal-s0"],
    "check": ["check", PGD, "--max-sparsity", "0.9"],
    "selftest": ["selftest"],
}
TABLE = pd.DataFrame({"name": ["a|b", "c,d\re"], "value": [1 / 3, math.nan], "known": [True, None]})


def run(*words: str) -> str:
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == 0, done.output if done.exception is None else done.exception
    return done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_table_comes_in_every_format(name: str) -> None:
    words = COMMANDS[name]
    found = json.loads(run(*words, "--format", "json"))
    assert run(*words, "--json") == run(*words, "-f", "json")
    rows = found["layers"] if name == "inspect" else found
    read = list(csv.DictReader(io.StringIO(run(*words, "--format", "csv"), newline="")))
    assert [list(row) for row in read] == [list(row) for row in rows]
    for from_csv, from_json in zip(read, rows, strict=True):
        numbers = {key: value for key, value in from_json.items() if isinstance(value, float)}
        assert {key: float(from_csv[key]) for key in numbers} == numbers, "as exact"
    markdown = run(*words, "--format", "markdown")
    assert f"| {' | '.join(rows[0])} |\n" in markdown
    assert run(*words) == run(*words, "--format", "table")


def test_models_of_a_catalog_are_chosen_by_patterns_and_bring_their_twins() -> None:
    told = json.loads(run("catalogs", "timm-imagenet", "--models", "resnet50.fb_s*", "--models", "vgg11.*", "--json"))
    assert [row["model_id"] for row in told] == [
        *("resnet50.fb_ssl_yfcc100m_ft_in1k", "resnet50.fb_swsl_ig1b_ft_in1k", "resnet50.tv_in1k", "vgg11.tv_in1k")
    ]
    assert told[0]["differs"] == "semi-supervised pre-training on YFCC-100M"
    assert told[0]["licence"] == "CC-BY-NC-4.0"
    assert "4 models, 0 pairs, 0 unmatched, 2 twins" in run(
        "catalogs", "timm-imagenet", "-m", "resnet50.fb*", "-m", "vgg11.*"
    )
    for words, message in ((["-m", "x"], "name it"), (["timm-imagenet", "-m", "resnet5000*"], "matches no model")):
        done = CliRunner().invoke(app, ["catalogs", *words])
        assert message in str(done.exception)


def test_every_command_with_a_format_has_the_same_one() -> None:
    study = typer.main.get_group(app).commands["study"].commands  # type: ignore[attr-defined]
    kinds = {
        name: (tuple(parameter.opts), parameter.default, parameter.help)
        for name, command in [*typer.main.get_group(app).commands.items(), *study.items()]
        for parameter in getattr(command, "params", [])
        if "--format" in parameter.opts
    }
    assert set(kinds) == {*COMMANDS, "audit", "extract", "analyze", "filters", "flatness", "manifold"}
    assert len(set(kinds.values())) == 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("formats") / "run"


WORK = {
    "extract": (["extract", "-l", "fonts-linf", "-m", "vgg*s0", "--lens", "filters", "--out", "RUN"], ("jobs",)),
    "analyze": (["analyze", "RUN"], None),
    "audit": (
        ["audit", "-l", "fonts-linf", "-m", "vgg*s0", "--lens", "filters", "--out", "RUN"],
        ("jobs", "robust_vs_normal"),
    ),
    "estimate": (["audit", "-l", "fonts-linf", "-m", "vgg*s0", "--lens", "filters", "--out", "RUN", "--dry-run"], None),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WORK)
def test_what_works_says_its_result_on_stdout_and_the_rest_beside_it(name: str, folder: Path) -> None:
    """In this order: each finds what the one before has left."""
    words, tables = WORK[name]
    words = [word.replace("RUN", str(folder)) for word in words]
    found = json.loads(run(*words, "--format", "json"))
    rows = found[tables[0]] if tables else found
    read = list(csv.DictReader(io.StringIO(run(*words, "--format", "csv"), newline="")))
    assert rows
    assert [list(row) for row in read] == [list(row) for row in rows]
    assert run(*words, "--format", "markdown").count(f"| {' | '.join(rows[0])} |\n") == 1
    if tables:
        assert set(found) == {"folder", "report", *tables}
        assert found["folder"] == str(folder)
        assert {(row["model_id"], row["lens"], row["status"]) for row in rows} == {
            ("vgg_maxpool-normal-s0", "filters", "ok"), ("vgg_maxpool-pgd-s0", "filters", "ok")
        }  # fmt: skip
        assert (found["report"] != "") == (name == "audit")


def test_a_failure_is_a_row_and_the_exit_code(tmp_path: Path) -> None:
    (tmp_path / "zoo.csv").write_text("model_id,source\nx,nothing.pt\n", encoding="utf-8")
    words = ["extract", "-l", str(tmp_path / "zoo.csv"), "--out", str(tmp_path / "run"), "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 1
    (row,) = json.loads(done.stdout)["jobs"]
    assert row["status"] == "failed"
    assert "nothing.pt" in row["reason"]
    assert "failed" in done.stderr


def test_cells_mean_the_same_in_each_format(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(TABLE, Format.json)
    assert json.loads(capsys.readouterr().out) == [
        {"name": "a|b", "value": 1 / 3, "known": True},
        {"name": "c,d\re", "value": None, "known": None},
    ]
    print_table(TABLE, Format.csv)
    read = list(csv.reader(io.StringIO(capsys.readouterr().out, newline="")))
    assert read == [["name", "value", "known"], ["a|b", repr(1 / 3), "True"], ["c,d\re", "", ""]]
    print_table(TABLE, Format.markdown, looks={"value": lambda value: f"{value:.1f}"})
    assert capsys.readouterr().out.splitlines() == [
        "| name | value | known |", "| --- | --- | --- |", r"| a\|b | 0.3 | yes |", r"| c,d\re |  |  |"
    ]  # fmt: skip
    print_table(TABLE, Format.table, title="[red]here", hidden=["known"])
    shown = capsys.readouterr().out
    assert "[red]here" in shown
    assert "0.3333" in shown
    assert "known" not in shown


def test_several_tables_are_one_object_or_follow_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    tables = {"first": TABLE[["name"]], "second": pd.DataFrame({"z": [math.inf]})}
    print_tables(tables, Format.json, model="m")
    assert json.loads(capsys.readouterr().out) == {
        "model": "m", "first": [{"name": "a|b"}, {"name": "c,d\re"}], "second": [{"z": None}]
    }  # fmt: skip
    print_tables(tables, Format.markdown)
    assert "## first\n\n| name |" in (printed := capsys.readouterr().out)
    assert "\n## second\n\n| z |" in printed


def test_an_empty_table_is_a_table(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    empty = TABLE.head(0)
    for form, printed in ((Format.json, "[]\n"), (Format.csv, "name,value,known\n")):
        print_table(empty, form)
        assert capsys.readouterr().out == printed


def test_an_unknown_format_is_refused_with_the_ones_there_are() -> None:
    done = CliRunner().invoke(app, ["explain", "--format", "xml"])
    assert done.exit_code == 2
    assert all(str(form) in done.output for form in Format)
