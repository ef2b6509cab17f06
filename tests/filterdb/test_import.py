"""`filterlens import filterdb`: a data set becomes a run, as a user meets it."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from filterlens.catalogs import read_catalog
from filterlens.cli.app import app
from filterlens.dumps import DumpReader
from filterlens.errors import CatalogError, FilterlensError, UnsafeCheckpointError
from filterlens.filterdb.database import FilterDatabase
from filterlens.filterdb.importing import database_catalog, read_pairs
from filterlens.runs.ledger import Ledger
from filterlens.score import read_scores

ROBUST, NORMAL, UNKNOWN = "Wang2020_cifar10_linf_13", "hso_Wang2020_normal_13", "Überzeugt_cifar100_13"


def run(*words: object) -> str:
    """Run a command that is to succeed, and return what it prints."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.csv"
    path.write_text(f",Robust,Normal,Arch,Dataset\n0,{ROBUST},{NORMAL},WRN-28-10,cifar10\n", encoding="utf-8")
    return path


def test_an_import_is_a_run_that_is_analysed_and_reported(published: Path, pairs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert "next: filterlens analyze" in run("import", "filterdb", published, "--pairs", pairs, "--out", folder)
    robust, normal, unknown = read_catalog(folder / "catalog.csv")
    assert (robust.model_id, robust.robust, robust.match, robust.match_rule) == (ROBUST, True, NORMAL, "exact")
    assert (robust.dataset, robust.architecture, robust.threat_model) == ("cifar10", "WRN-28-10", "Linf")
    assert (robust.clean_acc, robust.robust_acc, robust.paper) == (87.5, 56.29, "https://example.org/wang")
    assert (normal.robust, normal.threat_model) == (False, "")
    assert (unknown.robust, unknown.dataset, unknown.clean_acc) == (None, "", None)

    run("analyze", folder)
    scores = read_scores(folder / "scores.parquet")
    sparsity = scores[(scores["metric"] == "sparsity") & (scores["model_id"] == NORMAL)].set_index("layer")["value"]
    with h5py.File(published) as file:
        values = file["meta_sparsity/block0_values"][:, 1]  # layer_sparse_share
    np.testing.assert_allclose(sparsity[["layer0", "layer1", "layer2", "layer3"]], values[4:8])
    run("report", folder)
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert ROBUST in page
    assert UNKNOWN in page


def test_dumps_hold_the_filters_bit_for_bit(published: Path, filters: np.ndarray, tmp_path: Path) -> None:
    run("import", "filterdb", published, "--out", tmp_path / "run")
    entry = read_catalog(tmp_path / "run" / "catalog.csv")[ROBUST]
    with DumpReader(tmp_path / "run" / "dumps" / f"{entry.file_stem}.h5") as dump:
        group = dump.lens("filters")
        assert group.names() == ["layer3", "layer5", "layer9", "layer1"]
        assert group.read("layer5").dtype == np.float32
        np.testing.assert_array_equal(group.read("layer5").reshape(-1, 3, 3), filters[36:60])
        told = group.attributes_of("layer5")
    assert (told["conv_depth"], told["conv_depth_norm"], told["depth_from"]) == (1, 0.5, "source")


def test_a_second_import_keeps_what_is_done_and_a_changed_file_is_read_again(published: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run("import", "filterdb", published, "--out", folder, "--models", "Wang*")
    before = (folder / "dumps" / f"{ROBUST}.h5").stat().st_mtime_ns
    run("import", "filterdb", published, "--out", folder)
    assert (folder / "dumps" / f"{ROBUST}.h5").stat().st_mtime_ns == before
    assert len(Ledger(folder / "ledger.jsonl").latest()) == 3
    with h5py.File(published, "a") as file:
        file["filters"][0] = 7.0
    run("import", "filterdb", published, "--out", folder)
    with DumpReader(folder / "dumps" / f"{ROBUST}.h5") as dump:
        assert (dump.lens("filters").read("layer3")[0, 0] == 7.0).all()


def test_one_models_damage_costs_that_model_only(published: Path, tmp_path: Path) -> None:
    """Filters that are not finite are one model's own; the others are scored."""
    with h5py.File(published, "a") as file:
        file["filters"][60] = np.nan
    run("import", "filterdb", published, "--out", tmp_path / "run")
    run("analyze", tmp_path / "run")
    scores = read_scores(tmp_path / "run" / "scores.parquet")
    entropy = scores[scores["metric"] == "variance_entropy"].groupby("model_id")["value"]
    assert entropy.apply(lambda values: values.isna().sum()).to_dict() == {ROBUST: 1, NORMAL: 0, UNKNOWN: 0}


def test_a_pickle_that_would_run_code_is_refused_in_one_line(published: Path, tmp_path: Path) -> None:
    import os
    import pickle

    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return os.system, (f"touch {tmp_path / 'canary'}",)

    with h5py.File(published, "a") as file:
        file["meta/block3_values"][0] = np.frombuffer(pickle.dumps(Evil()), dtype=np.uint8)
    result = CliRunner().invoke(app, ["import", "filterdb", str(published), "--out", str(tmp_path / "run")])
    assert type(result.exception) is UnsafeCheckpointError
    assert "posix.system" in str(result.exception)
    assert not (tmp_path / "canary").exists()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Robust\na\n", "needs the columns Robust and Normal"),
        ("Robust,Normal\na,\n", "line 2: a pair names two models"),
        ("Robust,Normal\na,b\na,c\n", "line 3: 'a' already has a normal model"),
        ('Robust,Normal\n"a,b\n', "is not valid CSV"),
    ],
)
def test_a_wrong_table_of_pairs_is_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "pairs.csv").write_text(text, encoding="utf-8")
    with pytest.raises(CatalogError, match=said):
        read_pairs(tmp_path / "pairs.csv")


def test_a_pair_of_strangers_is_refused(published: Path) -> None:
    with pytest.raises(CatalogError, match=r"--pairs names 'stranger', which .* does not hold; it holds Wang2020"):
        database_catalog(published, {ROBUST: "stranger"})


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1), noise=st.binary(min_size=1, max_size=64))
def test_damaged_files_meet_errors_of_ours_only(published: Path, tmp_path: Path, place: float, noise: bytes) -> None:
    data = bytearray(published.read_bytes())
    start = int(place * (len(data) - len(noise)))
    data[start : start + len(noise)] = noise
    damaged = tmp_path / "damaged.h5"
    damaged.write_bytes(data)
    try:
        with FilterDatabase(damaged) as database:
            for model in database.models:
                for layer in model.layers:
                    database.weight(layer)
    except FilterlensError:
        return
