"""The tables of docs/monitors.md come out of the committed curves, and the defaults do on them what pages say."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
from scripts import load_script

from filterlens.training import CollapseStopping, EarlyStopping

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "monitors.md").read_text(encoding="utf-8")


def said(page: str) -> str:
    return " ".join((ROOT / page).read_text(encoding="utf-8").split())


@pytest.fixture(scope="module")
def judged() -> ModuleType:
    return load_script("benchmarks/collapse_table.py")


@pytest.fixture(scope="module")
def curves(judged: ModuleType) -> pd.DataFrame:
    return pd.read_csv(judged.CURVES)


@pytest.fixture(scope="module")
def held_out(judged: ModuleType) -> pd.DataFrame:
    return pd.read_csv(judged.HELD_OUT)


def test_the_table_of_the_page_is_what_the_curves_give(judged: ModuleType, curves: pd.DataFrame) -> None:
    assert judged.table(curves) in PAGE, "run `python benchmarks/collapse_table.py`"


def test_a_collapse_is_a_lasting_loss_of_half_of_the_robust_accuracy(judged: ModuleType) -> None:
    assert judged.collapse_epoch([0.1, 0.2, 0.3, 0.1, 0.12, 0.05]) == 3
    assert judged.collapse_epoch([0.1, 0.2, 0.3, 0.1, 0.3, 0.3]) is None  # it came back
    assert judged.collapse_epoch([0.1, 0.02, 0.0, 0.0]) is None  # a normal training was never robust


def test_every_recipe_and_architecture_is_there_whole(curves: pd.DataFrame) -> None:
    assert {"normal", "pgd", "trades", "free", "fgsm"} <= set(curves["recipe"])
    assert curves["architecture"].nunique() == 3
    assert curves.groupby("training")["epoch"].agg(list).map(lambda epochs: epochs == list(range(12))).all()


def test_the_table_of_held_out_trainings_is_what_their_curves_give(
    judged: ModuleType, curves: pd.DataFrame, held_out: pd.DataFrame
) -> None:
    assert judged.held_out_table(held_out, curves) in PAGE, "run `python benchmarks/collapse_table.py`"
    assert f"{held_out['training'].nunique()} whole trainings of FONTS networks with other seeds" in said(
        "docs/monitors.md"
    )
    assert held_out["architecture"].nunique() == 4
    plans = load_script("benchmarks/collapse.py")
    first, others = plans.plans(), plans.held_out_plans()
    assert set(held_out["training"]) <= set(others)
    assert not {plan.seed for plan in first.values()} & {plan.seed for plan in others.values()}


def test_the_defaults_of_the_tables_are_those_of_the_rules(judged: ModuleType) -> None:
    fallen, jumped = CollapseStopping(judged.batch_labels(64)), EarlyStopping()
    assert (fallen.patience, 1 - fallen.share) == pytest.approx(judged.COLLAPSE_DEFAULTS)
    assert (jumped.threshold, jumped.noise) == judged.JUMP_DEFAULTS


def test_the_defaults_find_held_out_collapses_as_the_pages_say(judged: ModuleType, held_out: pd.DataFrame) -> None:
    both = [
        judged.judge(held_out, rule, judged.COLLAPSE_DEFAULTS) for rule in (judged.PGD2_FALLS, judged.PGD2_FALLS_256)
    ]
    for found in both:
        assert (found.found, found.elsewhen, found.collapsing) == (13, 1, 14)
        assert (found.stopped, found.healthy) == (0, 16)
    assert "The defaults find 13 of 14 and stop 0 of 16, on 64 images and on 256" in said("docs/monitors.md")
    assert "13 of 14 held-out collapses" in said("docs/claims.md")
    assert "none of 16 healthy trainings" in said("docs/claims.md")
    assert "finds 13 of 14 held-out collapses and stops none of 16 healthy trainings" in said("CHANGELOG.md")


def test_the_collapse_that_is_found_late_is_the_one_of_the_page(judged: ModuleType, held_out: pd.DataFrame) -> None:
    late = []
    for _, curve in held_out.groupby("training"):
        accuracy = curve["pgd20_accuracy"].tolist()
        at, stop = (
            judged.collapse_epoch(accuracy),
            judged.alarm(tuple(curve["pgd2_error"]), judged.PGD2_FALLS, judged.COLLAPSE_DEFAULTS),
        )
        if at is not None and stop - at > judged.WITHIN:
            late.append((stop - at, round(100 * max(accuracy))))
    assert late == [(5, 19)]
    assert "found five epochs late: the network's accuracy under PGD-20 was 19 % at best" in said("docs/monitors.md")


def test_aliasing_finds_what_the_pages_say(judged: ModuleType, curves: pd.DataFrame, held_out: pd.DataFrame) -> None:
    rule = next(rule for rule in judged.RULES if rule.signal == "aliasing_relative")
    found = judged.leave_one_architecture_out(curves, rule)
    assert (found.found, found.collapsing) == (0, 8)
    assert judged.judge(held_out, rule, judged.choose(curves, rule)).found == 0
    assert "relative aliasing found no collapse of 8" in said("docs/lenses/downsampling.md")
    assert "finds none of 8 collapses in it" in said("docs/claims.md")


def test_accuracy_under_twenty_steps_costs_seven_times_as_much(judged: ModuleType, held_out: pd.DataFrame) -> None:
    rule = next(rule for rule in judged.RULES if rule.signal == "pgd20_error" and rule.make is judged.fall)
    found = judged.judge(held_out, rule, judged.choose(pd.read_csv(judged.CURVES), rule))
    assert (found.found, found.stopped) == (13, 0)
    cost = held_out["seconds_pgd20_error"].median() / held_out["seconds_pgd2_error"].median()
    assert round(cost) == 7
    assert "does as well at seven times the cost" in PAGE
