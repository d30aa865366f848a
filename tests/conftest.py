"""Shared pieces: invented groups and a script for the fake engine that answers from the groups themselves."""

from __future__ import annotations

import os
import re
import signal
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Literal

# Before numpy is loaded. What tests compute is small: several threads mostly wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

from arhn.cleaning.evidence.calibration import Calibration
from arhn.cleaning.evidence.signals import QUERY, VERDICT
from arhn.cleaning.rank import pivot
from arhn.engines import Completion, Matching, OneOf, Permutation, Request, SpanOf
from arhn.engines.fake import FakeEngine, Script
from arhn.retrieval.similarity import Likeness
from arhn.types import Group, Passage

# A run started in the background inherits an ignored SIGINT, and the tests of Ctrl-C would see nothing.
signal.signal(signal.SIGINT, signal.default_int_handler)

YES = {"Yes": -0.1, "No": -2.4}
NO = {"No": -0.1, "Yes": -2.4}


def passage(doc_id: str, text: str) -> Passage:
    return Passage(doc_id=doc_id, text=text)


def group(
    query_id: str = "q1",
    *,
    query: str = "what is the answer?",
    positives: Sequence[str] = ("the best ANSWER1 is here",),
    negatives: Sequence[str] = (),
) -> Group:
    """A group from texts; a text that holds ANSWER<n> answers, the smaller n the more directly."""
    return Group(
        query_id=query_id,
        query=query,
        positives=tuple(passage(f"{query_id}-p{i}", t) for i, t in enumerate(positives)),
        negatives=tuple(passage(f"{query_id}-n{i}", t) for i, t in enumerate(negatives)),
    )


def calibrated(
    query: Mapping[str, float] | None = None,
    *,
    weight: float = 1.0,
    centre: float = 0.0,
    prior: float = 0.0,
    spread: float = 1000.0,
    **fields: object,
) -> Calibration:
    """A calibration whose verdict counts like this, and the query's similarity where its `SignalWeight` is given."""
    signals = {VERDICT: {"weight": weight, "centre": centre, "prior": prior, "spread": spread}}
    return Calibration.model_validate({"signals": signals if query is None else {**signals, QUERY: query}, **fields})


class FakeSimilarity:
    """In the place of a similarity model: `scores` says how like anything a passage is, be it query or positive."""

    def scores(self, query: str, passages: Sequence[Passage]) -> tuple[float, ...]:
        raise NotImplementedError

    def compare(self, query: str, _: Sequence[Passage], negatives: Sequence[Passage]) -> Likeness:
        found = self.scores(query, negatives)
        return Likeness(query=found, positive=found, sentence=found)


def yes(snippet: str) -> str:
    """An extraction as the prompt for questions wants it."""
    return f'Yes, the answer is "{snippet}"'


Kind = Literal["verdict", "snippet", "whole", "rank", "pivot", "fullness", "judge"]


def kind_of(request: Request) -> Kind:
    """What a request asks for; `whole` is verdict and snippet in one answer."""
    match request.constraint:
        case None:
            assert request.max_tokens == 1
            return "verdict"
        case SpanOf(otherwise=""):
            return "snippet"
        case SpanOf():
            return "whole"
        case Permutation():
            return "rank"
        case OneOf(choices):
            return "pivot" if choices == (pivot.FIRST, pivot.SECOND) else "fullness"
        case Matching():
            return "judge"


_KNOWN = re.compile(r"\n(?:\w+ e|E)lsewhere: (.*)\Z")


def shown(request: Request) -> str:
    """The user's message, without what the labelled positives answer."""
    return _KNOWN.sub("", request.messages[-1].content)


def known(request: Request) -> str | None:
    """What the labelled positives answer, where the user's message shows it."""
    found = _KNOWN.search(request.messages[-1].content)
    return found[1] if found else None


def verdict(first: Mapping[str, float]) -> Completion:
    """One token with its alternatives."""
    text = max(first, key=lambda token: first[token])
    return Completion(text=text, first=first, finish="length", prompt_tokens=100, cached_tokens=40, completion_tokens=1)


def answer_by_marks(request: Request) -> Completion | str:
    """Extraction copies ANSWER<n>; ranking and judging go by n; what is said PARTLY is no full answer."""
    text = shown(request)
    found = re.search(r"ANSWER\d*", text)
    match request.constraint:
        case None:
            return verdict(YES if found else NO)
        case SpanOf(_, otherwise, lead, close):
            answer = f"{lead}{found[0]}{close}" if found else otherwise
            return Completion(text=answer, prompt_tokens=110, cached_tokens=100, completion_tokens=3)
        case Permutation():
            numbers = [number for number, _ in sorted(_marks(text, r"\[(\d+)\]"), key=lambda pair: pair[1])]
            return " > ".join(numbers)
        case OneOf((pivot.FIRST, pivot.SECOND)):
            (_, one), (_, two) = _marks(text, r"\[(\d+)\]")
            return replace(verdict({"1": -0.1, "2": -2.4} if one <= two else {"1": -2.4, "2": -0.1}), finish="stop")
        case OneOf():
            return replace(verdict(NO if "PARTLY" in text else YES), finish="stop")
        case Matching():
            best = min(mark for _, mark in _marks(text, "(-)"))
            named = [(number, mark) for number, mark in _marks(text, r"\[(\d+)\]") if mark < UNMARKED]
            better = ", ".join(number for number, mark in named if mark <= best)
            worse = ", ".join(number for number, mark in named if mark > best)
            return f"better: {better or 'none'}; worse: {worse or 'none'}"


UNMARKED = 1000


def _marks(text: str, bullet: str) -> list[tuple[str, int]]:
    """(bullet, n) of the lines that begin with such a bullet; a line without a mark comes last."""
    lines = re.findall(rf"^{bullet} (.*)$", text, re.MULTILINE)
    marks = [(label, re.search(r"ANSWER(\d*)", line)) for label, line in lines]
    return [(label, int(mark[1] or 0) if mark else UNMARKED) for label, mark in marks]


def without_logprobs(script: Script) -> FakeEngine:
    """An engine that gives texts only."""
    engine = FakeEngine(script)
    engine.capabilities = replace(engine.capabilities, logprobs=False)
    return engine


@pytest.fixture(scope="session", autouse=True)
def _certificates() -> Iterator[None]:
    """They are read once: each HTTP client would take half a tenth of a second for them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl, "create_default_context", cache(ssl.create_default_context))
        yield


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(answer_by_marks)


def many(count: int, negatives: int = 7) -> Iterable[Group]:
    """Groups made while they are read; every third negative answers, some better than the positive."""
    for i in range(count):
        texts = [
            f"passage {j} of group {i} " + (f"holds ANSWER{(i + j) % 4}" if j % 3 == 0 else "holds nothing")
            for j in range(negatives)
        ]
        yield group(f"q{i}", query=f"question {i}?", positives=(f"positive of {i} holds ANSWER2",), negatives=texts)


def put_in(*settings: str) -> tuple[str, ...]:
    """Settings as options of a command."""
    return tuple(word for setting in settings for word in ("--set", setting))


def until(what: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for it."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
