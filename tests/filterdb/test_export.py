"""`filterlens export filterdb`: runs as data sets that their authors' code reads."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from filterlens.catalogs import Catalog, Entry
from filterlens.cli.app import app
from filterlens.dumps import DumpReader
from filterlens.errors import CatalogError, DumpError
from filterlens.filterdb.database import FilterDatabase
from filterlens.filterdb.exporting import export_run
from filterlens.filterdb.frames import read_frame
from filterlens.runs import analyze, extract

WIDTHS = [(3, 8), (8, 8), (8, 16)]


def run(*words: object) -> str:
    """Run a command that is to succeed, and return what it prints."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run of two models, one with Unicode in its name and a 5x5 convolution, and one without filters."""
    generator = torch.Generator().manual_seed(0)
    entries = []
    for name, kernel in (("größe", 3), ("plain", 3), ("tokens", 1)):
        weights = {
            f"features.{i}.weight": torch.randn(o, c, kernel, kernel, generator=generator)
            for i, (c, o) in enumerate(WIDTHS)
        }
        if name == "größe":
            weights["features.0.weight"] = torch.randn(8, 3, 5, 5, generator=generator)
            weights["features.1.weight"][0] *= 1e-5
        torch.save(weights, tmp_path / f"{name}.pt")
        entries.append(Entry(model_id=name, source=f"{name}.pt", robust=name == "plain", clean_acc=90.0))
    run_folder = tmp_path / "run"
    extract(Catalog("zoo", tuple(entries), tmp_path), run_folder)
    analyze(run_folder)
    return run_folder


def frame(path: Path, key: str) -> pd.DataFrame:
    with h5py.File(path) as file:
        return read_frame(file[key], key)


def test_an_export_keeps_every_filter_and_counts_them_from_first_to_last_included(folder: Path, tmp_path: Path) -> None:
    exported = export_run(folder, tmp_path / "out.h5")
    n = [8 * 8 + 8 * 16, 3 * 8 + 8 * 8 + 8 * 16]
    assert (exported.n_filters, exported.n_models) == (sum(n), 2)
    assert exported.left_out == {"tokens": "it has no dump"}
    meta = frame(tmp_path / "out.h5", "meta")
    assert meta["filter_ids"].tolist() == ["0:63", "64:191", "192:215", "216:279", "280:407"]
    assert list(meta.index.get_level_values("conv_depth")) == [1, 2, 0, 1, 2]  # the 5x5 convolution keeps its place
    assert meta["Robust"].tolist() == [False, False, True, True, True]
    assert meta["model"].tolist()[0] == "größe"
    assert meta["depth"].tolist() == [3] * 5
    with h5py.File(tmp_path / "out.h5") as file, DumpReader(folder / "dumps" / "plain.h5") as dump:
        assert file["filters"].shape == (sum(n), 3, 3)
        assert not file["filters"].attrs
        stored = np.concatenate([dump.lens("filters").read(name).reshape(-1, 3, 3) for name in ("features.0",)])
        np.testing.assert_array_equal(file["filters"][192:216], stored)


def test_sparse_filters_and_scores_stand_beside_in_the_same_order(folder: Path, tmp_path: Path) -> None:
    export_run(folder, tmp_path / "out.h5")
    sparsity = frame(tmp_path / "out.h5", "meta_sparsity")
    assert sparsity["layer_sparse_filters"].tolist() == [8, 0, 0, 0, 0]
    assert sparsity["layer_sparse_share"].tolist()[0] == 8 / 64
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["sparse_filter_ids"][()].tolist() == list(range(8))
        top = np.abs(file["filters"][:64]).max()
    assert sparsity["layer_norm"].iloc[0] == pytest.approx(top)
    for key, column in (("meta_ortho", "ortho"), ("meta_pca", "entropy")):
        scores = frame(tmp_path / "out.h5", key)
        assert list(scores.columns) == [column]
        assert scores[column].notna().all()
        assert scores.index.equals(sparsity.index)


