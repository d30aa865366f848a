import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arhn import prompts, weights
from arhn.engines import Completion, SpanOf, log_odds
from arhn.extract import (
    BY_TEXT,
    Answer,
    Calibration,
    calibration_for,
    extraction_request,
    read_answer,
    settle,
    shorter,
)
from arhn.types import Passage
from tests.conftest import NO, YES, passage, yes

PROMPT = prompts.load("extract")
PASSAGE = passage("d", "The bridge replaced a ferry in 1931. No one mourned it.")


def read(text: str, finish: str = "stop", first: dict[str, float] | None = None) -> Answer:
    return read_answer(Completion(text=text, finish=finish, first=first or {}), PASSAGE, PROMPT)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text", [yes("a ferry"), 'yes, THE answer is "a ferry', "a ferry", yes("A  FERRY"), '"a ferry"']
)
def test_a_span_is_verbatim(text: str) -> None:
    span = read(text).span
    assert span is not None
    assert PASSAGE.text[slice(*span)] == "a ferry"


@pytest.mark.parametrize("text", ["No", " no. ", "NO"])
def test_no_answer(text: str) -> None:
    assert read(text).kind == "no_answer"


def test_a_snippet_may_begin_like_no_answer() -> None:
    assert read("No one mourned it").kind == "span"


@pytest.mark.parametrize("text", ["", "Yes", "Yes,", yes(""), yes("a tunnel"), "I am sorry", "No, it does not", "\x00"])
def test_what_cannot_be_aligned_is_unknown_never_no_answer(text: str) -> None:
    assert read(text).kind == "unknown"


@pytest.mark.parametrize("finish", ["length", "context", "refused"])
def test_an_unfinished_answer_is_unknown(finish: str) -> None:
    assert read(yes("a ferry"), finish).kind == "unknown"
    assert read("No", finish).kind == "unknown"


def test_a_bare_yes_is_no_snippet_even_where_the_passage_says_yes() -> None:
    said = passage("d", "Yes, the answer is yes.")
    assert read_answer(Completion(text="Yes"), said, PROMPT).kind == "unknown"
    assert read_answer(Completion(text=yes("yes")), said, PROMPT).kind == "span"


def test_a_failed_request_is_unknown() -> None:
    assert read_answer(None, PASSAGE, PROMPT).kind == "unknown"


def test_log_odds_compare_the_two_verdicts_only() -> None:
    assert read("No", first={"Yes": -1.0, "No": -3.0, "The": -0.5}).log_odds == pytest.approx(2.0)
    assert read("No", first={"Y": math.log(0.2), "Yes": math.log(0.2), "No": math.log(0.1)}).log_odds == pytest.approx(
        math.log(4), abs=1e-3
    )


@pytest.mark.parametrize("first", [{}, {"I": -0.01, "Sorry": -5.0}])
def test_a_verdict_that_is_neither_has_no_log_odds(first: dict[str, float]) -> None:
    assert read("", first=first).kind == "unknown"
    assert read("", first=first).log_odds is None


def test_an_answer_that_was_cut_off_keeps_its_share_in_the_mean() -> None:
    assert read(yes("a ferry"), "length", first=YES).log_odds == pytest.approx(2.3)
    assert read(yes("a ferry"), "refused", first=YES).log_odds is None


def test_without_a_lead_everything_but_the_refusal_is_an_answer() -> None:
    first = {"NO": math.log(0.2), "The": math.log(0.5)}
    assert log_odds(first, "", "NO_ANSWER") == pytest.approx(math.log(0.8 / 0.2))
    assert log_odds({"The": math.log(0.5)}, "", "NO_ANSWER") == pytest.approx(math.log(1 / 0.5))


def test_a_verdict_outside_the_alternatives_is_bounded_by_the_least_of_them() -> None:
    assert read("No", first={"Yes": -0.5, "The": -6.0}).log_odds == pytest.approx(5.5)


def test_without_logprobs_there_is_no_confidence() -> None:
    [e] = settle([read(yes("a ferry"))], [PASSAGE], BY_TEXT)
    assert (e.status, e.confidence, e.log_odds) == ("answer", None, None)


