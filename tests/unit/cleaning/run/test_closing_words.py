"""What a run says first: that it did nothing, and why."""

from typing import Any

import pytest

from arhn.cleaning.run.closing_words import describe_nothing, describe_triage

CALIBRATIONS = {"paraphrase": {"source": "none"}}


def content(reasons: dict[str, int], precision: float | None = None, **others: Any) -> dict[str, Any]:
    """Of a run that changed nothing."""
    return {
        "negatives": {"action": {"keep": sum(reasons.values())}, "reason": reasons, "status": {}},
        "settings": {"precision": precision, "context": 2048},
        "calibrations": CALIBRATIONS,
        **others,
    }


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (content({"uncertain": 5}, 0.9), ["Nothing was changed: no negative reaches precision 0.9 (5 negatives below"]),
        (content({"undisputed": 5}), ["Nothing was changed: queries of these families are judged only with a"]),
        # It was looked at, and nothing answers.
        (content({"no_answer": 5}), []),
        (content({"uncertain": 5}), []),
        (content({"undisputed": 5}, calibrations={}), []),
        (content({"no_answer": 5}, too_long_queries=2), ["2 queries don't fit the context of 2,048 tokens; nothing"]),
    ],
)
def test_what_was_not_done_is_said(found: dict[str, Any], says: list[str]) -> None:
    lines = list(describe_nothing(found))
    assert len(lines) == len(says)
    assert all(line.startswith(begin) for line, begin in zip(lines, says, strict=True))


def test_a_run_that_changed_something_says_nothing_first() -> None:
    found = content({"no_answer": 5}, 0.9)
    found["negatives"]["action"]["filter"] = 1
    assert list(describe_nothing(found)) == []


def test_what_was_spared_is_said_with_how_far_that_holds() -> None:
    assert describe_triage(content({"no_answer": 5})) == ""
    found = content({"spared": 60, "no_answer": 40})
    found["negatives"]["status"] = {"spared": 60, "no_answer": 40}
    found["triage"] = {
        "spared": 60,
        "checked": 3,
        "checked_answering": 1,
        "agreement": {"low": 0.525, "high": 0.963},
    }
    said = describe_triage(found)
    assert (
        "60 of 100 negatives too unlikely to ask about. Of 3 such negatives asked about all the same, 1 answers" in said
    )
    assert "52.5% to 96.3% of the decisions" in said
