"""`--dumps none`: the same numbers without a copy of the weights."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from small_zoo import make_zoo, scored, weights, write_catalog
from typer.testing import CliRunner

import filterlens
from filterlens.catalogs import Entry, load_catalog
from filterlens.cli.app import app
from filterlens.dumps import DumpReader, DumpWriter, InMemoryGroup
from filterlens.errors import CheckpointError, DumpError, FilterlensError, InputError
from filterlens.filterdb.exporting import export_run
from filterlens.lens import RunSettings, get_lens
from filterlens.lenses.filters.figures.grids import end_layer
from filterlens.lenses.filters.options import FiltersOptions
from filterlens.report import read_run
from filterlens.runs import Event, Outcome, analyze, extract
from filterlens.runs.config import RunConfig
from filterlens.runs.executors import InProcess, LocalProcesses
from filterlens.runs.ledger import Ledger
from filterlens.score import read_scores

WITHOUT = RunSettings(dumps="none")


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    return make_zoo(tmp_path / "zoo", pairs=3)


def pooled(folder: Path) -> dict[str, Any]:
    with h5py.File(folder / "pooled.h5") as file:
        return {name: item[()] for name, item in file["filters"].items()}


def assert_same(run: Path, expected: Path) -> None:
    """Compare scores and what all models say together, bit for bit."""
    ours, theirs = (read_scores(folder / "scores.parquet") for folder in (run, expected))
    pd.testing.assert_frame_equal(ours, theirs, check_exact=True)
    found, wanted = pooled(run), pooled(expected)
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        assert found[name].tobytes() == array.tobytes(), name


def audit(catalog: Path, folder: Path, *models: str, **how: Any) -> Outcome:
    chosen = load_catalog(catalog).select(list(models)) if models else load_catalog(catalog)
    outcome = extract(chosen, folder, existing=how.pop("existing", "refuse"), **how)
    analyze(folder, reuse=True, settings=how.get("settings"))
    return outcome


@pytest.mark.parametrize(("kernel", "fold"), [("auto", False), ("all", True)])
def test_the_numbers_of_the_bundled_zoo_are_those_with_dumps_bit_for_bit(
    tmp_path: Path, kernel: str, fold: bool
) -> None:
    catalog = load_catalog("fonts-linf").select(["resnet*", "vgg*"])
    lenses = {
        "filters": FiltersOptions(kernel=kernel, fold_batchnorm=fold),
        "frequency": get_lens("frequency").options(),
    }
    for name, settings in (("with", RunSettings()), ("without", WITHOUT)):
        extract(catalog, tmp_path / name, lenses=lenses, settings=settings)
        analyze(tmp_path / name, settings=settings)
    assert_same(tmp_path / "without", tmp_path / "with")


def test_processes_score_and_read_again_as_one_process_does(zoo: Path, tmp_path: Path) -> None:
    catalog = load_catalog(zoo)
    for name, executor in (("here", InProcess()), ("there", LocalProcesses(2))):
        extract(catalog, tmp_path / name, settings=WITHOUT, executor=executor)
        analyze(tmp_path / name, executor=executor, settings=WITHOUT)
    extract(catalog, tmp_path / "with")
    analyze(tmp_path / "with")
    assert_same(tmp_path / "here", tmp_path / "with")
    assert_same(tmp_path / "there", tmp_path / "with")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_types_are_scored_as_they_would_be_stored(tmp_path: Path, dtype: torch.dtype) -> None:
    torch.save({name: array.to(dtype) for name, array in weights(1).items()}, tmp_path / "a.pt")
    catalog = write_catalog(tmp_path / "zoo.csv", [("a", "a.pt", "", "", "", "", "", "", "", "")])
    audit(catalog, tmp_path / "with")
    audit(catalog, tmp_path / "without", settings=WITHOUT)
    assert_same(tmp_path / "without", tmp_path / "with")


def test_an_audit_from_the_command_line_reports_the_same_and_repeats_itself(
    zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = CliRunner()
    every = import_module("filterlens.commands.report").all_figures()
    own = [figure for figure in every if "filter" in figure.name]
    monkeypatch.setattr(import_module("filterlens.commands.report"), "all_figures", lambda: own)
    for name, more in (("with", []), ("without", ["--dumps", "none"])):
        done = runner.invoke(app, ["audit", "-l", str(zoo), "--out", str(tmp_path / name), *more])
        assert done.exit_code == 0, done.output
    assert_same(tmp_path / "without", tmp_path / "with")
    assert RunConfig.read(tmp_path / "without" / "run.toml").settings.dumps == "none"
    figures = {path.name: path for path in (tmp_path / "with" / "figures").glob("*.csv")}
    assert any("first" in name for name in figures)
    for name, path in figures.items():
        assert (tmp_path / "without" / "figures" / name).read_bytes() == path.read_bytes(), name
    for path in (tmp_path / "with" / "tables").glob("*.csv"):
        assert (tmp_path / "without" / "tables" / path.name).read_bytes() == path.read_bytes(), path.name
    config = str(tmp_path / "without" / "run.toml")
    again = runner.invoke(app, ["extract", "--config", config, "--out", str(tmp_path / "x")])
    assert again.exit_code == 0, again.output
    with DumpReader(next((tmp_path / "x" / "dumps").iterdir())) as dump:
        assert (dump.lenses, dump.scored) == ([], ["filters"])
    analyzed = runner.invoke(app, ["analyze", str(tmp_path / "x")])
    assert analyzed.exit_code == 0, analyzed.output
    assert "--reread" in analyzed.output
    ours, theirs = (read_scores(tmp_path / name / "scores.parquet") for name in ("x", "with"))
    pd.testing.assert_frame_equal(ours, theirs, check_exact=True)
    with DumpReader(tmp_path / "x" / "pooled.h5") as pooled:
        assert not pooled.lenses
    analyzed = runner.invoke(app, ["analyze", str(tmp_path / "x"), "--reread"])
    assert analyzed.exit_code == 0, analyzed.output
    assert_same(tmp_path / "x", tmp_path / "with")


def test_python_says_it_in_the_same_words(zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("filterlens.commands.report"), "all_figures", list)
    outcome = filterlens.audit(zoo, tmp_path / "run", dumps="none")
    assert outcome.page is not None
    filterlens.analyze(tmp_path / "run")  # checkpoints are read where they are asked for
    assert "filters" not in h5py.File(tmp_path / "run" / "pooled.h5")
    assert filterlens.audit(zoo, tmp_path / "run", dumps="none").reused == 6
    assert "filters" in h5py.File(tmp_path / "run" / "pooled.h5")
    filterlens.analyze(tmp_path / "run", reread=True)
    assert "filters" in h5py.File(tmp_path / "run" / "pooled.h5")
    with pytest.raises(InputError, match="dumps: expected all or none, got 'some'"):
        filterlens.audit(zoo, tmp_path / "run", dumps="some")


def test_a_new_model_is_scored_alone_and_pooled_with_the_others(
    zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit(zoo, tmp_path / "run", "net0*", "net1*", settings=WITHOUT)
    seen = scored(monkeypatch)
    audit(zoo, tmp_path / "run", settings=WITHOUT, existing="extend")
    assert sorted(seen) == ["net2-normal", "net2-robust"]
    audit(zoo, tmp_path / "whole")
    assert_same(tmp_path / "run", tmp_path / "whole")


class Interrupted(InProcess):
    """Ctrl-C after two jobs."""

    def run(self, jobs: Sequence[Any], work: Any, listener: Any) -> Any:
        for done, found in enumerate(super().run(jobs, work, listener)):
            if done == 2:
                raise KeyboardInterrupt
            yield found


def test_an_interrupted_run_goes_on_where_it_was(zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        extract(load_catalog(zoo), tmp_path / "run", settings=WITHOUT, executor=Interrupted())
    seen = scored(monkeypatch)
    audit(zoo, tmp_path / "run", settings=WITHOUT)
    assert len(seen) == 3, "the dump that was whole and not yet in the ledger is kept, too"
    audit(zoo, tmp_path / "with")
    assert_same(tmp_path / "run", tmp_path / "with")


def test_a_later_run_with_dumps_writes_them_and_one_without_keeps_them(zoo: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    audit(zoo, run, settings=WITHOUT)
    assert audit(zoo, run).reused == 0
    with DumpReader(run / "dumps" / "net0-robust.h5") as dump:
        assert (dump.lenses, dump.scored) == (["filters"], [])
    audit(zoo, tmp_path / "with")
    assert_same(run, tmp_path / "with")
    assert audit(zoo, run, settings=WITHOUT).reused == 6
    with DumpReader(run / "dumps" / "net0-robust.h5") as dump:
        assert dump.lenses == ["filters"]


def test_another_lens_is_added_beside_the_scores(zoo: Path, tmp_path: Path) -> None:
    for name, settings in (("with", RunSettings()), ("without", WITHOUT)):
        audit(zoo, tmp_path / name, settings=settings)
        audit(zoo, tmp_path / name, lenses=["frequency"], settings=settings)
    with DumpReader(tmp_path / "without" / "dumps" / "net0-robust.h5") as dump:
        assert (dump.lenses, dump.scored) == (["frequency"], ["filters"])
    names = ["model_id", "lens", "layer", "metric"]
    ours, theirs = (read_scores(tmp_path / name / "scores.parquet").sort_values(names) for name in ("without", "with"))
    pd.testing.assert_frame_equal(ours.reset_index(drop=True), theirs.reset_index(drop=True), check_exact=True)


def test_what_needs_the_filters_says_what_to_do(zoo: Path, tmp_path: Path) -> None:
    audit(zoo, tmp_path / "run", settings=WITHOUT)
    with pytest.raises(DumpError, match="--dumps all"):
        export_run(tmp_path / "run", tmp_path / "db.h5")
    with pytest.raises(DumpError, match="--dumps all"):
        filterlens.study_filters(tmp_path / "run")


@pytest.mark.parametrize("what", ["gone", "another", "elsewhere"])
def test_a_checkpoint_that_cannot_be_read_again_costs_its_model_its_place_in_the_pool(
    zoo: Path, tmp_path: Path, what: str
) -> None:
    run = tmp_path / "run"
    extract(load_catalog(zoo), run, settings=WITHOUT)
    lost = zoo.parent / "net1-robust.pt"
    if what == "another":
        torch.save(weights(7), lost)
    elif what == "gone":
        lost.unlink()
    else:
        shutil.move(zoo.parent, tmp_path / "moved")
    heard: list[Event] = []
    table = analyze(run, listener=heard.append, settings=WITHOUT)
    assert table["model_id"].nunique() == 6  # the scores are there
    said = [event.note for event in heard if event.note]
    if what == "elsewhere":
        assert sum(note.startswith("failed") and "not stored (--dumps none)" in note for note in said) == 6
        return
    assert len(said) == 1
    assert (
        "not the one that was scored" in said[0]
        if what == "another"
        else "cannot be read from its checkpoint" in said[0]
    )
    with h5py.File(run / "pooled.h5") as file:
        assert b"net1-robust" not in file["filters/models"][()].tobytes()
        assert b"net2-robust" in file["filters/models"][()].tobytes()
    assert Ledger(run / "ledger.jsonl").latest()["net1-robust", "filters"].status == "failed"
    if what == "another":
        audit(zoo, run, settings=WITHOUT)  # scores what is there now
        audit(zoo, tmp_path / "with")
        assert_same(run, tmp_path / "with")


def test_a_run_that_was_sent_opens_no_checkpoint_unless_it_is_said(
    zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    extract(load_catalog(zoo), run, settings=WITHOUT)
    opened: list[str] = []

    def watched(entry: Entry, *_: object, **how: object) -> None:
        opened.append(entry.model_id)
        assert (how["offline"], how["allow_code"], how["trust_pickle"]) == (True, False, False)
        raise CheckpointError("not today")

    monkeypatch.setattr("filterlens.loaders.load_model", watched)
    assert filterlens.analyze(run)["model_id"].nunique() == 6
    assert not opened
    filterlens.analyze(run, reread=True)
    assert set(opened) == {entry.model_id for entry in load_catalog(zoo)}


def test_scores_of_another_version_are_made_anew(zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    audit(zoo, run, settings=WITHOUT)
    monkeypatch.setattr("filterlens.runs.kept.__version__", "99")
    heard: list[Event] = []
    with pytest.raises(DumpError, match="run the same `filterlens audit` or `extract` again"):
        analyze(run, listener=heard.append, settings=WITHOUT)
    assert audit(zoo, run, settings=WITHOUT).reused == 0


def test_a_layer_without_a_score_and_one_that_fails_say_so_as_with_dumps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = weights(0)
    state["block.conv.weight"][0, 0, 0, 0] = float("nan")
    torch.save(state, tmp_path / "a.pt")
    catalog = write_catalog(tmp_path / "zoo.csv", [("a", "a.pt", "", "", "", "", "", "", "", "")])
    audit(catalog, tmp_path / "with")
    audit(catalog, tmp_path / "without", settings=WITHOUT)
    assert_same(tmp_path / "without", tmp_path / "with")

    from filterlens.lenses.filters import analyzer

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("no such thing")

    monkeypatch.setattr(analyzer, "layer_rows", broken)
    extract(load_catalog(catalog), tmp_path / "failing", settings=WITHOUT)
    row = Ledger(tmp_path / "failing" / "ledger.jsonl").latest()["a", "filters"]
    assert (row.status, row.reason) == ("failed", "scoring: layer stem: ZeroDivisionError: no such thing")
    assert not list((tmp_path / "failing" / "dumps").glob("*"))


def test_eviction_would_leave_nothing_to_read_again(zoo: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--evict removes them"):
        extract(load_catalog(zoo), tmp_path / "run", settings=WITHOUT, evict=True)
    assert not (tmp_path / "run").exists()


def test_a_large_last_convolution_is_kept_in_part_and_shown_as_with_dumps(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    state = {"a.weight": torch.randn(8, 3, 3, 3, generator=generator), "b.weight": torch.randn(300, 256, 3, 3)}
    torch.save(state, tmp_path / "a.pt")
    catalog = write_catalog(tmp_path / "zoo.csv", [("a", "a.pt", "", "", "", "", "", "", "", "")])
    audit(catalog, tmp_path / "without", settings=WITHOUT)
    run = read_run(tmp_path / "without")
    first, last = end_layer(run, "a"), end_layer(run, "a", last=True)
    assert first is not None
    assert last is not None
    assert first.weight.tolist() == state["a.weight"].double().tolist()
    np.testing.assert_array_equal(last.weight, state["b.weight"][:28].double().numpy())
    assert (tmp_path / "without" / "dumps" / "a.h5").stat().st_size < 1 << 20


def test_a_group_in_memory_reads_like_one_of_a_file(tmp_path: Path) -> None:
    parameters = {"options": {"kernel": "3x3"}, "seed": 1}
    facts: dict[str, Any] = {
        "conv_depth": 1,
        "norm": np.float64(0.5),
        "flag": True,
        "stride": np.array([1, 2]),
        "text": "é",
    }
    arrays: dict[str, np.ndarray] = {
        "b/c": np.ones((2, 3, 3, 3), np.float32),
        "a": np.arange(6).reshape(2, 3).T,
        "": np.zeros((0, 2)),
    }
    memory = InMemoryGroup(tmp_path / "a.h5", parameters)
    with DumpWriter(tmp_path / "a.h5", {}) as dump:
        for group in (dump.lens("filters", parameters), memory):
            group.set_attributes(seconds=1.5)
            for name, array in arrays.items():
                group.write(name, array, compression="lzf", **facts)
            with pytest.raises(DumpError, match="already holds an array 'a'"):
                group.write("a", np.zeros(1))
            with pytest.raises(DumpError, match="plain numbers only"):
                group.write("d", np.array(["text"]))
    with DumpReader(tmp_path / "a.h5") as reader:
        file = reader.lens("filters")
        assert memory.names() == file.names() == list(arrays)
        assert memory.attributes == file.attributes
        assert memory.parameters == file.parameters == parameters
        for name, array in arrays.items():
            assert name in memory
            assert memory.attributes_of(name) == file.attributes_of(name)
            assert memory.shape(name) == file.shape(name) == array.shape
            np.testing.assert_array_equal(memory.read(name), file.read(name))
            ours, theirs = list(memory.batches(name, 2)), list(file.batches(name, 2))
            assert [part.tolist() for part in ours] == [part.tolist() for part in theirs]
    assert "x" not in memory
    with pytest.raises(DumpError, match="holds no array 'x'"):
        memory.read("x")


@pytest.mark.parametrize(
    "damage",
    [
        lambda table: table["texts"].write_direct(np.full(table["texts"].shape, 255, np.uint8)),
        lambda table: table.pop("value"),
        lambda table: table.move("value", "other"),
        lambda table: (table.pop("value"), table.create_dataset("value", data=np.zeros(1))),
        lambda table: (table.pop("value"), table.create_dataset("value", data=np.zeros(4, np.int8))),
        lambda table: table.parent.pop("table"),
        lambda table: table.parent.pop("summary"),
    ],
    ids=["bytes", "missing", "renamed", "short", "integers", "no table", "no summary"],
)
def test_damaged_scores_are_one_line_and_extracted_again(zoo: Path, tmp_path: Path, damage: Any) -> None:
    run = tmp_path / "run"
    audit(zoo, run, settings=WITHOUT)
    with h5py.File(run / "dumps" / "net0-robust.h5", "r+") as file:
        damage(file["scored/filters/table"])
    heard: list[Event] = []
    table = analyze(run, listener=heard.append, settings=WITHOUT)
    assert table["model_id"].nunique() == 5
    notes = [event.note for event in heard if event.note]
    assert len(notes) == 1
    assert "extract again" in notes[0]
    assert audit(zoo, run, settings=WITHOUT).reused == 5
    audit(zoo, tmp_path / "with")
    assert_same(run, tmp_path / "with")


def test_no_lens_can_be_called_as_the_place_of_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    from filterlens.lens import register

    class Point:
        name, value = "scored", "somebody:LENS"

        def load(self) -> register.Lens:
            return register.Lens(name="scored", extract="a:b", analyze="a:b")

    monkeypatch.setattr(register, "entry_points", lambda group: [Point()] if group.endswith("lenses") else [])
    with pytest.raises(FilterlensError, match="no lens may be called 'scored'"):
        register.all_lenses.__wrapped__()