def test_confidence_is_relative_to_the_group() -> None:
    calibration = Calibration(by="confidence", slope=1.0, centre=1.0, intercept=0.0)
    answers = [Answer(doc_id=str(i), kind="span", span=(0, 3), log_odds=lo) for i, lo in enumerate([5.0, 9.0])]
    low, high = settle(answers, [PASSAGE, PASSAGE], calibration)
    assert (low.status, high.status) == ("no_answer", "answer")
    assert low.confidence == pytest.approx(1 - high.confidence, abs=1e-3)  # type: ignore[operator]
    assert low.snippet is None
    assert (high.snippet, high.start, high.end) == ("The", 0, 3)


def test_confidence_never_makes_an_answer_without_a_snippet() -> None:
    calibration = Calibration(by="confidence")
    for kind in ("no_answer", "unknown"):
        [e] = settle([Answer(doc_id="d", kind=kind, log_odds=9.0)], [PASSAGE], calibration)
        assert e.status == kind


def test_a_broken_answer_moves_no_neighbours_label() -> None:
    """Its log-odds are missing from the group's mean, so nothing in the group can be told."""
    calibration = Calibration(by="confidence", centre=1.0)
    answers = [Answer(doc_id="a", kind="span", span=(0, 3), log_odds=9.0), Answer(doc_id="b", kind="unknown")]
    assert {e.status for e in settle(answers, [PASSAGE, PASSAGE], calibration)} == {"unknown"}


def test_by_text_takes_the_word_of_the_llm() -> None:
    answers = [read(yes("a ferry"), first=NO), read("No", first=YES)]
    assert [e.status for e in settle(answers, [PASSAGE, PASSAGE], BY_TEXT)] == ["answer", "no_answer"]


@given(st.lists(st.none() | st.floats(-1e6, 1e6), max_size=6))
def test_confidence_is_a_probability(odds: list[float | None]) -> None:
    answers = [Answer(doc_id=str(i), kind="no_answer", log_odds=o) for i, o in enumerate(odds)]
    calibration = Calibration(by="confidence", slope=3.0, centre=1.0, intercept=-1.0)
    for e, o in zip(settle(answers, [PASSAGE] * len(odds), calibration), odds, strict=True):
        assert (e.confidence is None) == (o is None)
        assert e.confidence is None or 0 <= e.confidence <= 1


def test_request_shows_the_title_but_takes_spans_of_the_text_only() -> None:
    titled = Passage(doc_id="d", text="Body {text}.", title="A {title}")
    request = extraction_request("q {query}?", titled, PROMPT, BY_TEXT)
    assert request.messages[-1].content == "Passage: A {title}\nBody {text}.\nQuestion: q {query}?"
    assert request.constraint == SpanOf("Body {text}.", PROMPT.no_answer, PROMPT.lead, PROMPT.close)
    assert request.bias == ()


def test_bias_is_part_of_the_request_and_its_key() -> None:
    plain = extraction_request("q", PASSAGE, PROMPT, BY_TEXT)
    biased = extraction_request("q", PASSAGE, PROMPT, Calibration(by="confidence", bias=-2.0))
    assert biased.bias == ((PROMPT.no_answer, -2.0),)
    assert plain.key("m") != biased.key("m")
    assert plain.key("m") != plain.key("another model")


def test_unknown_models_are_taken_at_their_word() -> None:
    assert calibration_for("never-seen.gguf@sha256:00", PROMPT) is BY_TEXT


def test_the_starter_is_calibrated_for_the_prompt_in_use() -> None:
    """Whoever edits the prompt must fit again: a calibration for another prompt is silently none."""
    starter = weights.MODELS[weights.STARTER]
    calibration = calibration_for(f"{starter.file}@sha256:{starter.sha256[:16]} llamacpp-1", PROMPT)
    assert calibration.by == "confidence"


def test_shorter_ends_at_a_sentence_and_gives_up_at_last() -> None:
    text = "A sentence of some words. " * 60
    once = shorter(passage("d", text), 1000, 500)
    assert once is not None
    assert once.text.endswith(".")
    assert len(once.text) < len(text) * 0.5
    assert shorter(passage("d", "short text"), 1000, 500) is None
