"""Texts of others are shown, never obeyed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arhn.texts.excerpt import take_excerpt
from arhn.texts.foreign import make_line, make_visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", "\\x1b[2J"),
        ("a\x00b", "a\\x00b"),
        ("\u202eevil\u2066", "\\u202eevil\\u2066"),
        ("a\u2028b", "a\\u2028b"),
        ("\x9b31m\x7f", "\\x9b31m\\x7f"),
        ("\ud800", "\\ud800"),
        ("é 😀\u200d🔥 \u00a0\u3000 נ", "é 😀\u200d🔥 \u00a0\u3000 נ"),
        ("a\n\tb\r", "a\n\tb\\r"),
    ],
)
def test_what_would_be_obeyed_is_made_visible(text: str, shown: str) -> None:
    assert make_visible(text) == shown


def test_a_line_is_one_line() -> None:
    assert make_line("a\n b\x1b \t c") == "a b\\x1b c"
    assert make_line("x" * 100, 10) == "xxxxxxxxx…"


@given(st.text(min_size=1, max_size=60), st.data())
def test_an_excerpt_holds_the_snippet_and_counts_what_is_cut(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    most = data.draw(st.integers(1, 80))
    found = take_excerpt(text, start, end, most=most)
    kept = len(text) - found.cut_before - found.cut_inside - found.cut_after
    assert kept <= most or kept == len(text) <= most
    assert found.snippet == make_visible(text[start : end - found.cut_inside])
    assert make_visible(text[found.cut_before : start]) == found.before
    assert make_visible(text[end : len(text) - found.cut_after]) == found.after


def test_a_megabyte_is_cut_around_its_snippet() -> None:
    text = "x" * 500_000 + "SNIPPET" + "y" * 500_000
    found = take_excerpt(text, 500_000, 500_007, most=300)
    assert found.snippet == "SNIPPET"
    assert len(found.text) == 300
    assert found.cut_before + found.cut_after == len(text) - 300
