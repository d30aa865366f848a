"""The `openai` engine on a real llama.cpp server: constraints are kept to, and answers are those of the engine in this
process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from arhn import prompts, weights
from arhn.engines import Completion, Matching, Message, OneOf, Permutation, Request
from arhn.engines.http.features import Encoder
from arhn.engines.llamacpp import LlamaCppEngine
from arhn.engines.openai import Key, OpenAIEngine, Settings, connect
from arhn.errors import KeyRefused, ModelError
from arhn.extract import read_snippet, read_verdict, snippet_request, verdict_request
from arhn.together import read_together, together_request
from tests.conftest import passage

pytestmark = pytest.mark.model

FERRY = passage("ferry", "The Kettle Bridge was opened in 1931. It replaced a ferry that had run since the 1780s.")
PAINT = passage("paint", "The Kettle Bridge was painted green. Its lamps were lit by hand until the war.")
QUERY = "What did the Kettle Bridge replace?"
EXTRACT = prompts.load("question").extract


@pytest.fixture(scope="module")
def llama() -> Iterator[LlamaCppEngine]:
    try:
        path: Path = weights.resolve(weights.STARTER)
    except ModelError as error:
        pytest.fail(f"the starter model is needed: {error}")
    engine = LlamaCppEngine(path, model=weights.identity(path), slots=1, context=2048)
    yield engine
    asyncio.run(engine.aclose())


@pytest.fixture(scope="module")
def served(llama: LlamaCppEngine) -> OpenAIEngine:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLAMA_KEY", llama._http.headers["authorization"].removeprefix("Bearer "))
        return connect(Settings(urls=(address(llama),), key=Key("LLAMA_KEY"), concurrency=2))


def address(llama: LlamaCppEngine) -> str:
    assert llama._server is not None
    return str(llama._server.listening_address)


def ask(engine: OpenAIEngine | LlamaCppEngine, *requests: Request) -> list[Completion]:
    async def all_of_them() -> list[Completion]:
        return list(await asyncio.gather(*(engine.complete(r) for r in requests)))

    return asyncio.run(all_of_them())


def test_what_it_can_do(served: OpenAIEngine) -> None:
    features = served.features
    assert features.way in ("llguidance", "grammar")
    assert features.kinds == {"SpanOf", "OneOf", "Permutation", "Matching"}
    assert (features.continues, features.thinks) == (True, False)
    assert features.top >= 20
    assert served.capabilities.context == 2048


def test_a_key_is_wanted(llama: LlamaCppEngine) -> None:
    with pytest.raises(KeyRefused):
        connect(Settings(urls=(address(llama),)))


def test_answers_are_those_of_the_engine_in_this_process(llama: LlamaCppEngine, served: OpenAIEngine) -> None:
    for said in (FERRY, PAINT):
        verdict, snippet = verdict_request(QUERY, said, EXTRACT), snippet_request(QUERY, said, EXTRACT)
        [here, here_snippet], [there, there_snippet] = ask(llama, verdict, snippet), ask(served, verdict, snippet)
        odds, others = read_verdict(here, EXTRACT), read_verdict(there, EXTRACT)
        assert odds is not None
        assert others is not None
        assert others == pytest.approx(odds, abs=0.4)  # what is batched together moves the first digit after the point
        assert there_snippet.text.startswith(EXTRACT.lead)
        assert read_snippet(there_snippet, said, EXTRACT) == read_snippet(here_snippet, said, EXTRACT)
        assert there.prompt_tokens == pytest.approx(here.prompt_tokens, abs=2)


def test_several_verdicts_are_those_of_the_engine_in_this_process(llama: LlamaCppEngine, served: OpenAIEngine) -> None:
    request = together_request(QUERY, [PAINT, FERRY], prompts.load("question").together, known="a ferry")
    [here], [there] = ask(llama, request), ask(served, request)
    assert there.text == here.text
    found, others = read_together(here, 2), read_together(there, 2)
    assert None not in found
    assert others == pytest.approx(found, abs=0.4)


def test_gbnf_constrains_too(served: OpenAIEngine) -> None:
    """As servers without llguidance get it."""
    known = served._encoder
    gbnf = replace(served.features, way="grammar")
    served._encoder = Encoder(served._name, gbnf, thinking_tokens=0, extra={})
    try:
        said = passage("d", "A \"quoted\" {brace} \\ slash/ [1] > [2] naïve café; rock'n'roll 日本語 x^y-z.")
        plate = Matching(r"[A-Z]{2}/[0-9]{3}(?:; [0-9]{1,3} km/h|, parked)")
        one, order, pattern, snippet = ask(
            served,
            Request(messages=(Message("user", "Which?"),), max_tokens=9, constraint=OneOf(("red-1", "blue-2"))),
            Request(messages=(Message("user", "Sort!"),), max_tokens=40, constraint=Permutation(6)),
            Request(messages=(Message("user", "A number plate?"),), max_tokens=24, constraint=plate),
            snippet_request("What is written here?", said, EXTRACT),
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
