"""What a terminal would obey or hide is made visible; ordinary text of any language stays."""

from __future__ import annotations

import json
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filterlens.process.printable import printable, printable_json


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x9b2J\x7f\x00", r"\x9b2J\x7f\x00"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\u202egnp.\u2066", r"\u202egnp.\u2066"),
        ("a\u200bb\ufeff\u2028\u2029", r"a\u200bb\ufeff\u2028\u2029"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\U000e0041"),
        ("\u3164", r"\u3164"),
    ],
)
def test_what_is_hidden_or_obeyed_is_shown(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize(
    "text",
    ["conv1.weight", "größe", "層.0", "ünïcode é", "👍🏽", "❤️", "👩‍👩‍👧", "नमस्ते", "a\\x1b", "", "[red]", "1\u00a0%"],
)
def test_ordinary_text_stays(text: str) -> None:
    assert printable(text) == text


def test_a_joiner_outside_emoji_is_shown() -> None:
    assert printable("a\u200db") == r"a\u200db"


@pytest.mark.parametrize("category", ["Cc", "Cf", "Cs", "Zl", "Zp"])
def test_no_character_of_a_hidden_category_passes(category: str) -> None:
    found = [c for c in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(c) == category]
    assert [hex(ord(c)) for c in found if c in printable(f"a{c}b")] == []


@given(st.text(st.characters()))
def test_it_is_idempotent_and_keeps_our_lines(text: str) -> None:
    once = printable(text, lines=True)
    assert printable(once, lines=True) == once
    assert once.count("\n") == text.count("\n")
    assert "\n" not in printable(text)


@given(st.dictionaries(st.text(st.characters(exclude_categories=[])), st.text(st.characters(exclude_categories=[]))))
def test_json_means_the_same(content: dict[str, str]) -> None:
    shown = printable_json(json.dumps(content, indent=2, ensure_ascii=False))
    assert json.loads(shown) == json.loads(json.dumps(content))
    assert shown == printable(shown, lines=True)
