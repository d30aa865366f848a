"""Shared pieces: invented groups and a script for the fake engine that answers from the groups themselves."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Sequence

import pytest

from arhn.engines import Completion, Permutation, Request, SpanOf
from arhn.engines.fake import FakeEngine
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


def yes(snippet: str) -> str:
    """An extraction as the prompt wants it."""
    return f'Yes, the answer is "{snippet}"'


def answer_by_marks(request: Request) -> Completion | str:
    """Extraction copies ANSWER<n>; ranking orders by n."""
    if isinstance(request.constraint, SpanOf):
        found = re.search(r"ANSWER\d*", request.constraint.text)
        text = yes(found[0]) if found else "No"
        return Completion(
            text=text, first=YES if found else NO, prompt_tokens=100, cached_tokens=40, completion_tokens=3
        )
    assert isinstance(request.constraint, Permutation)
    shown = re.findall(r"^\[(\d+)\] .*?(\d*)$", request.messages[-1].content, re.MULTILINE)
    order = sorted(shown, key=lambda pair: int(pair[1] or 0))
    return " > ".join(number for number, _ in order)


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
