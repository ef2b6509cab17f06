"""The same weights under several names count once: in every table and figure, by one rule, and named there."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from small_zoo import FIELDS, make_zoo, weights, write_catalog

import filterlens
from filterlens.catalogs import Entry, distinct_models
from filterlens.lenses.filters.pooled import read_filter_pool
from filterlens.loaders.examine import examine_weights
from filterlens.report import read_run, robust_vs_normal
from filterlens.report.tables import report_tables
from filterlens.runs.ledger import Ledger

NOTE = (
    "1 model has the same weights as net0-robust (robust again); 1 model has the same weights as net0-normal "
    "(normal again), and are counted once."
)


def entries(*rows: tuple[str, str]) -> list[Entry]:
    return [Entry(model_id=name, source=f"{name}.pt", robust=bool(match), match=match) for name, match in rows]


def test_a_match_follows_what_stands_for_it() -> None:
    listed = entries(("r", "n again"), ("r again", "n"), ("n", ""), ("n again", ""), ("other", ""))
    found = distinct_models(listed, {"r": "1", "r again": "1", "n": "2", "n again": "2", "other": ""})
    assert [(entry.model_id, entry.match) for entry in found.entries] == [("r", "n"), ("n", ""), ("other", "")]
    assert found.stand_ins == {"r again": "r", "n again": "n"}


def test_models_without_a_digest_stand_for_themselves() -> None:
    listed = entries(("a", ""), ("b", ""))
    assert distinct_models(listed, {}).stand_ins == distinct_models(listed, {"a": "", "b": ""}).stand_ins == {}
    assert distinct_models(listed, {}).note == ""


def test_a_model_is_no_partner_of_its_own_weights() -> None:
    (kept,) = distinct_models(entries(("r", "n"), ("n", "")), {"r": "1", "n": "1"}).entries
    assert kept.match == ""


def test_the_one_of_which_most_is_known_stands_for_the_others() -> None:
    found = distinct_models(entries(("a", ""), ("b", ""), ("c", "")), dict.fromkeys("abc", "1"), {"b": 3, "c": 3})
    assert found.stand_ins == {"a": "b", "c": "b"}
    assert found.note == "2 models have the same weights as b (a, c), and are counted once."


def test_the_digest_is_of_the_weights_not_of_names_or_files(tmp_path: Path) -> None:
    state = weights(0)
    digest = examine_weights(state).digest
    assert (
        examine_weights({f"module.{name}": tensor.clone() for name, tensor in reversed(state.items())}).digest == digest
    )
    assert examine_weights(state | {"steps": torch.tensor(7)}).digest == digest
    changed = weights(0)
    changed["head.weight"][0, 0] += 1e-6
    assert examine_weights(changed).digest != digest
    assert (
        examine_weights({"a": state["stem.weight"].flatten()}).digest
        != examine_weights({"a": state["stem.weight"]}).digest
    )
    assert examine_weights({}).digest == ""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pairs, of the first of which both sides are there twice: in another container, and under other names."""
    folder = tmp_path_factory.mktemp("zoo")
    path = make_zoo(folder)
    with path.open(encoding="utf-8") as file:
        rows: list[tuple[object, ...]] = [tuple(row[name] for name in FIELDS) for row in csv.DictReader(file)]
    save_file({f"module.{name}": tensor for name, tensor in weights(1).items()}, folder / "robust-again.safetensors")
    (folder / "normal-again.pt").write_bytes((folder / "net0-normal.pt").read_bytes())
    facts = ("cifar10", "Linf", "8/255", "tiny")
    rows.append(("robust again", "robust-again.safetensors", *facts, "true", "normal again", 90, 50))
    rows.append(("normal again", "normal-again.pt", *facts, "false", "", 90, ""))
    out = folder / "run"
    filterlens.audit(write_catalog(path, rows), out)
    return out


def test_duplicates_count_once_in_every_table(run: Path) -> None:
    data = read_run(run)
    assert data.duplicates == NOTE
    compared = robust_vs_normal(data)
    assert set(compared["n_pairs"]) == {2}
    assert set(compared["n_normal"]) == {2}
    for table in report_tables(data):
        if table.name != "failures":
            assert table.notes.endswith(NOTE), table.name
            named = {
                str(value)
                for column in ("model_id", "robust", "normal")
                if column in table.frame
                for value in table.frame[column]
            }
            assert not named & {"robust again", "normal again"}, table.name


def test_duplicates_count_once_in_every_figure(run: Path) -> None:
    captions = {path.stem: path.read_text(encoding="utf-8") for path in (run / "figures").glob("*.txt")}
    assert {"filters_depth", "filters_shift_models", "filters_bases", "filters_ridge"} <= set(captions)
    assert all(text.rstrip().endswith(NOTE) for text in captions.values())
    for path in (run / "figures").glob("*.csv"):
        table = pd.read_csv(path)
        named = {str(value) for column in ("model_id", "other_id") if column in table for value in table[column]}
        assert not named & {"robust again", "normal again"}, path.name


def test_the_shift_matrix_holds_the_models_of_the_pair_table(run: Path) -> None:
    data = read_run(run)
    pool = read_filter_pool(data)
    assert pool is not None
    names = ["net0-robust", "net0-normal", "net1-robust", "net1-normal"]
    assert [model["model_id"] for model in pool.models] == names == list(data.models.index)
    assert pool.group("robust") is not None
    assert [group["n_models"] for group in pool.groups[:3]] == [4, 2, 2]
    assert (pool.arrays["shift_models"] + np.eye(4) > 0).all()
    page = (run / "index.html").read_text(encoding="utf-8")
    assert NOTE in page
    assert "4 models on cifar10" in page


def test_every_job_stays_in_the_ledger_and_every_model_in_the_run(run: Path) -> None:
    assert len({row.model_id for row in Ledger(run / "ledger.jsonl").latest().values()}) == 6
    assert len(read_run(run, every=True).models) == 6
    assert filterlens.compare(run, run)["model"].nunique() == 6


def test_a_run_without_duplicates_says_nothing_of_them(tmp_path: Path) -> None:
    filterlens.extract(make_zoo(tmp_path / "zoo"), tmp_path / "run")
    filterlens.analyze(tmp_path / "run")
    data = read_run(tmp_path / "run")
    assert data.duplicates == ""
    assert len(data.models) == 4
