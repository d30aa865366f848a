"""Which candidates become negatives: every rule by itself, and what always holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from arhn.errors import UsageError
from arhn.mine.rules import Candidate, Fate, Settings, decide_fates
from arhn.types import Passage


def candidate(rank: int, text: str | None = None, score: float | None = None, title: str = "") -> Candidate:
    shown = f"text {rank}" if text is None else text
    return Candidate(position=rank, rank=rank, score=score, passage=Passage(doc_id=f"d{rank}", text=shown, title=title))


def settled(candidates: Sequence[Candidate], *positives: tuple[str, float], **settings: Any) -> list[str]:
    labelled = [Passage(doc_id=f"p{i}", text=text) for i, (text, _) in enumerate(positives)]
    rules = Settings(**{"negatives": 2, **settings})
    scores = [score for _, score in positives] if rules.by_score else []
    return [fate.value for fate in decide_fates(candidates, labelled, scores, rules, "q1")]


def scored(*scores: float) -> list[Candidate]:
    return [candidate(rank, score=score) for rank, score in enumerate(scores, 1)]


POSITIVE = ("the positive", 0.8)


def test_what_cleaning_filtered_is_out_whatever_its_rank() -> None:
    candidates = [candidate(1), candidate(2, "the positive"), candidate(3), candidate(4, "text 1")]
    labelled = [Passage(doc_id="p0", text="the positive")]
    found = decide_fates(
        candidates, labelled, [], Settings(negatives=2), "q1", lambda p: p.text in ("text 1", "the positive")
    )
    assert [fate.value for fate in found] == ["filtered", "equals_positive", "chosen", "filtered"]


def test_the_first_that_no_rule_takes_out_are_chosen() -> None:
    assert settled([candidate(i) for i in range(1, 5)], POSITIVE) == ["chosen", "chosen", "spare", "spare"]
    assert settled([candidate(1)], POSITIVE) == ["chosen"]
    assert settled([], POSITIVE) == []


def test_what_was_skipped_is_not_looked_at() -> None:
    skipped = Candidate(position=1, rank=1, score=None, passage=None)
    assert settled([skipped, candidate(2)], POSITIVE) == ["skipped", "chosen"]


def test_texts_that_no_group_should_hold_as_negatives() -> None:
    found = settled(
        [
            candidate(1, " \n"),
            candidate(2, "the  positive "),
            candidate(3, "the positive", title="Title"),
            candidate(4, "another positive"),
            candidate(5, "same"),
            candidate(6, "same\n"),
        ],
        POSITIVE,
        ("another positive", 0.1),
    )
    assert found == ["blank", "equals_positive", "chosen", "equals_positive", "chosen", "duplicate"]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"max_score": 0.7}, ["max_score", "chosen", "chosen", "spare", "spare"]),
        ({"min_score": 0.5}, ["chosen", "chosen", "spare", "min_score", "min_score"]),
        ({"absolute_margin": 0.1}, ["absolute_margin", "chosen", "chosen", "spare", "spare"]),
        ({"absolute_margin": 0.0}, ["absolute_margin", "chosen", "chosen", "spare", "spare"]),
        ({"relative_margin": 0.2}, ["relative_margin", "relative_margin", "chosen", "chosen", "spare"]),
        (
            {"max_score": 0.7, "absolute_margin": 0.3},
            ["max_score", "absolute_margin", "absolute_margin", "chosen", "chosen"],
        ),
    ],
)
def test_rules_on_scores(rule: dict[str, float], expected: list[str]) -> None:
    assert settled(scored(0.81, 0.7, 0.6, 0.49, 0.1), POSITIVE, **rule) == expected


def test_a_score_right_on_a_threshold_stays() -> None:
    assert settled(scored(0.7, 0.7 + 1e-9), POSITIVE, absolute_margin=0.1) == ["chosen", "chosen"]
    assert settled(scored(0.76), POSITIVE, relative_margin=0.05) == ["chosen"]
    assert settled(scored(0.3), POSITIVE, max_score=0.3, min_score=0.3) == ["chosen"]


def test_margins_are_measured_from_the_lowest_positive_or_the_best() -> None:
    positives = [("one", 0.9), ("two", 0.5)]
    assert settled(scored(0.6, 0.4), *positives, absolute_margin=0.05) == ["absolute_margin", "chosen"]
    assert settled(scored(0.6, 0.4), *positives, absolute_margin=0.05, margin_to="best") == ["chosen", "chosen"]


def test_below_zero_a_relative_margin_is_below_the_positive_too() -> None:
    """sentence-transformers #3819: -0.2 times 0.95 would be above -0.2."""
    assert settled(scored(-0.195, -0.205, -0.22), ("one", -0.2), relative_margin=0.05) == [
        "relative_margin",
        "relative_margin",
        "chosen",
    ]


def test_a_sample_hangs_on_seed_and_query_only() -> None:
    many = [candidate(i) for i in range(1, 60)]
    labelled = [Passage(doc_id="p", text="x")]

    def sample(seed: int, query_id: str) -> list[Fate]:
        settings = Settings(negatives=5, sampling="random", seed=seed)
        return decide_fates(many, labelled, [], settings, query_id)

    assert sample(0, "q1") == sample(0, "q1")
    assert sample(0, "q1").count(Fate.CHOSEN) == 5
    assert len({tuple(sample(seed, query)) for seed in range(3) for query in ("q1", "q2")}) == 6


@given(
    texts=st.lists(st.sampled_from(["", "positive", "a", "b", "c", " a"]), max_size=12),
    scores=st.lists(st.floats(-1, 1), min_size=12, max_size=12),
    margin=st.none() | st.floats(0, 1),
    limit=st.none() | st.floats(-1, 1),
    sampling=st.sampled_from(["top", "random"]),
    negatives=st.integers(1, 4),
)
def test_what_always_holds(
    texts: list[str], scores: list[float], margin: float | None, limit: float | None, sampling: str, negatives: int
) -> None:
    candidates = [candidate(i, text, score) for i, (text, score) in enumerate(zip(texts, scores, strict=False), 1)]
    found = settled(
        candidates,
        ("positive", 0.2),
        absolute_margin=margin,
        max_score=limit,
        sampling=sampling,
        negatives=negatives,
    )
    chosen = [c for c, fate in zip(candidates, found, strict=True) if fate == "chosen"]
    contents = [c.passage.text.strip() for c in chosen if c.passage]
    assert len(found) == len(candidates)
    assert len(chosen) == min(negatives, found.count("chosen") + found.count("spare"))
    assert len({*contents}) == len(contents)
    assert not {"", "positive"} & {*contents}
    for c in chosen:
        assert c.score is not None
        assert limit is None or c.score <= limit + 1e-6
        assert margin is None or c.score <= 0.2 - margin + 2e-6


# --- Settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong", [{"range_min": 5, "range_max": 5}, {"range_min": 5, "range_max": 11}, {"negatives": 101}]
)
def test_a_range_that_holds_too_few_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="fewer than the"):
        Settings(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"negatives": 0},
        {"range_min": -1},
        {"sampling": "best"},
        {"absolute_margin": -0.1},
        {"max_score": float("nan")},
        {"margin": 0.1},
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Settings(**wrong)
