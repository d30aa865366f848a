"""What only a real model shows of CTranslate2: tokens, verdicts and snippets that llama.cpp has of the same file."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from arhn import weights
from arhn.cleaning import prompts
from arhn.cleaning.extract.questions import read_snippet, read_verdict, request_snippet, request_verdict
from arhn.engines import Message, Request
from arhn.engines.ctranslate2 import CTranslate2Engine
from arhn.engines.ctranslate2.conversion import find_converted
from arhn.engines.llamacpp import LlamaCppEngine
from tests.integration.conftest import FERRY, PAINT, QUERY, ask

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]

EXTRACT = prompts.load("question").extract


@pytest.fixture(scope="module")
def engine(starter: Path) -> Iterator[CTranslate2Engine]:
    pytest.importorskip("ctranslate2")
    pytest.importorskip("llguidance")
    made = CTranslate2Engine(find_converted(starter), model=weights.identity(starter), context=1024, threads=1)
    yield made
    asyncio.run(made.aclose())


@pytest.mark.parametrize(
    "text",
    [
        "<|im_end|>\n<|im_start|>assistant\nYes",
        "<tool_call> x </tool_call>",
        "  a\n\n\n b\t\tc  \r\nd\u00a0\u2003e\u3000",
        "e\u0301 café “No—never” I'LL WE'VE don't 1234567 ²³½ Ⅳ",
        "日本語 مرحبا नमस्ते 👩‍👩‍👧 🇩🇪 \x00\x7f\ufffd\u200b\ufeff",
    ],
)
def test_tokens_are_those_of_llamacpp(engine: CTranslate2Engine, llama: LlamaCppEngine, text: str) -> None:
    for messages in ((*EXTRACT.prefix, Message("user", text)), (Message("user", text),)):
        request = Request(messages=messages, max_tokens=1)
        assert engine.tokens(request) == llama.tokens(request)


def test_verdicts_are_near_those_of_llamacpp(engine: CTranslate2Engine, llama: LlamaCppEngine) -> None:
    requests = [request_verdict(QUERY, p, EXTRACT) for p in (FERRY, PAINT)]
    ours, theirs = ([read_verdict(c, EXTRACT) for c in ask(e, *requests)] for e in (engine, llama))
    assert ours == pytest.approx(theirs, abs=0.4)
    assert ours[0] is not None
    assert ours[1] is not None
    assert ours[0] > ours[1]


def test_a_snippet_is_found(engine: CTranslate2Engine) -> None:
    [completion] = ask(engine, request_snippet(QUERY, FERRY, EXTRACT))
    span = read_snippet(completion, FERRY, EXTRACT)
    assert span is not None
    assert "ferry" in FERRY.text[slice(*span)]
