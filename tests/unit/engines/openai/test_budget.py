"""What may be spent, and requests as they are sent."""

from __future__ import annotations

import math
import pickle
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from arhn.engines import Completion, Matching, Message, OneOf, Permutation, Request, SpanOf
from arhn.engines.openai.budget import Budget, Prices
from arhn.engines.openai.features import WAYS, Encoder, Features
from arhn.engines.openai.settings import BudgetSettings, Key, Settings
from arhn.errors import BudgetSpent, KeyRefused, UsageError

PRICES = Prices(prompt=2.0, completion=8.0, cached=0.5)


def test_budgets_as_given() -> None:
    settings = BudgetSettings(calls=2000, money=0.25, prompt_price=1.0, cached_price=0.5)
    budget = settings.open()
    assert (budget.calls, budget.tokens, budget.money) == (2000, None, 0.25)
    assert (budget.prices.prompt, budget.prices.completion, budget.prices.cached) == (1.0, 0.0, 0.5)
    assert settings.limited
    assert not BudgetSettings(prompt_price=1.0).limited


@pytest.mark.parametrize(
    "given", [{"calls": -1}, {"tokens": 1.5}, {"time": 3}, {"money": math.inf}, {"prompt_price": -1}, {"calls": "10k"}]
)
def test_other_budgets_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        BudgetSettings(**given)


def test_money_needs_prices() -> None:
    with pytest.raises(ValidationError, match="prompt_price and completion_price"):
        BudgetSettings(money=3)
    with pytest.raises(UsageError, match=r"budget\.prompt_price"):
        Budget(money=3)


def test_what_tokens_cost() -> None:
    assert PRICES.compute_cost(1_000_000, 400_000, 100_000) == pytest.approx(0.6 * 2 + 0.4 * 0.5 + 0.1 * 8)
    assert Prices(prompt=1.0).compute_cost(10**6, 10**6, 0) == 1.0


@given(
    st.lists(st.tuples(st.integers(0, 900), st.integers(0, 90), st.integers(0, 5)), max_size=60),
    st.integers(1, 20_000),
    st.integers(1, 40),
)
def test_no_limit_is_passed(asked: list[tuple[int, int, int]], tokens: int, calls: int) -> None:
    """As long as guesses are upper bounds, whatever is in flight at once."""
    budget = Budget(tokens=tokens, calls=calls)
    flying: list[tuple[int, int]] = []
    for prompt, completion, landing in asked:
        try:
            budget.reserve(prompt, completion)
        except BudgetSpent:
            break
        flying.append((prompt, completion))
        for guess in flying[:landing]:
            budget.release(*guess)
            budget.record_answer(Completion(text="", prompt_tokens=guess[0], completion_tokens=guess[1]), guess[0])
        del flying[:landing]
    for guess in flying:
        budget.release(*guess)
        budget.record_answer(Completion(text="", prompt_tokens=guess[0], completion_tokens=guess[1]), guess[0])
    assert budget.prompt + budget.completion <= tokens
    assert budget.used_calls <= calls


def test_a_repetition_is_a_call() -> None:
    budget = Budget(calls=2)
    budget.reserve(1, 1)
    assert budget.count_retry()
    assert not budget.count_retry()
    with pytest.raises(BudgetSpent, match="2 of 2 calls"):
        budget.reserve(1, 1)


def test_prompts_that_the_server_does_not_count_are_guessed() -> None:
    budget = Budget(prices=PRICES)
    budget.record_answer(Completion(text="x"), 40)
    assert budget.report() == {"calls": 0, "tokens": 40, "money": 0.00008}


# --- Requests as they are sent --------------------------------------------------------------------

ASKED = (Message("system", "Judge."), Message("user", "Q"))
ALL = frozenset({"SpanOf", "OneOf", "Permutation", "Matching"})


def sent(request: Request, extra: dict[str, Any] | None = None, **features: Any) -> dict[str, Any]:
    encoder = Encoder("m", Features(**features), thinking_tokens=500, extra=extra or {})
    found: dict[str, Any] = orjson.loads(encoder.encode(request).body)
    return found


def test_a_verdict() -> None:
    body = sent(Request(messages=ASKED, max_tokens=1, alternatives=40), top=20, quiet="template", penalty=True)
    assert body == {
        "model": "m",
        "messages": [{"role": "system", "content": "Judge."}, {"role": "user", "content": "Q"}],
        "max_tokens": 1,
        "temperature": 0.0,
        "seed": 0,
        "logprobs": True,
        "top_logprobs": 20,
        "repetition_penalty": 1.0,
        "chat_template_kwargs": {"enable_thinking": False},
    }


