"""What messages are made of."""

from __future__ import annotations

import pytest

from arhn.errors import describe_count


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [(1, "group", "1 group"), (0, "group", "0 groups"), (2000, "group", "2,000 groups"), (1, "query", "1 query"),
     (3, "query", "3 queries"), (2, "LLM call", "2 LLM calls")],
)  # fmt: skip
def test_a_count_has_its_noun_in_the_right_number(number: int, noun: str, text: str) -> None:
    assert describe_count(number, noun) == text
