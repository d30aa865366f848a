"""Sentences of passages: nothing lost, few enough, and what ends one."""

import re
from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arhn.retrieval.sentences import LEAST_CHARACTERS, MOST_SENTENCES, split_sentences

WORDS = ["word ", "Dr. ", "e.g. ", "It ends here. ", 'He said "no!" ', "(so it was.)", "1. ", "3.14", "a" * 40]
ELSEWHERE = ["東京は首都です。", "「本当？」", "।", "؟ ", "…", "\u3000", "\x85", "\n", "\n\n", " ", "\t", "..."]
PIECES = st.sampled_from([*WORDS, *ELSEWHERE])


@given(st.text(max_size=300) | st.lists(PIECES, max_size=150).map("".join))
def test_no_text_is_lost_and_no_sentence_is_blank(text: str) -> None:
    found = split_sentences(text)
    assert "".join("".join(found).split()) == "".join(text.split())
    assert 1 <= len(found) <= MOST_SENTENCES
    assert all(s and s == s.strip() for s in found) or (not text.strip() and found == [""])
    # Each stands in the text as it is, in its order.
    place = 0
    for sentence in found:
        place = text.index(sentence, place) + len(sentence)
    assert len(found) == 1 or all(len(s) >= LEAST_CHARACTERS for s in found)


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Bees dance when they are home. Others watch them!", ["Bees dance when they are home.", "Others watch them!"]),
        ("Dr. Smith danced with bees. They didn't mind.", ["Dr. Smith danced with bees.", "They didn't mind."]),
        ("It is, e.g. in May, warm outside. So they fly.", ["It is, e.g. in May, warm outside.", "So they fly."]),
        ("It is 3.14159265 in arhn.example.org/a.b", ["It is 3.14159265 in arhn.example.org/a.b"]),
        ("1. Take the first one\n2. Take the second", ["1. Take the first one", "2. Take the second"]),
        ("A title of some length\nThe text of it.", ["A title of some length", "The text of it."]),
        ('He said "Go home, all." (They did so.) The end', ['He said "Go home, all."', "(They did so.)", "The end"]),
        ("東京は日本の首都であり最大の都市です。人口は約千四百万人になります！", None),
        ("「彼女は本当にそう言いましたか？」と彼は驚いて尋ねていました。", None),
        ("यह पहला लंबा वाक्य है। यह दूसरा लंबा वाक्य है।", ["यह पहला लंबा वाक्य है।", "यह दूसरा लंबा वाक्य है।"]),
        ("no end of a sentence at all", ["no end of a sentence at all"]),
        ("Short.", ["Short."]),
        ("", [""]),
        (" \n ", [""]),
    ],
)
def test_what_ends_a_sentence(text: str, sentences: list[str] | None) -> None:
    found = split_sentences(text)
    if sentences is None:  # two East Asian ones, with nothing between them
        assert len(found) == 2
        assert "".join(found) == text
    elif text.startswith("He said"):  # what is short at the end goes with the one before
        assert found == [sentences[0], " ".join(sentences[1:])]
    else:
        assert found == sentences


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (32, 32), (33, 17), (64, 32), (65, 22), (1000, 32)])
def test_too_many_are_joined_with_their_neighbours(count: int, expected: int) -> None:
    found = split_sentences(" ".join(f"This is sentence {i}." for i in range(count)))
    assert len(found) == expected
    assert len({len(re.findall("This is", s)) for s in found[:-1]}) <= 1


@pytest.mark.parametrize(
    "text", [" " * 100_000, "a" + " " * 100_000 + "b", "\n" * 100_000, ". " * 50_000, '."' * 50_000]
)
def test_long_runs_of_nothing_take_no_time(text: str) -> None:
    begun = perf_counter()
    assert split_sentences(text)
    assert perf_counter() - begun < 5
