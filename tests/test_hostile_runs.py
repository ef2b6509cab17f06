"""Run folders that are damaged, odd or were sent by others: what can be made anew is, one model costs itself only."""

from __future__ import annotations

import os
import random
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from damage import FILES, copy_of, make_finished_run, mutate, mutate_lines, visit
from small_zoo import make_zoo
from typer.testing import CliRunner

from filterlens.catalogs import load_catalog
from filterlens.cli.app import app
from filterlens.commands.notebook import Run
from filterlens.commands.scoring import score_source
from filterlens.dumps import DumpWriter
from filterlens.errors import FilterlensError, ReportError, UnsafeFolderError
from filterlens.lens import OpenGroup
from filterlens.report.write import write_report
from filterlens.runs import Event, analyze, extract
from filterlens.runs.executors import Executor, InProcess, LocalProcesses
from filterlens.runs.ledger import Ledger
from filterlens.score import read_scores

N_FUZZ = int(os.environ.get("FILTERLENS_FUZZ", "1"))  # cases a file


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_finished_run(tmp_path_factory.mktemp("finished"))


@pytest.fixture(autouse=True)
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures take most of a report's time and have tests of their own."""
    monkeypatch.setattr(import_module("filterlens.commands.report"), "all_figures", list)


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return copy_of(finished, tmp_path / "run")


def audit(finished: Path, run: Path, *more: str) -> tuple[int, str]:
    catalog = finished.parent / "zoo" / "zoo.csv"
    done = CliRunner().invoke(app, ["audit", "-l", str(catalog), "--out", str(run), *more], catch_exceptions=False)
    return done.exit_code, done.output


def flip_data(dump: Path, layer: str) -> None:
    with h5py.File(dump) as file:
        offset = file["filters"][layer].id.get_chunk_info(0).byte_offset
    content = bytearray(dump.read_bytes())
    content[offset + 5] ^= 0xFF
    dump.write_bytes(content)


# --- the same command twice ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("executor", [InProcess(), LocalProcesses(2)], ids=["in-process", "processes"])
def test_a_finished_extraction_is_kept_by_every_executor(tmp_path: Path, executor: Executor) -> None:
    catalog = load_catalog(make_zoo(tmp_path / "zoo", pairs=1))
    assert extract(catalog, tmp_path / "run", executor=executor).reused == 0
    assert extract(catalog, tmp_path / "run", executor=executor).reused == 2


@pytest.mark.parametrize(("command", "jobs"), [("audit", "2"), ("extract", "1")])
def test_the_same_command_twice_ends_well_twice(finished: Path, run: Path, command: str, jobs: str) -> None:
    catalog = finished.parent / "zoo" / "zoo.csv"
    args = [command, "-l", str(catalog), "--out", str(run), "--jobs", jobs]
    for _ in range(2):
        assert CliRunner().invoke(app, args, catch_exceptions=False).exit_code == 0


@pytest.mark.parametrize("command", ["analyze", "report"])
def test_later_steps_run_twice(run: Path, command: str) -> None:
    for _ in range(2):
        assert CliRunner().invoke(app, [command, str(run)], catch_exceptions=False).exit_code == 0


# --- damage heals -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["cut", "data", "gone", "no HDF5"])
def test_a_damaged_dump_is_a_failed_model_until_an_audit_extracts_it_again(
    finished: Path, run: Path, damage: str
) -> None:
    dump = run / "dumps" / "net0-robust.h5"
    if damage == "cut":
        dump.write_bytes(dump.read_bytes()[:3000])
    elif damage == "data":
        flip_data(dump, "stem")
    elif damage == "gone":
        dump.unlink()
    else:
        dump.write_bytes(b"quota exceeded")
    done = CliRunner().invoke(app, ["analyze", str(run)], catch_exceptions=False)
    assert done.exit_code == 1
    assert "failed net0-robust" in done.output
    assert "extract" in done.output
    assert set(read_scores(run / "scores.parquet")["model_id"]) == {"net0-normal"}
    assert "net0-robust" in write_report(run).read_text().split("Failures and gaps")[-1]
    code, said = audit(finished, run)
    assert code == 0, said
    pd.testing.assert_frame_equal(read_scores(run / "scores.parquet"), read_scores(finished / "scores.parquet"))
    assert Ledger(run / "ledger.jsonl").latest()["net0-robust", "filters"].status == "ok"