def test_a_snippet_goes_on_where_the_lead_ends() -> None:
    request = Request(messages=ASKED, max_tokens=9, constraint=SpanOf("a b", lead="Yes: ", close="."))
    body = sent(request, way="structured_outputs", kinds=ALL, continues=True)
    assert body["messages"][-1] == {"role": "assistant", "content": "Yes: "}
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)
    assert "Yes" not in body["structured_outputs"]["grammar"]
    body = sent(request, way="structured_outputs", kinds=ALL)
    assert body["messages"][-1]["role"] == "user"
    assert "Yes" in body["structured_outputs"]["grammar"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "constraint",
    [SpanOf("a b"), OneOf(("1", "2")), Permutation(3), Matching("a[0-9]{2}", 'root ::= "a" ([0-9]){2,2}\n')],
    ids=lambda c: type(c).__name__,
)
def test_constraints_are_sent_where_they_are_kept_to(way: Any, constraint: Any) -> None:
    request = Request(messages=ASKED, max_tokens=9, constraint=constraint)
    body = sent(request, way=way, kinds=ALL)
    assert {"structured_outputs", "grammar", "ebnf"} & body.keys()
    assert not {"structured_outputs", "grammar", "ebnf"} & sent(request, way=way).keys()


def test_what_a_server_does_not_take_is_left_out() -> None:
    request = Request(messages=ASKED, max_tokens=9, temperature=1.0, seed=4)
    assert sent(request) | {"temperature": 1.0, "top_p": 1, "seed": 4} == sent(request)
    body = sent(request, temperature=False, seed=False, limit="max_completion_tokens", thinks=True)
    assert body.keys() == {"model", "messages", "max_completion_tokens"}
    assert body["max_completion_tokens"] == 509
    assert sent(request, extra={"seed": 9, "provider": {}}) | {"seed": 9, "provider": {}} == sent(
        request, {"seed": 9, "provider": {}}
    )


def test_the_way_of_answering_is_part_of_the_identity() -> None:
    ways = [
        Features(),
        Features(top=20),
        Features(top=5),
        Features(way="grammar", kinds=ALL),
        Features(way="grammar", kinds=frozenset({"SpanOf"})),
        Features(continues=True),
        Features(quiet="template"),
        Features(thinks=True),
        Features(seed=False),
    ]
    assert len({features.identity for features in ways}) == len(ways)


# --- Keys and URLs --------------------------------------------------------------------------------

SECRET = "sk-very-secret-123"


def test_a_key_shows_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", f" {SECRET}\n")
    key = Key("SOME_KEY")
    assert key.headers["authorization"] == f"Bearer {SECRET}"
    shown = [
        repr(key),
        str(key),
        repr(key.headers),
        repr(Settings(urls=("http://x",), api_key_env="SOME_KEY")),
        key.redact(f"no {SECRET}!"),
    ]
    assert not any(SECRET in text for text in shown)
    with pytest.raises(TypeError, match="never stored"):
        pickle.dumps(key)


@pytest.mark.parametrize("value", [None, "", "  ", "sécret", "two\nlines"])
def test_keys_that_are_none(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOME_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("SOME_KEY", value)
    with pytest.raises(KeyRefused, match="SOME_KEY") as error:
        Key("SOME_KEY")
    assert not value or not value.strip() or value not in str(error.value)


@pytest.mark.parametrize(
    ("given", "base"),
    [
        ("http://h:8000", "http://h:8000/v1"),
        ("http://h:8000/", "http://h:8000/v1"),
        ("http://h:8000/v1/", "http://h:8000/v1"),
        ("https://h/api/v1/chat/completions", "https://h/api/v1"),
        (" https://h/openai ", "https://h/openai"),
    ],
)
def test_base_urls(given: str, base: str) -> None:
    assert [str(url) for url in Settings(urls=(given, given)).bases] == [base]


@pytest.mark.parametrize(
    "given",
    [
        *("", "localhost:8000", "ftp://h", "http://", "http://h:x", "http://h/v1?k=1", "http://u:pw@h/v1"),
        *(
            "http://a..b/v1",
            "http://.h/",
            f"http://{'a' * 64}.h/",
            "http://h\\x/v1",
            "http://h:99999/v1",
            "http://h:-1/",
        ),
        *("http://xn--zz.h/", "http://u:pw@a..b/", "http://u:pw@h:99999/"),
    ],
)
def test_other_urls_are_refused(given: str) -> None:
    with pytest.raises(UsageError, match=r"engine\.urls") as error:
        _ = Settings(urls=(given,)).bases
    assert "pw" not in str(error.value)
