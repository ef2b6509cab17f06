"""Tables as the page shows them: nothing twice, nothing hidden, no path of the machine."""

from __future__ import annotations

import pandas as pd
import pytest

from filterlens.report.formats import Column, Table, to_csv, to_markdown
from filterlens.report.screen import gathered, screen_table, without_paths
from filterlens.report.tables import CLAIM, SCORE, SIDES, UNIT

FACTS = {column: [0.5, 0.25] for column in ("robust_std", "normal_std", "ci_low", "ci_high", "effect", "p")}
FACTS |= {column: [0.5, 0.25] for column in ("robust_mean", "normal_mean", "difference", "p_adjusted")}


def compared(notes: list[str]) -> Table:
    words: dict[str, list[object]] = {"title": ["Sparsity", "Loss"], "unit": ["share", "nats"], "metric": ["a", "b"]}
    words |= {"n_pairs": [9, 8], "n_normal": [8, 7], "robust_is": ["lower", ""], "n_expected": [9.0, float("nan")]}
    frame = pd.DataFrame({**words, **FACTS, "note": notes})
    return Table("t", "T", "Own.", frame, (SCORE, UNIT, *SIDES, *CLAIM), general=("Method.", "Twice."))


def test_a_table_of_scores_holds_effect_p_and_claim_in_fewer_columns_than_its_file() -> None:
    table = compared(["", ""])
    shown = screen_table(table, {}, set())
    keys = [column.key for column in shown.columns]
    assert {"effect", "p", "p_adjusted", "robust_is"} <= set(keys)
    assert not {"unit", "metric", "note", "n_normal", "n_expected"} & set(keys)
    texts = [[one.text for one in row] for row in shown.rows]
    assert texts[0][keys.index("n_pairs")] == "9 / 8"
    assert texts[0][keys.index("robust_is")] == "lower, 9 of 9"
    assert texts[1][keys.index("robust_is")] == ""
    assert [row[0].unit for row in shown.rows] == ["", "nats"]
    assert to_csv(table).splitlines()[0].split(",")[-3:] == ["robust_is", "n_expected", "note"]


def test_what_holds_for_several_tables_is_said_at_the_first() -> None:
    said: set[str] = set()
    first, second = (screen_table(compared(["", ""]), {}, said) for _ in range(2))
    assert first.note == "Own. Method. Twice."
    assert second.note == "Own."
    assert "Own. Method. Twice." in to_markdown(compared(["", ""]))  # a file stands alone


def test_notes_are_numbered_and_one_of_all_rows_is_said_above_them() -> None:
    some = screen_table(compared(["", "too few"]), {}, set())
    assert some.footnotes == ["too few"]
    assert [row[0].note for row in some.rows] == [0, 1]
    every = screen_table(compared(["too few", "too few"]), {}, set())
    assert every.footnotes == []
    assert every.note.endswith("Too few.")
    assert [row[0].note for row in every.rows] == [0, 0]


def test_a_table_of_ten_thousand_rows_shows_a_thousand() -> None:
    frame = pd.DataFrame({"model_id": [f"m{i}" for i in range(10_000)]})
    shown = screen_table(Table("t", "T", "", frame, (Column("model_id", "model", "name"),)), {"m0": None}, set())
    assert len(shown.rows) == 1000
    assert shown.note == "The first 1000 of 10000 rows; all are in the files."
    assert [row[0].kind for row in shown.rows[:2]] == ["m", ""]


def test_rows_that_differ_in_one_column_become_one() -> None:
    frame = pd.DataFrame({"model": [f"m{i}" for i in range(11)] + ["x"], "why": ["a"] * 11 + ["b"]})
    found = gathered(frame, "model", "n")
    assert found["n"].tolist() == [11, 1]
    assert found["model"].tolist() == ["m0, m1, m2, m3, m4, m5, m6, m7 and 3 more", "x"]
    assert gathered(frame.iloc[:0], "model", "n").empty


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/home/ada/zoo/net.pt: torn", "…/net.pt: torn"),
        ('{"data":"/data/x.npz"}', '{"data":"…/x.npz"}'),
        (r"C:\Users\ada\net.pt is torn", "…/net.pt is torn"),
        ("file:///srv/a/b.pt", "…/b.pt"),
        ("module:a.b:c?weights=/srv/x/w.pt", "module:a.b:c?weights=…/w.pt"),
        ("https://example.org/a/b?c=1", "https://example.org/a/b?c=1"),
        ("./a/b, ../c/d, ~/e/f, g/h", "./a/b, ../c/d, ~/e/f, g/h"),
        ("1 / 2 and a/b", "1 / 2 and a/b"),
        ("robustbench:cifar10/Linf/Wong2020Fast", "robustbench:cifar10/Linf/Wong2020Fast"),
    ],
)
def test_an_absolute_path_leaves_its_last_part(text: str, expected: str) -> None:
    assert without_paths(text) == expected