@pytest.mark.parametrize("damage", ["cut", "data"])
def test_one_audit_heals_a_damaged_dump_by_itself(finished: Path, run: Path, damage: str) -> None:
    dump = run / "dumps" / "net0-robust.h5"
    if damage == "cut":
        dump.write_bytes(dump.read_bytes()[:3000])
    else:
        flip_data(dump, "block.conv")
    code, said = audit(finished, run)
    assert code == 0, said
    pd.testing.assert_frame_equal(read_scores(run / "scores.parquet"), read_scores(finished / "scores.parquet"))


@pytest.mark.parametrize("name", ["pooled.h5", "scores.parquet", "analysis.json", "report.json", "ledger.jsonl"])
@pytest.mark.parametrize(
    "content", [b"", b"[" * 9999, b'{"files": 3, "a": {"b": [1]}}\n'], ids=["empty", "deep", "types"]
)
def test_what_can_be_made_anew_is_made_anew(finished: Path, run: Path, name: str, content: bytes) -> None:
    (run / name).write_bytes(content)
    heard: list[Event] = []
    extract(load_catalog(finished.parent / "zoo" / "zoo.csv"), run)
    analyze(run, reuse=True, listener=heard.append)
    write_report(run)
    pd.testing.assert_frame_equal(read_scores(run / "scores.parquet"), read_scores(finished / "scores.parquet"))
    said = " ".join(event.note for event in heard)
    assert (f"{name} is" in said and "made anew" in said) == (name in {"pooled.h5", "scores.parquet"})


@pytest.mark.parametrize("content", [b"\xff\xfe\0\0", b"\x1b[2Jprocess", b""])
def test_rubbish_in_the_lock_files_is_no_obstacle(run: Path, content: bytes) -> None:
    (run / ".lock").write_bytes(content)
    (run / ".holder").write_bytes(content)
    assert len(analyze(run))


# --- one odd model costs itself only ------------------------------------------------------------------------------


def odd_layers() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    normal = rng.normal(size=(8, 4, 3, 3)).astype("f4")
    with np.errstate(over="ignore"):
        return {
            "no inputs": np.zeros((4, 0, 3, 3), "f4"),
            "no outputs": np.zeros((0, 4, 3, 3), "f4"),
            "empty kernel": np.zeros((4, 4, 1, 0), "f4"),
            "denormal": (normal * 1e-40).astype("f4"),
            "smallest": np.full((4, 4, 3, 3), 1.4e-45, "f4"),
            "half denormal": np.concatenate([normal * 1e-39, normal]).astype("f4"),
            "huge": (normal / 9 * 3e38).astype("f4"),
            "one huge": np.concatenate([normal[:1] * 1e38 / 9, normal]).astype("f4"),
            "largest": np.full((4, 4, 3, 3), np.finfo("f4").max),
            "float64 huge": normal.astype("f8") * 1e300,
            "float64 tiny": normal.astype("f8") * 1e-310,
            "float16 largest": np.full((4, 4, 3, 3), 65504, "f2"),
            "float16 infinite": (normal * 65504).astype("f2"),
            "zeros": np.zeros((4, 4, 3, 3), "f4"),
            "negative zeros": -np.zeros((4, 4, 3, 3), "f4"),
            "constant": np.ones((4, 4, 3, 3), "f4"),
            "nearly constant": (1 + normal * 1e-7).astype("f4"),
            "NaN": np.full((4, 4, 3, 3), np.nan, "f4"),
            "one NaN": np.where(np.arange(9).reshape(3, 3) == 4, np.nan, normal).astype("f4"),
            "infinite": np.full((4, 4, 3, 3), -np.inf, "f4"),
            "one filter": normal[:1, :1],
            "one output": normal[:1],
            "two equal": normal[[0, 0], :1],
            "scalar": np.float32(1),
            "vector": np.ones(9, "f4"),
            "five axes": np.ones((2, 2, 3, 3, 3), "f4"),
            "integers": np.ones((4, 4, 3, 3), "i8"),
            "booleans": np.ones((4, 4, 3, 3), bool),
            "large kernel": np.ones((1, 1, 70, 70), "f4"),
            "one by one": normal[:, :, :1, :1],
            "escape \x1b[2J": normal,
            "<script>alert(1)</script>": normal,
            "/": normal,
            "": normal,
        }


