"""The paper's ranking: all candidates in one prompt, the answer is their order."""

from __future__ import annotations

import re
from collections.abc import Sequence

from arhn.cleaning.asking import Asker
from arhn.cleaning.config import RankerSettings
from arhn.cleaning.prompts import Prompt
from arhn.cleaning.rank.ranker import Candidates
from arhn.cleaning.shown import LEAST_SHOWN, halve, order_shown, show_candidate
from arhn.engines import Completion, Permutation, Request
from arhn.types import Ranking

_NUMBER = re.compile(r"[0-9]+")
_CHAIN = r"\[?[0-9]{1,4}\]?(?:\s*>\s*\[?[0-9]{1,4}\]?)+"
_WHOLE = re.compile(rf"({_CHAIN})\.?")
_INTRODUCED = re.compile(rf"[A-Za-z ]{{1,40}}:?\s+({_CHAIN})\.?")

FAILED = Ranking(order=(), status="failed")


class Listwise:
    """Asks once for the order of all candidates."""

    def __init__(self, asker: Asker, settings: RankerSettings) -> None:
        self._asker = asker
        self._by = settings.by

    async def rank(self, candidates: Candidates, shuffle: int = 0) -> Ranking:
        """The order that the LLM gives.

        Args:
            shuffle: in which order it is shown them (`order_shown`).
        """
        shown = order_shown(candidates.query, candidates.passages, shuffle)

        def requests(share: float) -> list[Request]:
            texts = [show_candidate(p, candidates.extractions[p.doc_id], self._by, share) for p in shown]
            return [make_request(candidates.query, texts, candidates.prompts.rank)]

        found = await self._asker.ask_fitting("rank", 1.0, requests, halve(LEAST_SHOWN))
        return read(found.answers[0], [p.doc_id for p in shown])


def make_request(query: str, texts: Sequence[str], prompt: Prompt) -> Request:
    """Ask for the order of `texts`, numbered from 1 in the order given; each is one line."""
    lines = "\n".join(f"[{i}] {text}" for i, text in enumerate(texts, 1))
    messages = prompt.messages(query=" ".join(query.split()), candidates=lines)
    # A number takes one to three tokens, its separator one or two.
    return Request(messages=messages, max_tokens=6 * len(texts), constraint=Permutation(len(texts)))


def read(completion: Completion | None, shown: Sequence[str]) -> Ranking:
    """Turn the answer into an order of `doc_id`s, `shown` in the order shown.

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
    if len(set(numbers)) < len(numbers) or not all(1 <= n <= len(shown) for n in numbers):
        return FAILED
    complete = len(numbers) == len(shown)
    if not (whole or complete):
        return FAILED
    return Ranking(order=tuple(shown[n - 1] for n in numbers), status="ok" if complete else "repaired")
