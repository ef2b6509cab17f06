"""The page's table of what the alias-free swap changes is the one that its rows give."""

from __future__ import annotations

from scripts import ROOT, load_script

swap = load_script("benchmarks/alias_free_swap.py")
ROWS = swap.read(ROOT / "docs" / "evidence" / "alias-free-swap.csv")


def test_the_page_shows_the_committed_rows() -> None:
    assert swap.table(ROWS) in (ROOT / "docs" / "lenses" / "downsampling.md").read_text(encoding="utf-8")


def test_every_network_has_every_filter_before_and_after_training() -> None:
    keys = [(row["model"], row["pooling"], row["epochs"]) for row in ROWS]
    assert len(keys) == len(set(keys))
    models = {model for model, _, _ in keys}
    assert set(keys) == {(m, p or "strided", e) for m in models for p in swap.POOLINGS for e in ("0", "2")}
    assert {model.split("-")[1] for model in models} == {"normal", "pgd"}


def test_the_swap_removes_aliasing_and_flc_all_but_the_nyquist_lines() -> None:
    for row in ROWS:
        most = {"strided": 1, "flc": 0.01, "ideal": 1e-5, "asap": 1e-5}[row["pooling"]]
        assert float(row["aliasing_relative"]) < most
        assert row["pooling"] != "strided" or float(row["aliasing_relative"]) > 0.1
