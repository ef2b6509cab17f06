"""Terminals of 60 to 200 columns: nothing runs over the edge, nothing is cut, and nothing of weight is lost."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
from rich.cells import cell_len
from small_zoo import make_zoo
from typer.testing import CliRunner

import filterlens
from filterlens.cli.app import app
from filterlens.cli.console import Display, grouped_reasons
from filterlens.cli.printing import print_estimate
from filterlens.cli.terminal import Column, fit, print_columns, shortened
from filterlens.runs import Event, Outcome
from filterlens.runs.ledger import LedgerRow

PGD, NORMAL = "fonts-linf/preact_resnet-pgd-s0", "fonts-linf/preact_resnet-normal-s0"
WIDTHS = (60, 80, 120, 200)
COMMANDS = (
    ["inspect", PGD],
    ["compare", NORMAL, PGD, "--top", "5"],
    ["catalogs"],
    ["catalogs", "fonts-linf"],
    ["explain"],
    ["explain", "orthogonality"],
    ["ls", "lenses"],
    ["ls", "scores"],
    ["ls", "sources"],
)


def run(words: list[str], width: int) -> str:
    done = CliRunner().invoke(app, words, env={"COLUMNS": str(width), "NO_COLOR": "1"})
    assert done.exit_code == 0, done.output
    return done.stdout


def tables(text: str) -> list[str]:
    """Lines of tables: those around a rule, up to an empty one."""
    found, lines = [], text.splitlines()
    for place, line in enumerate(lines):
        if set(line.strip()) == {"─"}:
            end = next((n for n in range(place, len(lines)) if not lines[n]), len(lines))
            found += lines[place:end]
    return found


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_tables_stay_within_the_terminal_and_cut_nothing(words: list[str]) -> None:
    for width in WIDTHS:
        text = run(words, width)
        assert "…" not in text.replace("?sha256=…", "").replace("https://…", ""), width
        assert not [line for line in tables(text) if cell_len(line) > width], width


def test_every_layer_score_and_z_is_there_at_every_width() -> None:
    layers = filterlens.inspect(PGD).layers
    for width in WIDTHS:
        text = run(["inspect", PGD], width)
        for row in layers[layers["metric"].isin(["orthogonality", "variance_entropy"])].itertuples():
            assert re.search(rf"^{re.escape(str(row.layer))} .*{row.value:.3f}", text, re.MULTILINE), (width, row.layer)
        z = layers.loc[layers["metric"] == "orthogonality_z", "value"].to_numpy(float)
        assert f"{z[1]:+.1f}" in text
        assert width == 120 or ("█" in text) == (width > 120), "bars where there is room"
    assert run(["inspect", PGD], 200).count("1.conv1  ") < run(["inspect", PGD], 60).count("1.conv1  ")


def test_names_of_scores_are_whole_at_80_columns() -> None:
    assert "variance_entropy_raw_normalized  " in run(["compare", NORMAL, PGD], 80)


def test_columns_that_are_spare_go_first_and_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    columns = [
        Column("name", ["a" * 20]), Column("less", ["b" * 20], spare=1), Column("least", ["c" * 20], spare=2)
    ]  # fmt: skip
    assert [column.heading for column in fit(columns, 70)] == ["name", "less", "least"]
    assert [column.heading for column in fit(columns, 50)] == ["name", "less"]
    assert [column.heading for column in fit(columns, 20)] == ["name"]
    assert print_columns([Column("Orthogonality of layers", ["1"], right=True)]) == []
    assert shortened("Orthogonality of layers") == "Orthogo. of layers"
    assert "Orthogonality of layers" in capsys.readouterr().out


def test_wide_and_zero_width_letters_and_markup_are_measured_as_they_are_drawn(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    print_columns([Column("名前", ["層" * 20, "\\[red]x", "\x1b[2J\u200b"]), Column("n", ["1", "2", "3"], right=True)])
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "[red]x" in shown
    assert all(cell_len(line) <= 30 for line in shown.splitlines())
    assert shown.count("層") == 20


def test_an_audits_tables_fit_and_its_progress_ends(tmp_path: Path) -> None:
    zoo = make_zoo(tmp_path / "zoo")
    first = CliRunner().invoke(app, ["extract", "-l", str(zoo), "-o", str(tmp_path / "run"), "-m", "net0-*"])
    assert re.findall(r"\[(\d)/(\d)\]", first.stdout) == [("1", "2"), ("2", "2")]
    again = CliRunner().invoke(
        app, ["audit", "-l", str(zoo), "-o", str(tmp_path / "run")], env={"COLUMNS": "60", "NO_COLOR": "1"}
    )
    assert "2 of 4 models are done already\n" in again.stdout
    assert re.findall(r"\[(\d)/(\d)\]", again.stdout) == [("3", "4"), ("4", "4")], "it ends where it says"
    assert not [line for line in tables(again.stdout) if len(line) > 60]


def test_every_line_of_progress_ends(tmp_path: Path) -> None:
    """What a model or the run is said to be doing is said to have ended, too."""
    zoo = make_zoo(tmp_path / "zoo")
    heard: list[Event] = []
    filterlens.audit(zoo, tmp_path / "run", lenses=["filters", "spectra"], listener=heard.append)
    begun = {event.model_id for event in heard if event.what}
    assert {"", "net0-robust"} <= begun
    for name in begun:
        (last,) = [event for event in heard if event.model_id == name][-1:]
        assert not last.what, name


def test_the_same_said_of_many_models_is_said_once(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rows = [LedgerRow(f"net{n}", "filters", "failed", f"net{n}.pt: no such file") for n in range(40)]
    rows += [LedgerRow("other", lens, "failed", "of another kind") for lens in ("filters", "spectra")]
    groups = grouped_reasons(rows)
    assert [(reason, len(found)) for reason, found in groups] == [("….pt: no such file", 40), ("of another kind", 2)]
    Display().summary(Outcome(tmp_path, tuple(rows), 0, 1.0))
    shown = capsys.readouterr().out
    assert "failed 40 × net0, net1, net2, net3, net4 and 35 more · filters: ….pt: no such file" in shown
    assert "failed 2 × other · filters, spectra: of another kind" in shown


def test_a_model_named_like_markup_is_told_as_text(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    row = LedgerRow("[red]x\x1b[2J", "filters", "skipped", "[/red] none")
    Display().summary(Outcome(tmp_path, (row,), 0, 1.0))
    assert "skipped [red]x\\x1b[2J · filters: [/red] none" in capsys.readouterr().out


def test_what_is_kept_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    display = Display()
    display.start(3)
    display.hear(Event("", "", 2, 3, note="2 of 3 models are done already"))
    display.hear(Event("c", "", 1, 1, rows=(LedgerRow("c", "filters", "ok"),)))
    assert "[3/3] c: filters ok" in capsys.readouterr().out


def test_a_dry_run_says_what_an_audit_would_take_and_writes_nothing(tmp_path: Path) -> None:
    zoo = make_zoo(tmp_path / "zoo")
    out = tmp_path / "run"
    words = ["audit", "-l", str(zoo), "-o", str(out), "--lens", "filters,spectra", "--dry-run"]
    said = run(words, 80)
    assert not out.exists()
    assert re.search(r"models:\s+4\njobs:\s+8 ", said)
    assert "to fetch: nothing" in said
    assert re.search(r"time:\s+about \d+ s with --jobs 1, if all are like net0-robust", said)
    CliRunner().invoke(app, ["extract", "-l", str(zoo), "-o", str(out), "--lens", "filters", "-m", "net0-*"])
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    found = filterlens.estimate(zoo, out)
    assert (found.models, found.done, found.jobs, found.measured) == (4, 2, 2, "2 models of this run")
    assert found.dumps > 1000
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*")}


def test_what_cannot_be_measured_is_unknown_and_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = filterlens.RunSettings(offline=True)
    found = filterlens.estimate("imagenet-linf", tmp_path / "run", settings=settings, models=["Wong*"])
    assert found.seconds != found.seconds
    print_estimate(found, 1)
    assert "time:     unknown: no model's files are here" in capsys.readouterr().out
    zoo = make_zoo(tmp_path / "zoo")
    (zoo.parent / "net0-robust.pt").write_bytes(b"none")
    assert "net0-robust · filters failed" in filterlens.estimate(zoo, tmp_path / "run").why_not


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("audit -l cifar10-li", ["cifar10-linf"]),
        ("audit --lens filters,spec", ["filters,spectra"]),
        ("extract -l fonts-linf -m vgg_maxpool-pgd", ["vgg_maxpool-pgd-s0", "vgg_maxpool-pgd-s1"]),
        ("explain aliasing_", ["aliasing_relative"]),
        ("inspect fonts", ["fonts-linf/"]),
        ("check fonts-linf/vgg_maxpool-pgd-s0", ["fonts-linf/vgg_maxpool-pgd-s0"]),
        ("compare a gavrikov2022/nothing", []),
        ("ls le", ["lenses"]),
        ("schema sc", ["scores"]),
        ("catalogs font", ["fonts-linf"]),
        ("inspect no/such.csv/", []),
    ],
)
def test_a_shell_is_offered_names(typed: str, offered: list[str]) -> None:
    words = f"filterlens {typed}"
    environment = {
        "_FILTERLENS_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)
    }  # fmt: skip
    done = CliRunner().invoke(app, [], env=environment, prog_name="filterlens")
    assert done.stdout.split() == offered


def test_names_that_a_shell_could_take_for_something_are_not_offered(tmp_path: Path) -> None:
    from filterlens.cli.completion import models

    rows = [("$(touch x)", "a.pt"), ("\x1b[2J", "a.pt"), ("good", "a.pt"), ("a b", "a.pt"), ("`id`;x", "a.pt")]
    table = pd.DataFrame(rows[:1] + rows[2:], columns=["model_id", "source"])
    table.to_csv(tmp_path / "zoo.csv", index=False)
    assert models(f"{tmp_path}/zoo.csv/") == [f"{tmp_path}/zoo.csv/good"]
