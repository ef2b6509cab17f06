"""The ledger is append-only and survives a torn last line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from filterlens.errors import WriteError
from filterlens.runs.ledger import Ledger, LedgerRow


def test_the_latest_line_of_a_job_counts(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.append([LedgerRow("a", "filters", "failed", "no network"), LedgerRow("b", "filters", "ok")])
    ledger.append([LedgerRow("a", "filters", "ok")])
    assert {key: row.status for key, row in ledger.latest().items()} == {("a", "filters"): "ok", ("b", "filters"): "ok"}
    assert len(ledger.path.read_text().splitlines()) == 3


@given(cut=st.integers(min_value=1, max_value=120))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_torn_last_line_costs_only_itself(tmp_path: Path, cut: int) -> None:
    ledger = Ledger(tmp_path / f"{cut}.jsonl")
    ledger.path.unlink(missing_ok=True)
    ledger.append([LedgerRow("first", "filters", "ok")])
    whole = ledger.path.read_bytes()
    ledger.append([LedgerRow("second", "filters", "ok")])
    torn = ledger.path.read_bytes()[: len(whole) + cut]
    ledger.path.write_bytes(torn)
    ledger.append([LedgerRow("third", "filters", "ok")])
    models = {model for model, _ in ledger.latest()}
    assert {"first", "third"} <= models
    assert models <= {"first", "second", "third"}


def test_lines_that_are_not_ours_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(b'[1]\nnull\n{"model_id": 3}\n\xff\xfe\n{"model_id":"a","lens":"filters","status":"ok","new":1}\n')
    assert list(Ledger(path).latest()) == [("a", "filters")]


def test_a_folder_in_the_ledgers_place_is_said_plainly(tmp_path: Path) -> None:
    (tmp_path / "ledger.jsonl").mkdir()
    with pytest.raises(WriteError, match=r"ledger\.jsonl could not be written"):
        Ledger(tmp_path / "ledger.jsonl").append([LedgerRow("a", "filters", "ok")])
