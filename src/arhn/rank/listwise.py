"""Stage 2, ranking: the LLM orders the candidates by how directly they answer the query.

A pure module: it makes the request and reads the answer; the pipeline asks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from hashlib import blake2b

from arhn.engines import Completion, Message, Permutation, Request
from arhn.prompts import Prompt
from arhn.spans import cut
from arhn.types import Extraction, Passage, Ranking

#: Characters of a candidate that is shown.
SHOWN = 400
_NUMBER = re.compile(r"[0-9]+")
_CHAIN = r"\[?[0-9]{1,4}\]?(?:\s*>\s*\[?[0-9]{1,4}\]?)+"
_WHOLE = re.compile(rf"({_CHAIN})\.?")
_INTRODUCED = re.compile(rf"[A-Za-z ]{{1,40}}:?\s+({_CHAIN})\.?")


def shown_order(query: str, candidates: Sequence[Passage]) -> tuple[Passage, ...]:
    """The candidates in the order in which the LLM sees them.

    By a hash of query and text: no label or retrieval rank shines through, and every run shows the same.
    """

    def place(passage: Passage) -> bytes:
        return blake2b(f"{query}\0{passage.text}\0{passage.doc_id}".encode(), digest_size=8).digest()

    return tuple(sorted(candidates, key=place))


def ranking_request(
    query: str, candidates: Sequence[Passage], extractions: Mapping[str, Extraction], prompt: Prompt
) -> Request:
    """Ask for the order of `candidates`, numbered from 1 in the order given; each shows its snippet."""
    lines = [f"[{i}] {_shown(p, extractions[p.doc_id])}" for i, p in enumerate(candidates, 1)]
    messages: tuple[Message, ...] = prompt.messages(query=" ".join(query.split()), candidates="\n".join(lines))
    n = len(candidates)
    # A number takes one to three tokens, its separator one or two.
    return Request(messages=messages, max_tokens=6 * n, constraint=Permutation(n))


def _shown(passage: Passage, extraction: Extraction) -> str:
    # One line each: a passage can't pretend to be another candidate.
    return cut(" ".join((extraction.snippet or passage.text).split()), SHOWN)


def read_ranking(completion: Completion | None, candidates: Sequence[Passage]) -> Ranking:
    """Turn the answer into an order of `doc_id`s.

    The answer must be one chain like "2 > 1 > 3" (brackets around the numbers are fine). A chain that leaves
    candidates out is `repaired`: those it names count, the others are in no order. A few words may introduce
    a chain of all candidates. Everything else is `failed`: repeated or unknown numbers, words after the
    chain, an answer that was cut off or refused.
    """
    if completion is None or completion.finish != "stop":
        return FAILED
    text = completion.text.strip()
    whole = _WHOLE.fullmatch(text)
    match = whole or _INTRODUCED.fullmatch(text)
    if match is None:
        return FAILED
    numbers = [int(n) for n in _NUMBER.findall(match[1])]
    if len(set(numbers)) < len(numbers) or not all(1 <= n <= len(candidates) for n in numbers):
        return FAILED
    complete = len(numbers) == len(candidates)
    if not (whole or complete):
        return FAILED
    return Ranking(order=tuple(candidates[n - 1].doc_id for n in numbers), status="ok" if complete else "repaired")


FAILED = Ranking(order=(), status="failed")
