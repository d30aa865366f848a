"""The `vllm` engine on a real vLLM, where there is one: `ARHN_VLLM_MODEL` names a small model in Hugging Face's format.

On a CPU: `VLLM_TARGET_DEVICE=cpu VLLM_CPU_KVCACHE_SPACE=1 VLLM_CPU_OMP_THREADS_BIND=nobind`.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import pytest

from arhn.cleaning import prompts
from arhn.cleaning.extract.questions import read_snippet, read_verdict, request_snippet, request_verdict
from arhn.engines import Completion, Matching, Message, OneOf, Permutation, Request
from arhn.engines.vllm import VLLMEngine
from arhn.engines.vllm.settings import Settings
from arhn.errors import EngineError
from tests.conftest import passage

MODEL = os.environ.get("ARHN_VLLM_MODEL", "")
pytestmark = [
    pytest.mark.model,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM isn't installed"),
    pytest.mark.skipif(not MODEL, reason="ARHN_VLLM_MODEL isn't set"),
    # What vLLM does as it is imported and ended is its own business.
    pytest.mark.filterwarnings("default"),
]

FERRY = passage("ferry", "The Kettle Bridge was opened in 1931. It replaced a ferry that had run since the 1780s.")
QUERY = "What did the Kettle Bridge replace?"
EXTRACT = prompts.load("question").extract


@pytest.fixture(scope="module")
def engine() -> Iterator[VLLMEngine]:
    engine = VLLMEngine(Settings(model=MODEL, context=2048, concurrency=8, args={"enforce_eager": True}))
    yield engine
    asyncio.run(engine.aclose())
    assert not _running(engine)


def ask(engine: VLLMEngine, *requests: Request) -> list[Completion]:
    async def all_of_them() -> list[Completion]:
        return list(await asyncio.gather(*(engine.complete(r) for r in requests)))

    return asyncio.run(all_of_them())


def test_what_it_can_do(engine: VLLMEngine) -> None:
    able = engine.capabilities
    assert (able.constraints, able.logprobs, able.concurrency, able.context) == (True, True, 8, 2048)
    assert engine.report()["constraints"]["kinds"] == ["Matching", "OneOf", "Permutation", "SpanOf"]


def test_answers(engine: VLLMEngine) -> None:
    verdict, snippet = request_verdict(QUERY, FERRY, EXTRACT), request_snippet(QUERY, FERRY, EXTRACT)
    [first, words] = ask(engine, verdict, snippet)
    assert read_verdict(first, EXTRACT) is not None
    assert len(first.first) >= 20
    assert all(logprob <= 0 for logprob in first.first.values())
    assert words.text.startswith(EXTRACT.lead)
    span = read_snippet(words, FERRY, EXTRACT)
    assert span is not None
    assert FERRY.text[span[0] : span[1]] in words.text
    [again] = ask(engine, verdict)
    assert again.cached_tokens > 0.5 * again.prompt_tokens  # by whole blocks, of 128 tokens on a CPU
    assert read_verdict(again, EXTRACT) == pytest.approx(read_verdict(first, EXTRACT), abs=0.2)


def test_constraints(engine: VLLMEngine) -> None:
    plate = Matching(r"[A-Z]{2}/[0-9]{3}(?:; [0-9]{1,3} km/h|, parked)")
    said = passage("d", "A \"quoted\" {brace} \\ slash/ [1] > [2] naïve café; rock'n'roll 日本語 x^y-z.")
    one, order, pattern, snippet = ask(
        engine,
        Request(messages=(Message("user", "Which?"),), max_tokens=9, constraint=OneOf(("red-1", "blue-2"))),
        Request(messages=(Message("user", "Sort!"),), max_tokens=40, constraint=Permutation(6)),
        Request(messages=(Message("user", "A number plate?"),), max_tokens=24, constraint=plate),
        request_snippet("What is written here?", said, EXTRACT),
    )
    assert one.text in ("red-1", "blue-2")
    assert sorted(map(int, order.text.split(" > "))) == list(range(1, 7))
    assert pattern.text[2] == "/"
    assert snippet.text.removeprefix(EXTRACT.lead).removesuffix(EXTRACT.close) in said.text


def test_control_tokens_in_a_passage_are_text(engine: VLLMEngine) -> None:
    plain, control = (Request(messages=(Message("user", f"Say {x}"),), max_tokens=1) for x in ("x", "<|im_end|>"))
    [short, spelled] = ask(engine, plain, control)
    assert spelled.prompt_tokens >= short.prompt_tokens + 3


def test_seeds(engine: VLLMEngine) -> None:
    asked = (Message("user", "Name any animal, then any colour, then any number."),)
    requests = [Request(messages=asked, max_tokens=12, temperature=1.0, seed=seed) for seed in (1, 1, 2, 3)]
    answers = [answer.text for answer in ask(engine, *requests)]
    assert answers[0] == answers[1]
    assert len(set(answers)) > 1


def test_a_prompt_that_does_not_fit(engine: VLLMEngine) -> None:
    [answer] = ask(engine, Request(messages=(Message("user", "word " * 3000),), max_tokens=9))
    assert answer.finish == "context"
    assert answer.prompt_tokens > 3000


def test_killed(engine: VLLMEngine) -> None:
    """The last test: nothing answers after it."""
    assert len(_running(engine)) >= 2  # the core and its worker
    [core] = multiprocessing.active_children()
    core.kill()
    with pytest.raises(EngineError, match="Every answer so far is kept"):
        ask(engine, *(request_verdict(QUERY, passage(str(i), f"{i} {FERRY.text}"), EXTRACT) for i in range(4)))
    asyncio.run(engine.aclose())
    assert not _running(engine)


def _running(engine: VLLMEngine) -> list[Path]:
    """vLLM's processes."""
    [mark] = (f"{name}={value}" for name, value in engine._started.processes.mark.items() if name != "SPT_NOENV")
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            found += [environ] if mark.encode() in environ.read_bytes() else []
    return found
