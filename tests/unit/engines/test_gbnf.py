"""Grammars say exactly what constraints say: they are turned into regular expressions, which these all are."""

from __future__ import annotations

import re
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arhn.cleaning.methods.rlhn import _ANSWER, _GBNF
from arhn.engines import Matching, Message, OneOf, Permutation, Request, SpanOf
from arhn.engines.gbnf import EXACT_PERMUTATION, write_gbnf
from arhn.engines.probes import CONSTRAINTS
from arhn.errors import UsageError

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
    spans = language(write_gbnf(SpanOf(" ".join(passage), "No", 'Yes, "', '"')))
    start = data.draw(st.integers(0, len(passage) - 1))
    end = data.draw(st.integers(start + 1, len(passage)))
    assert spans.fullmatch(f'Yes, "{" ".join(passage[start:end])}"')
    assert spans.fullmatch("No")
    assert not spans.fullmatch('Yes, ""')


def test_words_that_do_not_follow_each_other_are_no_span() -> None:
    spans = language(write_gbnf(SpanOf("the cat saw the dog")))
    for span in ("the cat", "the dog", "saw the dog", "the", "the cat saw the dog"):
        assert spans.fullmatch(span)
    for other in ("cat the", "the saw", "th", "the cat saw the cat", "the  cat", " the", "bird"):
        assert not spans.fullmatch(other)


@pytest.mark.parametrize("n", [1, 2, 4])
def test_permutations(n: int) -> None:
    orders = language(write_gbnf(Permutation(n)))
    for order in permutations(range(1, n + 1)):
        assert orders.fullmatch(" > ".join(map(str, order)))
    for other in ("", "1 > 1", " > ".join(map(str, range(1, n + 2))), "0"):
        assert not orders.fullmatch(other)


def test_long_permutations_may_repeat_a_number_and_have_the_right_length() -> None:
    n = EXACT_PERMUTATION + 4
    orders = language(write_gbnf(Permutation(n)))
    assert orders.fullmatch(" > ".join(map(str, range(n, 0, -1))))
    assert not orders.fullmatch(" > ".join(map(str, range(1, n))))
    assert len(write_gbnf(Permutation(EXACT_PERMUTATION))) < 30_000


@given(st.lists(st.text(min_size=1).filter(lambda t: "\0" not in t), min_size=1, max_size=4))
def test_choices(choices: list[str]) -> None:
    found = language(write_gbnf(OneOf(tuple(choices))))
    assert all(found.fullmatch(choice) for choice in choices)
    assert not found.fullmatch(max(choices, key=len) + "x")


#: What these were translated to before they were written out: servers get the same bytes.
_LIST = r'(("none" | ([0-9]){1,3} (", " ([0-9]){1,3})*))'
RLHN = f'root ::= "better: " {_LIST} "; worse: " {_LIST}\n'
PLATE = 'root ::= "plate: " ([0-9]){3,3} ("; worn" | ", new")\n'


@pytest.mark.parametrize(
    ("constraint", "grammar", "yes", "no"),
    [
        (Matching(_ANSWER.pattern, _GBNF), RLHN, "better: 1, 12; worse: none", "better: ; worse: none"),
        (Matching(_ANSWER.pattern, _GBNF), RLHN, "better: none; worse: 7", "better: none; worse: none; none"),
        (CONSTRAINTS[-1], PLATE, "plate: 123, new", "plate: 12, new"),
        (CONSTRAINTS[-1], PLATE, "plate: 123; worn", "plate: 123; new"),
    ],
)
def test_patterns(constraint: Matching, grammar: str, yes: str, no: str) -> None:
    assert write_gbnf(constraint) == grammar
    found = language(grammar)
    assert re.fullmatch(constraint.pattern, yes)
    assert found.fullmatch(yes)
    assert not re.fullmatch(constraint.pattern, no)
    assert not found.fullmatch(no)


def test_a_pattern_without_its_grammar_is_refused() -> None:
    with pytest.raises(UsageError, match=r"'a\+' comes without a grammar"):
        write_gbnf(Matching("a+"))


def test_the_grammar_of_a_pattern_is_no_part_of_the_key() -> None:
    """Stores from before there was one are read on."""
    for pattern in (Matching("a[0-9]{2}"), Matching("a[0-9]{2}", gbnf='root ::= "a" ([0-9]){2,2}\n')):
        request = Request(messages=(Message("user", "a"),), max_tokens=3, constraint=pattern)
        assert request.key("m").hex() == "dcca3138167812f637be3f99e6db01f0"
