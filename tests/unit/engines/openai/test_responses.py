"""What servers answer: sound answers are read, everything else is refused with a reason."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arhn.engines import ALTERNATIVES, Completion, log_odds
from arhn.engines.openai.faults import LONGEST_ASKED, LONGEST_WAIT, choose_wait, find_fault, is_page, read_retry_after
from arhn.engines.openai.responses import Unsound, read_answer, thinks_aloud
from arhn.engines.openai.settings import Key
from arhn.engines.openai.wire import Reply
from tests.serving import chat, completed

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**53) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
texts = st.text(st.characters(exclude_categories=["Cs"]))


def raw(answer: Any) -> bytes:
    return orjson.dumps(answer)


def read(answer: Any, **how: Any) -> Completion:
    return read_answer(raw(answer), **how)


# --- Sound answers --------------------------------------------------------------------------------


@given(
    texts.filter(lambda t: "think>" not in t),
    st.sampled_from(["stop", "length", "refused"]),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
)
def test_what_was_completed_is_read(text: str, finish: Any, prompt: int, completion: int) -> None:
    said = Completion(text=text, finish=finish, prompt_tokens=prompt, completion_tokens=completion, cached_tokens=40)
    assert read(completed(said)) == said


def test_the_first_token() -> None:
    answer = chat("Yes", finish="length", first={"Yes": -0.1, "No": -2.4, " No": -3.0, "Ye": -5.0, "x": -9999.0})
    found = read(answer, alternatives=20).first
    assert list(found) == ["Yes", "No", "Ye"]
    assert found["No"] == pytest.approx(math.log(math.exp(-2.4) + math.exp(-3.0)), abs=1e-4)
    assert log_odds(found, "Yes", "No") is not None


def test_impossible_words_leave_no_floor_of_zero() -> None:
    """vLLM writes -9999 for what a constraint forbids."""
    found = read(chat("Yes", first={"Yes": -0.0001, "q": -9999.0}), alternatives=20).first
    assert found == {"Yes": -0.0001}
    assert log_odds(found, "Yes", "No") is not None


def test_log_probabilities_of_other_words_than_the_answer_are_none() -> None:
    """As of a thought that the server took off the text."""
    assert read(chat("No", first={"<think>": -0.1, "Yes": -3.0}), alternatives=20).first == {}
    assert read(chat("Yes it is", first={" Yes": -0.1, "No": -3.0}), alternatives=20).first


def test_no_more_alternatives_than_asked_for() -> None:
    first = {f"Y{i}": -0.1 - i for i in range(60)}
    assert len(read(chat("Y0", first=first), alternatives=ALTERNATIVES).first) == ALTERNATIVES
    assert read(chat("Y0", first=first)).first == {}


@pytest.mark.parametrize("logprobs", [None, {}, {"content": None}, {"content": []}, []])
def test_a_server_that_leaves_log_probabilities_out(logprobs: Any) -> None:
    answer = chat("No")
    answer["choices"][0]["logprobs"] = logprobs
    assert read(answer, alternatives=8).first == {}


@pytest.mark.parametrize("token", [7, {"token": "No", "top_logprobs": [7]}])
def test_a_token_that_is_none_makes_an_answer_unsound(token: Any) -> None:
    answer = chat("No", first={"No": -0.1})
    answer["choices"][0]["logprobs"]["content"][0] = token
    with pytest.raises(Unsound):
        read(answer, alternatives=8)


@pytest.mark.parametrize(
    ("text", "thinks", "shown"),
    [
        ("<think>\nhm, 1 > 2?\n</think>\n\n2 > 1", False, "2 > 1"),
        ("hm, 1 > 2?</think>2 > 1", True, "2 > 1"),
        ("<think> never done", True, ""),
        ("a </think> of the passage", False, "a </think> of the passage"),
        ("2 > 1", True, "2 > 1"),
    ],
)
def test_thoughts_are_left_out(text: str, thinks: bool, shown: str) -> None:
    assert read(chat(text), thinks=thinks).text == shown


def test_thoughts_that_were_cut_off_are_no_answer() -> None:
    # The opening tag was in the prompt, so nothing tells these words from an answer but their end.
    assert read(chat("No, wait. The passage", finish="length"), thinks=True).text == ""
    assert read(chat("No", finish="length")).text == "No"


def test_thoughts_apart_are_ignored() -> None:
    answer = chat("2 > 1", reasoning_content="1 > 2")
    assert read(answer).text == "2 > 1"
    assert thinks_aloud(raw(answer))
    assert thinks_aloud(raw(chat("<think>")))
    assert not thinks_aloud(raw(chat("2 > 1", reasoning_content="")))
    spent = chat("2")
    spent["usage"]["completion_tokens_details"] = {"reasoning_tokens": 3}
    assert thinks_aloud(raw(spent))


@pytest.mark.parametrize("text", ['"a ferry"', 'It is "a ferry"'])
def test_the_lead_is_there_once_whether_or_not_the_server_repeats_it(text: str) -> None:
    lead = "It is "
    assert read(chat(text), lead=lead).text == 'It is "a ferry"'


def test_finish_reasons() -> None:
    assert read(chat(None, finish="length")).finish == "length"
    assert read(chat("half", finish="content_filter")).finish == "refused"
    assert read(chat(None, refusal="I can't")).finish == "refused"


def test_tokens_that_are_missing_count_as_none() -> None:
    answer = chat("x")
    del answer["usage"]
    found = read(answer)
    assert (found.prompt_tokens, found.cached_tokens, found.completion_tokens) == (0, 0, 0)
    answer["usage"] = {"prompt_tokens": -3, "completion_tokens": "4", "prompt_tokens_details": None}
    assert read(answer).completion_tokens == 0


# --- Unsound answers ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        chat(None),
        chat("x", finish=None),
        chat("x", finish="abort"),
        chat("x", finish="tool_calls"),
        {**chat("x"), "choices": []},
        {**chat("x"), "choices": chat("x")["choices"] * 2},
        {**chat("x"), "choices": [{**chat("x")["choices"][0], "index": 1}]},
        {"choices": [{"index": 0, "finish_reason": "stop"}]},
        {"error": {"message": "overloaded"}},
        [],
        "yes",
        {"completion": "yes"},
    ],
)
def test_unsound(answer: Any) -> None:
    with pytest.raises(Unsound):
        read(answer)


@pytest.mark.parametrize("logprob", [0.5, math.inf, None, "-1", True])
def test_impossible_log_probabilities(logprob: Any) -> None:
    answer = chat("Yes", first={"Yes": -0.1})
    answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"][0]["logprob"] = logprob
    with pytest.raises(Unsound):
        read(answer, alternatives=5)


@given(st.integers(0, 10**6))
def test_half_answers_are_never_sound(cut: int) -> None:
    whole = raw(chat('a "snippet" of it', first={"a": -0.2, "b": -2.0}))
    with pytest.raises(Unsound):
        read_answer(whole[: cut % len(whole)])


@given(json_values, st.booleans(), st.sampled_from(["", "lead"]))
def test_any_json_is_sound_or_unsound(value: Any, thinks: bool, lead: str) -> None:
    for answer in (value, {"choices": [value]}, {"choices": [{"message": value, "finish_reason": "stop"}]}):
        try:
            found = read_answer(raw(answer), lead=lead, thinks=thinks, alternatives=5)
        except Unsound:
            continue
        assert found.finish in ("stop", "length", "refused")


@given(st.binary())
def test_any_bytes(body: bytes) -> None:
    with pytest.raises(Unsound):
        read_answer(body)


@given(json_values)
def test_any_log_probabilities(value: Any) -> None:
    for logprobs in (
        value,
        {"content": value},
        {"content": [value]},
        {"content": [{"token": "x", "top_logprobs": value}]},
    ):
        answer = chat("x")
        answer["choices"][0]["logprobs"] = logprobs
        try:
            found = read(answer, alternatives=5)
        except Unsound:
            continue
        assert all(-100 < p <= 0 for p in found.first.values())


# --- Refusals -------------------------------------------------------------------------------------


def reply(status: int, body: Any = b"", **headers: str) -> Reply:
    return Reply(status, httpx.Headers(headers), body if isinstance(body, bytes) else raw(body))


CONTEXT = [
    # vLLM, its successors, SGLang, llama.cpp, OpenAI, Mistral, Anthropic's and Google's compatible servers.
    (
        "This model's maximum context length is 4096 tokens. However, you requested 5096 tokens (5000 in the "
        "messages, 96 in the completion).",
        5000,
    ),
    (
        "This model's maximum context length is 4096 tokens. However, you requested 96 output tokens and your"
        " prompt contains at least 4001 input tokens",
        0,
    ),
    (
        "Requested token count exceeds the model's maximum context length of 4096 tokens. You requested a "
        "total of 5096 tokens: 5000 tokens from the input messages and 96 tokens for the completion.",
        5000,
    ),
    (
        "The input (5000 tokens) is longer than the model's context length (4096 tokens).",
        5000,
    ),
    (
        "request (5000 tokens) exceeds the available context size (4096 tokens), try increasing it",
        5000,
    ),
    (
        "This model's maximum context length is 4096 tokens. However, your messages resulted in 5000 tokens.",
        5000,
    ),
    (
        "Prompt contains 5000 tokens and 0 draft tokens, too large for model with 4096 maximum context length",
        5000,
    ),
    (
        "prompt is too long: 5000 tokens > 4096 maximum",
        5000,
    ),
    (
        "The input token count (5000) exceeds the maximum number of tokens allowed (4096).",
        5000,
    ),
]


@pytest.mark.parametrize(("said", "needed"), CONTEXT)
def test_prompts_that_do_not_fit(said: str, needed: int) -> None:
    fault = find_fault(reply(400, {"error": {"message": said}}))
    assert fault is not None
    assert (fault.kind, fault.needed) == ("context", needed)
    assert find_fault(reply(400, {"object": "error", "message": said, "code": 400})) is not None


def test_prompts_that_do_not_fit_by_code() -> None:
    llamacpp = {"code": 500, "type": "exceed_context_size_error", "message": "no", "n_prompt_tokens": 77, "n_ctx": 50}
    fault = find_fault(reply(500, {"error": llamacpp}))
    assert fault is not None
    assert (fault.kind, fault.needed) == ("context", 77)
    openai = {"code": "context_length_exceeded", "type": "invalid_request_error", "message": "no"}
    assert kind(400, {"error": openai}) == "context"
    assert kind(413, b"<html>Request Entity Too Large") == "context"


def kind(status: int, body: Any = b"") -> str:
    fault = find_fault(reply(status, body))
    assert fault is not None
    return fault.kind


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (401, {"error": {"message": "Invalid API Key"}}, "key"),
        (403, b"<html>forbidden</html>", "key"),
        (402, {"error": {"message": "no credit"}}, "credit"),
        (429, {"error": {"code": "insufficient_quota", "message": "You exceeded your quota"}}, "credit"),
        (429, {"error": {"message": "slow down"}}, "busy"),
        (503, b"Loading model", "busy"),
        (529, b"", "busy"),
        (404, {"error": {"message": "The model `x` does not exist."}}, "model"),
        (404, {"detail": "Not Found"}, "api"),
        (405, b"", "api"),
        (301, b"", "api"),
        (400, {"error": {"message": "Unrecognized request argument: seed"}}, "refused"),
        (422, {"detail": [{"loc": ["body", "x"], "msg": "extra fields not permitted"}]}, "refused"),
        (500, b"", "broken"),
        (502, b"<html><head><title>Bad Gateway</title></head></html>", "broken"),
        (504, b"", "broken"),
        (408, b"", "broken"),
    ],
)
def test_kinds_of_refusals(status: int, body: Any, expected: str) -> None:
    assert kind(status, body) == expected


@given(st.integers(100, 599).filter(lambda s: s != 200), json_values | st.binary())
def test_any_refusal_has_a_kind_and_a_short_reason(status: int, body: Any) -> None:
    fault = find_fault(reply(status, body))
    assert fault is not None
    assert fault.reason.startswith(str(status))
    assert len(fault.reason) < 400
    assert "\n" not in fault.reason


def test_web_pages() -> None:
    assert is_page(reply(200, b" <!DOCTYPE html><p>"))
    assert is_page(reply(200, b"x", **{"content-type": "text/html; charset=utf-8"}))
    assert not is_page(reply(200, {"a": "<html>"}))


NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("3", 3.0),
        ("0.25", 0.25),
        ("-4", 0.0),
        ("86400", LONGEST_ASKED),
        ("nan", None),
        ("inf", LONGEST_ASKED),
        ("soon", None),
        ("Mon, 23 Nov 2026 12:00:07 GMT", 7.0),
        ("Mon, 23 Nov 2026 11:00:00 GMT", 0.0),
        ("Mon, 23 Nov 2026 12:00:07", None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    found = read_retry_after(value, NOW)
    assert found == seconds


@given(st.text())
def test_any_retry_after(value: str) -> None:
    found = read_retry_after(value, NOW)
    assert found is None or 0 <= found <= LONGEST_ASKED


@given(st.integers(1, 1000), st.none() | st.floats(0, LONGEST_ASKED), st.integers())
def test_pauses(tries: int, asked: float | None, seed: int) -> None:
    seconds = choose_wait(tries, asked, random.Random(seed))
    assert seconds >= (asked or 0)
    assert seconds <= (asked + 1 if asked is not None else LONGEST_WAIT)


# --- Absurd numbers, depths and lengths; keys -----------------------------------------------------


@pytest.mark.parametrize("field", ["message", "code", "type", "detail"])
@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_an_error_may_be_nested_as_deep_as_it_likes(field: str, opening: bytes) -> None:
    for depth in (250, 300, 1000, 5000):
        closing = b"]" if opening == b"[" else b"}"
        body = b'{"error":{"%s":%s1%s}}' % (field.encode(), opening * depth, closing * depth)
        fault = find_fault(reply(500, body))
        assert fault is not None
        assert fault.kind == "broken"
        assert len(fault.reason) < 400


def test_a_finish_reason_may_be_nested_as_deep_as_it_likes() -> None:
    body = raw({"choices": [{"message": {"content": "x"}, "finish_reason": "END"}]})
    with pytest.raises(Unsound, match="finish_reason"):
        read_answer(body.replace(b'"END"', b"[" * 1000 + b"]" * 1000))


@pytest.mark.parametrize("tokens", [-1, 2**63 - 1, 10**30, 1.5, True, "7", None])
def test_numbers_of_tokens_that_nobody_believes(tokens: Any) -> None:
    answer = raw(chat("x")).replace(b'"prompt_tokens":100', b'"prompt_tokens":' + str(tokens).encode())
    if isinstance(tokens, int | float) and not isinstance(tokens, bool):
        assert read_answer(answer).prompt_tokens == 0
    fault = find_fault(reply(400, {"error": {"code": "context_length_exceeded", "message": f"has {10**40} tokens"}}))
    assert fault is not None
    assert fault.needed == 0
    told = {"type": "exceed_context_size_error", "message": "no", "n_prompt_tokens": tokens}
    fault = find_fault(reply(500, {"error": told})) if tokens != 10**30 else fault
    assert fault is not None
    assert fault.needed == 0


@pytest.mark.parametrize("year", ["9999999", "99999999999999999999"])
def test_a_date_that_no_calendar_has(year: str) -> None:
    assert read_retry_after(f"Mon, 01 Jan {year} 23:59:59 GMT") is None


SECRET = "sk-SECRET0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJ"


@pytest.fixture(scope="module")
def key() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOME_KEY", SECRET)
        yield Key("SOME_KEY")


def shows_key(text: str) -> bool:
    return any(SECRET[i : i + 8] in text for i in range(len(SECRET) - 7))


@given(
    before=st.integers(0, 700), cut_at=st.integers(0, len(SECRET)), gap=st.sampled_from(["", "...", " ", "\n", "<b>"])
)
def test_no_part_of_a_key_is_shown_wherever_it_is_cut_or_split(key: Any, before: int, cut_at: int, gap: str) -> None:
    said = "x" * before + SECRET[:cut_at] + gap + SECRET[cut_at:]
    escaped = "".join(f"\\u{ord(c):04x}" for c in SECRET)
    bodies = (
        raw({"error": {"message": said}}),
        raw({"error": {"message": said[: before + cut_at]}}),
        raw({"error": {"code": said, "type": [said]}}),
        raw({"detail": [{"msg": said}]}),
        b'{"error": {"message": "%s"}}' % escaped.encode(),
        said.encode(),
        b"y" * (3990 - before % 60) + said.encode(),
    )
    for body in bodies:
        fault = find_fault(reply(500, key.redact_body(body)), key=key)
        assert fault is not None
        assert not shows_key(fault.reason)


@given(before=st.integers(0, 100), cut_at=st.integers(0, len(SECRET)))
def test_no_key_is_in_an_answer(key: Any, before: int, cut_at: int) -> None:
    said = "x" * before + SECRET
    escaped = raw(chat(said, first={SECRET: -0.1})).replace(SECRET.encode(), b"\\u0073" + SECRET[1:].encode())
    for body in (raw(chat(said)), escaped):
        answer = key.redact_answer(read_answer(key.redact_body(body), alternatives=5))
        assert SECRET not in answer.text
        assert not any(SECRET in token for token in answer.first)
    ended = raw(chat("x", finish="y" * (cut_at % 40) + SECRET))
    with pytest.raises(Unsound) as refused:
        read_answer(key.redact_body(ended))
    assert not shows_key(key.redact(str(refused.value)))