def add_model(run: Path, name: str, layer: str, weight: np.ndarray, **attributes: object) -> None:
    """Add a model with a good and an odd layer, as a run folder that was sent may hold it."""
    catalog = (run / "catalog.csv").read_text().splitlines()
    columns = catalog[0].split(",")
    row = ["" if column not in {"model_id", "source"} else name for column in columns]
    (run / "catalog.csv").write_text("\n".join([*catalog, ",".join(row)]) + "\n")
    good = np.random.default_rng(1).normal(size=(8, 4, 3, 3)).astype("f4")
    with DumpWriter(run / "dumps" / f"{name}.h5", {"model_id": name}) as dump:
        group = dump.lens("filters", {})
        group.write("good", good, conv_depth=0, conv_depth_norm=0.0)
        group.write(layer, weight, **({"conv_depth": 1, "conv_depth_norm": 1.0} | attributes))  # type: ignore[arg-type]


def test_thirty_odd_layers_leave_every_other_score_as_it_is(finished: Path, run: Path) -> None:
    for number, (layer, weight) in enumerate(odd_layers().items()):
        add_model(run, f"odd{number}", layer, weight)
    add_model(run, "no-depth", "c", np.ones((2, 2, 3, 3), "f4"), conv_depth="deep", conv_depth_norm=[1, 2])
    heard: list[Event] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scores = analyze(run, listener=heard.append)
    failed = [row for event in heard for row in event.rows]
    assert {row.model_id for row in failed} == {"no-depth"}
    assert "layer c" in failed[0].reason
    good = scores[scores["model_id"].isin(["net0-robust", "net0-normal"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(good, read_scores(finished / "scores.parquet"), check_exact=True)
    odd = scores[scores["layer"].isin(odd_layers()) & ~scores["layer"].isin(["good"])]
    without = odd[odd["metric"].eq("sparsity") & odd["value"].isna()]
    assert without["note"].str.startswith("skipped: ").all()
    assert {"no inputs", "denormal", "NaN", "large kernel", "vector"} <= set(without["layer"])
    assert not np.isinf(scores["value"]).any()
    page = write_report(run).read_text()
    assert "no-depth" in page.split("Failures and gaps")[-1]
    assert page.count("<script>") == 1


def test_one_model_that_cannot_be_pooled_leaves_the_pool_of_the_others(
    finished: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from filterlens.lenses.filters import distribution

    whole = distribution._filters

    def poisoned(opened: OpenGroup, kernel: tuple[int, int]) -> object:
        with opened() as group:
            if group.path.stem == "net0-robust":
                raise ZeroDivisionError("poison")
        return whole(opened, kernel)

    monkeypatch.setattr(distribution, "_filters", poisoned)
    heard: list[Event] = []
    scores = analyze(run, listener=heard.append)
    assert [(row.model_id, row.lens) for event in heard for row in event.rows] == [("net0-robust", "filters")]
    pd.testing.assert_frame_equal(scores, read_scores(finished / "scores.parquet"), check_exact=True)
    with h5py.File(run / "pooled.h5") as file:
        assert file["filters"].attrs["kernel"] == "3x3"


def test_layers_named_alike_and_models_of_one_layer_are_scored(tmp_path: Path) -> None:
    zoo = make_zoo(tmp_path / "zoo", pairs=1)
    state = {"a.weight": torch.randn(4, 3, 3, 3), "a.b.weight": torch.randn(4, 3, 3, 3), "a/b.weight": torch.ones(1)}
    torch.save(state, zoo.parent / "net0-robust.pt")
    extract(load_catalog(zoo), tmp_path / "run")
    assert set(analyze(tmp_path / "run")["model_id"]) == {"net0-robust", "net0-normal"}


# --- links --------------------------------------------------------------------------------------------------------

LINKS = (
    ".holder .lock ledger.jsonl catalog.csv scores.parquet pooled.h5 analysis.json report.json index.html "
    "dumps/net0-robust.h5 tables/models.csv tables figures dumps .x.tmp"
)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((name, "link") for name in LINKS.split()),
        *((n, k) for n in ("ledger.jsonl", "tables") for k in ("dangling", "fifo")),
    ],
)
def test_links_and_pipes_in_a_run_folder_are_named_and_neither_written_nor_read(
    finished: Path, run: Path, tmp_path: Path, name: str, kind: str
) -> None:
    outside = tmp_path / "outside"
    place = run / name
    if place.is_dir() or place.exists():
        place.rename(outside)
    else:
        outside.write_text("mine")
    if kind == "link":
        place.symlink_to(outside)
    elif kind == "dangling":
        place.symlink_to(tmp_path / "nowhere")
    else:
        os.mkfifo(place)
    before = {path: path.read_bytes() for path in [outside, *outside.rglob("*")] if path.is_file()}
    steps = (
        lambda: analyze(run),
        lambda: write_report(run),
        lambda: Run(run),
        lambda: score_source(run),
        lambda: extract(load_catalog(finished.parent / "zoo" / "zoo.csv"), run),
    )
    for step in steps:
        with pytest.raises(FilterlensError) as caught:
            step()
        if isinstance(caught.value, UnsafeFolderError):
            assert f"{place} is a" in str(caught.value)
    assert {path: path.read_bytes() for path in before} == before
    assert not (tmp_path / "nowhere").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outside", "run"]


def test_a_ledger_with_a_second_name_elsewhere_is_not_appended_to(finished: Path, run: Path, tmp_path: Path) -> None:
    os.link(run / "ledger.jsonl", tmp_path / "other")
    with pytest.raises(UnsafeFolderError, match=r"ledger\.jsonl is a hard link"):
        analyze(run)


def test_a_run_folder_that_is_itself_a_link_is_fine(run: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(run)
    assert len(analyze(tmp_path / "alias"))
    assert write_report(tmp_path / "alias").is_file()


# --- sizes --------------------------------------------------------------------------------------------------------


def test_a_ledger_line_without_end_is_passed_over(run: Path) -> None:
    before = Ledger(run / "ledger.jsonl").latest()
    with (run / "ledger.jsonl").open("ab") as file:
        file.write(b'{"model_id": "' + b"x" * (9 << 20) + b'"}\n')
    assert Ledger(run / "ledger.jsonl").latest() == before


def test_a_table_that_unpacks_to_far_more_than_its_file_is_refused(run: Path) -> None:
    scores = read_scores(run / "scores.parquet")
    many = scores.iloc[np.zeros(1_200_000, int)]
    many.to_parquet(run / "scores.parquet", index=False)
    with pytest.raises(ReportError, match=r"declares 1200000 rows .* run `filterlens analyze` again"):
        read_scores(run / "scores.parquet")
    scores.to_parquet(run / "scores.parquet", index=False, compression="zstd")
    with pytest.raises(ReportError, match="packed by ZSTD"):
        read_scores(run / "scores.parquet")


# --- whatever is changed ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("seed", range(N_FUZZ))
def test_whatever_is_changed_only_errors_of_ours_come_out(finished: Path, run: Path, name: str, seed: int) -> None:
    rng = random.Random(f"{name} {seed}")
    content = (run / name).read_bytes()
    (run / name).write_bytes((mutate_lines if name == "ledger.jsonl" and seed % 2 else mutate)(content, rng))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        visit(run, name)
