"""The `openai` engine on a real llama.cpp server: constraints are kept to, and answers are those of the engine in this
process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from arhn.cleaning import prompts
from arhn.cleaning.extract.questions import read_snippet, read_verdict, request_snippet, request_verdict
from arhn.engines import Matching, Message, OneOf, Permutation, Request
from arhn.engines.llamacpp import LlamaCppEngine
from arhn.engines.openai.engine import OpenAIEngine, connect
from arhn.engines.openai.features import Encoder
from arhn.engines.openai.settings import Settings
from arhn.errors import KeyRefused
from tests.conftest import passage
from tests.integration.conftest import FERRY, PAINT, QUERY, ask

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]

EXTRACT = prompts.load("question").extract


@pytest.fixture(scope="module")
def served(llama: LlamaCppEngine) -> Iterator[OpenAIEngine]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLAMA_KEY", llama._http.headers["authorization"].removeprefix("Bearer "))
        yield connect(Settings(urls=(address(llama),), api_key_env="LLAMA_KEY", concurrency=2))


def address(llama: LlamaCppEngine) -> str:
    assert llama._server is not None
    return str(llama._server.listening_address)


def test_what_it_can_do(llama: LlamaCppEngine, served: OpenAIEngine) -> None:
    features = served.features
    assert features.way in ("llguidance", "grammar")
    assert features.kinds == {"SpanOf", "OneOf", "Permutation", "Matching"}
    assert (features.continues, features.thinks) == (True, False)
    assert features.top >= 20
    assert served.capabilities.context == llama.capabilities.context


def test_a_key_is_wanted(llama: LlamaCppEngine) -> None:
    with pytest.raises(KeyRefused):
        connect(Settings(urls=(address(llama),)))


def test_answers_are_those_of_the_engine_in_this_process(llama: LlamaCppEngine, served: OpenAIEngine) -> None:
    for said in (FERRY, PAINT):
        verdict, snippet = request_verdict(QUERY, said, EXTRACT), request_snippet(QUERY, said, EXTRACT)
        # One after the other: the server then computes what they share once.
        [here], [here_snippet] = ask(llama, verdict), ask(llama, snippet)
        [there], [there_snippet] = ask(served, verdict), ask(served, snippet)
        odds, others = read_verdict(here, EXTRACT), read_verdict(there, EXTRACT)
        assert odds is not None
        assert others is not None
        assert others == pytest.approx(odds, abs=0.4)  # what is batched together moves the first digit after the point
        assert there_snippet.text.startswith(EXTRACT.lead)
        assert read_snippet(there_snippet, said, EXTRACT) == read_snippet(here_snippet, said, EXTRACT)
        assert there.prompt_tokens == pytest.approx(here.prompt_tokens, abs=2)


def test_gbnf_constrains_too(served: OpenAIEngine) -> None:
    """As servers without llguidance get it."""
    known = served._encoder
    gbnf = replace(served.features, way="grammar")
    served._encoder = Encoder(served._name, gbnf, thinking_tokens=0, extra={})
    try:
        said = passage("d", "A \"quoted\" {brace} \\ slash/ [1] > [2] naïve café; rock'n'roll 日本語 x^y-z.")
        plate = Matching(
            r"[A-Z]{2}/[0-9]{3}(?:; [0-9]{1,3} km/h|, parked)",
            gbnf='root ::= ([A-Z]){2,2} "/" ([0-9]){3,3} ("; " ([0-9]){1,3} " km/h" | ", parked")\n',
        )
        # First: the server still has what it shares with the prompts before it.
        [snippet] = ask(served, request_snippet("What is written here?", said, EXTRACT))
        one, order, pattern = ask(
            served,
            Request(messages=(Message("user", "Which?"),), max_tokens=9, constraint=OneOf(("red-1", "blue-2"))),
            Request(messages=(Message("user", "Sort!"),), max_tokens=40, constraint=Permutation(6)),
            Request(messages=(Message("user", "A number plate?"),), max_tokens=24, constraint=plate),
        )
    finally:
        served._encoder = known
    assert one.text in ("red-1", "blue-2")
    assert sorted(map(int, order.text.split(" > "))) == list(range(1, 7))
    assert pattern.text[2] == "/"
    span = snippet.text.removeprefix(EXTRACT.lead).removesuffix(EXTRACT.close)
    assert span in said.text


def test_a_prompt_that_does_not_fit(served: OpenAIEngine) -> None:
    [answer] = ask(served, Request(messages=(Message("user", "word " * 3000),), max_tokens=9))
    assert answer.finish == "context"
    assert answer.prompt_tokens > 3000