def test_a_run_that_comes_back_has_the_same_scores(folder: Path, tmp_path: Path) -> None:
    run("export", "filterdb", folder, "--out", tmp_path / "out.h5")
    run("import", "filterdb", tmp_path / "out.h5", "--out", tmp_path / "again")
    before, after = analyze(folder), analyze(tmp_path / "again")
    before = before[(before["kind"] == "3x3") & before["model_id"].isin(after["model_id"])]
    columns = ["model_id", "metric", "value", "conv_depth", "conv_depth_norm"]
    pd.testing.assert_frame_equal(
        before[columns].reset_index(drop=True), after[columns].reset_index(drop=True), check_exact=True
    )


def test_a_data_set_that_is_imported_and_exported_is_the_same(published: Path, tmp_path: Path) -> None:
    run("import", "filterdb", published, "--out", tmp_path / "run")
    run("export", "filterdb", tmp_path / "run", "--out", tmp_path / "out.h5")
    with FilterDatabase(published) as before, FilterDatabase(tmp_path / "out.h5") as after:
        for old, new in zip(before.models, after.models, strict=True):
            assert old.name == new.name
            for name in ("Robust", "Clean Accuracy", "Robust Accuracy", "Network", "Training-Dataset", "Paper"):
                assert old.facts.get(name) == new.facts.get(name), name
            for a, b in zip(old.layers, new.layers, strict=True):
                assert (a.layer_id, a.conv_depth, a.conv_depth_norm) == (b.layer_id, b.conv_depth, b.conv_depth_norm)
                np.testing.assert_array_equal(before.weight(a), after.weight(b))
    theirs, ours = (frame(path, "meta_sparsity") for path in (published, tmp_path / "out.h5"))
    pd.testing.assert_frame_equal(theirs.sort_index(), ours.sort_index(), check_exact=False)


def test_a_damaged_dump_is_left_out_and_named(folder: Path, tmp_path: Path) -> None:
    (folder / "dumps" / "plain.h5").write_bytes(b"no dump")
    output = run("export", "filterdb", folder, "--out", tmp_path / "out.h5")
    assert "192 filters of 1 models" in output
    assert "left out: plain (" in output


def test_nothing_to_export_is_an_error_and_leaves_no_file(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"is not a run's folder: it has no catalog\.csv"):
        export_run(tmp_path / "nowhere", tmp_path / "out.h5")
    for dump in (folder / "dumps").glob("*.h5"):
        dump.unlink()
    with pytest.raises(DumpError, match="has 3x3 filters: extract them with the filters lens first"):
        export_run(folder, tmp_path / "out.h5")
    assert not list(tmp_path.glob("*out.h5*"))


READS = """
import sys, warnings
warnings.simplefilter("ignore")
import numpy as np, pandas as pd
meta = pd.read_hdf(sys.argv[1], "meta").reset_index()
parts = [pd.read_hdf(sys.argv[1], key) for key in ("meta", "meta_sparsity", "meta_ortho", "meta_pca")]
whole = pd.concat(parts, axis=1)
first, last = map(int, meta["filter_ids"].iloc[-1].split(":"))
print(pd.__version__, len(whole), last + 1, meta["model"].iloc[0], whole["Robust"].apply(bool).sum())
"""


def test_pandas_reads_an_export(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("tables", reason="pandas reads HDF5 with PyTables")
    export_run(folder, tmp_path / "out.h5")
    command = [sys.executable, "-c", READS, str(tmp_path / "out.h5")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, encoding="utf-8")
    assert done.stdout.split()[1:] == ["5", "408", "größe", "3"]


@pytest.mark.slow
def test_pandas_of_the_papers_time_reads_an_export(folder: Path, tmp_path: Path) -> None:
    if sys.version_info >= (3, 12):
        pytest.skip("pandas 1.5.3 needs Python 3.11 or older")
    export_run(folder, tmp_path / "out.h5")
    venv.create(tmp_path / "old", with_pip=True)
    python = tmp_path / "old" / "bin" / "python"
    packages = ["pandas==1.5.3", "numpy<2", "tables<3.11"]
    subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True, capture_output=True)
    command: list[str | Path] = [python, "-c", READS, str(tmp_path / "out.h5")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, encoding="utf-8")
    assert done.stdout.split() == ["1.5.3", "5", "408", "größe", "3"]
