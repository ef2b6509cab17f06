"""What is written for a model's card is read back by the Hub's own library, and leaves the rest of the card alone."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData, parse_eval_result_entries
from small_zoo import FIELDS, make_zoo, write_catalog
from typer.testing import CliRunner

import filterlens
from filterlens.cli.app import app
from filterlens.errors import CatalogError, InputError, ReportError

EVIL = "a: b\n- x|<script>`c` ![i](https://evil) <!-- end of filterlens --> \x1b[2J\u202e {{ x }} %s 'q\" &a *a"


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cards")
    zoo = make_zoo(folder / "zoo", pairs=1)
    name = EVIL.replace("\n", " ").replace("\x1b", "").replace("\u202e", "")
    row = (name, "net0-robust.pt", EVIL.replace("\n", " "), "Linf", "8/255", "tiny", "true", "", "", "")
    zoo = write_catalog(folder / "zoo" / "zoo.csv", [row, ("net0-normal", "net0-normal.pt", "cifar10", *[""] * 7)])
    filterlens.audit(zoo, folder / "run", lenses=["filters", "spectra"])
    assert len(FIELDS) == len(row)
    return folder / "run"


def parse(text: str) -> Any:
    """Read a card with the Hub's own library, whose classes of metadata are too wide for a type checker."""
    return ModelCard(text, ignore_metadata_errors=False)


def evil(audited: Path) -> str:
    return str(pd.read_csv(audited / "catalog.csv")["model_id"][0])


def test_the_hubs_own_library_reads_the_same_results(audited: Path) -> None:
    made = filterlens.card(audited, "net0-normal")
    read = parse(made.text)
    assert read.data.eval_results == list(made.results)
    assert read.data.model_name == "net0-normal"
    by_name = {result.metric_type: result for result in made.results}
    scores = pd.read_parquet(audited / "scores.parquet").query("model_id == 'net0-normal' and metric == 'sparsity'")
    mean = (scores["value"] * scores["weight"]).sum() / scores["weight"].sum()
    assert by_name["sparsity"].metric_value == pytest.approx(mean, rel=1e-5)
    args = by_name["sparsity"].dataset_args or {}
    assert (args["lens"], args["kernel"], len(args["weights_sha256"])) == ("filters", "auto", 64)
    assert (by_name["stable_rank"].dataset_args or {})["lens"] == "spectra", "each lens keeps its own settings"
    assert "| Sparsity |" in read.text


def test_the_rest_of_a_card_stays_and_a_second_time_replaces_the_first(audited: Path) -> None:
    data = ModelCardData(
        license="mit", tags=["vision"], model_name="theirs",
        eval_results=[EvalResult("image-classification", "cifar10", "CIFAR-10", "accuracy", 0.9)],
    )  # fmt: skip
    before = f"---\n{data.to_yaml()}\n---\n\n# Mine\n\nWords before.\n"
    made = filterlens.card(audited, "net0-normal")
    once = made.put_into(before)
    twice = filterlens.card(audited, evil(audited)).put_into(once + "\nWords after.\n")
    thrice = made.put_into(twice)
    for text in (once, twice, thrice):
        read = parse(text)
        assert (read.data.license, read.data.tags, read.data.model_name) == ("mit", ["vision"], "theirs")
        results = read.data.eval_results or []
        assert [result.metric_type for result in results].count("accuracy") == 1
        assert len(results) == 1 + len(made.results)
        assert "# Mine\n\nWords before." in text
        assert text.count("## Audit by filterlens") == 1
    assert thrice.replace("\nWords after.\n", "").rstrip() == once.rstrip()


def test_names_of_others_are_text_in_metadata_and_section(audited: Path) -> None:
    made = filterlens.card(audited, evil(audited))
    read = parse(made.text)
    assert read.data.eval_results == list(made.results)
    assert set(yaml.safe_load(made.text.split("---\n")[1])) == {"model-index"}
    section = made.section
    assert not re.search(r"<script|!\[|https:|<!--|\x1b|\u202e|`c`", section)
    assert "<script>`c`" in unescape(section)
    assert made.put_into(made.text) == made.text


def test_no_path_of_the_machine_is_written(audited: Path, tmp_path: Path) -> None:
    text = filterlens.card(audited, "net0-normal").text
    assert str(audited.parent) not in text
    assert str(tmp_path.parent) not in text


def test_entries_of_a_benchmark_are_read_by_the_hubs_own_library(audited: Path) -> None:
    made = filterlens.card(audited, evil(audited), benchmark="my-org/robust")
    entries = parse_eval_result_entries(yaml.safe_load(made.eval_results))
    assert {entry.dataset_id for entry in entries} == {"my-org/robust"}
    assert {entry.task_id: entry.value for entry in entries} == {
        result.metric_type: result.metric_value for result in made.results
    }
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT.*", entry.date or "") for entry in entries)
    assert "weights_sha256 " in str(entries[0].notes)
    assert filterlens.card(audited, "net0-normal").eval_results == ""
    with pytest.raises(InputError, match="--benchmark a/b/c: expected the id"):
        filterlens.card(audited, "net0-normal", benchmark="a/b/c")


def test_the_command_writes_both_and_says_where(audited: Path, tmp_path: Path) -> None:
    out = tmp_path / "README.md"
    words = ["card", str(audited), "net0-normal", "--out", str(out), "--benchmark", "o/d"]
    for _ in range(2):
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.output
        assert "evaluation results: " in done.stdout
    assert out.read_text(encoding="utf-8").count("## Audit by filterlens") == 1
    assert yaml.safe_load((tmp_path / ".eval_results" / "audit.yaml").read_text(encoding="utf-8"))
    shown = CliRunner().invoke(app, words[:3]).stdout
    assert parse(shown).data.eval_results


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"---\nmodel-index: [\n---\n", "metadata cannot be read"),
        (b"---\nmodel-index:\n- name: x\n  results: none\n---\n", "metadata cannot be read"),
        (b"---\n- a list\n---\n", "metadata cannot be read"),
        (b"---\na: !!python/object/apply:os.system [touch made]\n---\n", "metadata cannot be read"),
        (b"# a\n<!-- end of filterlens -->\n", "not a pair"),
        (b"\xff\xfe", "cannot be read as a card"),
        (b" " * (5 << 20), "larger than 4 MB"),
    ],
)
def test_a_card_that_cannot_be_read_is_left_as_it_is(audited: Path, tmp_path: Path, content: bytes, said: str) -> None:
    out = tmp_path / "README.md"
    out.write_bytes(content)
    with pytest.raises(InputError, match=said):
        CliRunner().invoke(app, ["card", str(audited), "net0-normal", "--out", str(out)], catch_exceptions=False)
    assert out.read_bytes() == content
    assert not Path("made").exists()


def test_a_model_that_the_run_has_not_is_said(audited: Path, tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="has no model 'x'"):
        filterlens.card(audited, "x")
    with pytest.raises(ReportError, match="is not an audit's folder"):
        filterlens.card(tmp_path, "x")
