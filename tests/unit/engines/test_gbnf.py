"""Grammars say exactly what constraints say: they are turned into regular expressions, which these all are."""

from __future__ import annotations

import re
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arhn.cleaning.methods.rlhn import _ANSWER
from arhn.engines import Matching, OneOf, Permutation, SpanOf
from arhn.engines.gbnf import EXACT_PERMUTATION, gbnf

_TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|\[(?:\\.|[^\]\\])*\]|[a-z][a-z0-9-]*|\{[0-9,]+\}|[()|*+?]')


def language(grammar: str) -> re.Pattern[str]:
    rules = dict(line.split(" ::= ", 1) for line in grammar.splitlines() if line)

    def expanded(name: str) -> str:
        return "(?:" + "".join(map(part, _TOKEN.findall(rules[name]))) + ")"

    def part(token: str) -> str:
        if token[0] == '"':
            return "(?:" + re.escape(literal(token[1:-1])) + ")"
        return expanded(token) if token[0].isalpha() else token

    return re.compile(expanded("root"))


def literal(escaped: str) -> str:
    numbered = re.sub(
        r"\\(?:x(..)|u(....)|U(........))",
        lambda m: chr(int(m[1] or m[2] or m[3], 16)),
        escaped.replace("\\\\", "\0"),
    )
    return numbered.replace('\\"', '"').replace("\0", "\\")


words = st.lists(
    st.text(st.characters(exclude_characters=" \0", exclude_categories=["Cs"]), min_size=1), min_size=1, max_size=8
)


@given(words, st.data())
def test_a_span_is_a_run_of_whole_words(passage: list[str], data: st.DataObject) -> None:
    spans = language(gbnf(SpanOf(" ".join(passage), "No", 'Yes, "', '"')))
    start = data.draw(st.integers(0, len(passage) - 1))
    end = data.draw(st.integers(start + 1, len(passage)))
    assert spans.fullmatch(f'Yes, "{" ".join(passage[start:end])}"')
    assert spans.fullmatch("No")
    assert not spans.fullmatch('Yes, ""')


def test_words_that_do_not_follow_each_other_are_no_span() -> None:
    spans = language(gbnf(SpanOf("the cat saw the dog")))
    for span in ("the cat", "the dog", "saw the dog", "the", "the cat saw the dog"):
        assert spans.fullmatch(span)
    for other in ("cat the", "the saw", "th", "the cat saw the cat", "the  cat", " the", "bird"):
        assert not spans.fullmatch(other)


@pytest.mark.parametrize("n", [1, 2, 4])
def test_permutations(n: int) -> None:
    orders = language(gbnf(Permutation(n)))
    for order in permutations(range(1, n + 1)):
        assert orders.fullmatch(" > ".join(map(str, order)))
    for other in ("", "1 > 1", " > ".join(map(str, range(1, n + 2))), "0"):
        assert not orders.fullmatch(other)


def test_long_permutations_may_repeat_a_number_and_have_the_right_length() -> None:
    n = EXACT_PERMUTATION + 4
    orders = language(gbnf(Permutation(n)))
    assert orders.fullmatch(" > ".join(map(str, range(n, 0, -1))))
    assert not orders.fullmatch(" > ".join(map(str, range(1, n))))
    assert len(gbnf(Permutation(EXACT_PERMUTATION))) < 30_000


@given(st.lists(st.text(min_size=1).filter(lambda t: "\0" not in t), min_size=1, max_size=4))
def test_choices(choices: list[str]) -> None:
    found = language(gbnf(OneOf(tuple(choices))))
    assert all(found.fullmatch(choice) for choice in choices)
    assert not found.fullmatch(max(choices, key=len) + "x")


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        (_ANSWER.pattern, "better: 1, 12; worse: none", "better: ; worse: none"),
        (r"[A-Z]{2}/[0-9]{3}(?:; [0-9]{1,3} km/h|, parked)", "AB/123; 80 km/h", "AB/12, parked"),
        (r"a+b*c?.d", "aab-d", "bd"),
        (r"[^a-c\-\]]x\d{2,}", "zx123", "-x12"),
        (r"\w\s[\d,]*?", "a 1,2", "-- "),
    ],
)
def test_patterns(pattern: str, yes: str, no: str) -> None:
    found = language(gbnf(Matching(pattern)))
    assert re.fullmatch(pattern, yes)
    assert found.fullmatch(yes)
    assert not re.fullmatch(pattern, no)
    assert not found.fullmatch(no)


@pytest.mark.parametrize("pattern", [r"(a)\1", r"(?=a)b", r"\ba", r"[\D]"])
def test_what_no_grammar_can_say_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="no grammar"):
        gbnf(Matching(pattern))
