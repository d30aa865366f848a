"""Assumed answers, as often yes as an estimate assumes. Pure.

An assumed answer is drawn by a hash of its question: every estimate of the same data is the same, and a passage that
answers at a low rate also answers at a higher one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b

from arhn.cleaning.asking import find_current_query
from arhn.cleaning.config import CleanConfig
from arhn.cleaning.extract.questions import request_verdict
from arhn.cleaning.prompts import ExtractPrompt
from arhn.cleaning.setup import find_prompts
from arhn.engines import Completion, Matching, OneOf, Permutation, Request, SpanOf
from arhn.engines.protocol import split_lead
from arhn.families.choice import family_of
from arhn.families.family import Family
from arhn.types import Group

#: Log-probabilities of the answer given and of the other: sure enough for any calibration.
_SURE, _UNLIKELY = -1e-9, -20.0
_CANDIDATE = re.compile(r"^\[[0-9]+\] ", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What is assumed of answers.

    `answering`: share of the negatives that answer, in [0, 1]. `words`: of a snippet. Of the negatives that are
    ranked, half come above the positive; of those, half answer in part only.
    """

    answering: float
    words: int


class Assumed:
    """Answers requests about `groups`. A labelled positive always answers."""

    def __init__(self, groups: Mapping[str, Group], rates: Rates, config: CleanConfig) -> None:
        self._groups = groups
        self._rates = rates
        self._config = config
        self._of: dict[str, tuple[ExtractPrompt, tuple[str, ...]]] = {}

    def answer(self, request: Request) -> Completion:
        """The answer; its tokens aren't counted."""
        match request.constraint:
            case None:
                return self._give_verdict(request)
            case SpanOf(text, otherwise, lead, close):
                return Completion(text=self._give_span(request, text, otherwise, lead, close))
            case OneOf(choices):
                return _choose(choices, _draw(request) < 0.5)
            case Permutation(n):
                order = sorted(range(1, n + 1), key=lambda i: _draw(request, str(i)))
                return Completion(text=" > ".join(map(str, order)))
            case Matching():
                return Completion(text=self._give_judgement(request))

    def _give_verdict(self, request: Request) -> Completion:
        prompt, _ = self._find_prompt()
        yes, no = prompt.lead or "\N{BULLET}", prompt.no_answer
        likely, other = (yes, no) if self._answers(request) else (no, yes)
        return Completion(text=likely, finish="length", first={likely: _SURE, other: _UNLIKELY})

    def _give_span(self, request: Request, text: str, otherwise: str, lead: str, close: str) -> str:
        if otherwise and not self._answers(request):
            return otherwise
        return f"{lead}{' '.join(text.split()[: self._rates.words])}{close}"

    def _give_judgement(self, request: Request) -> str:
        count = len(_CANDIDATE.findall(request.messages[-1].content))
        named = [str(i + 1) for i in range(count) if _draw(request, str(i)) < self._rates.answering]
        return f"better: none; worse: {', '.join(named) or 'none'}"

    def _answers(self, request: Request) -> bool:
        _, positives = self._find_prompt()
        content = request.messages[-1].content
        return content.startswith(positives) or _draw(request) < self._rates.answering

    def _find_prompt(self) -> tuple[ExtractPrompt, tuple[str, ...]]:
        """The prompt of the query in work, and how requests about its positives begin."""
        query_id = find_current_query() or ""
        if query_id not in self._of:
            group = self._groups[query_id]
            family = family_of(group, self._config.families).family
            # What is left alone isn't asked about.
            prompt = find_prompts(family or Family.QUESTION, self._config).extract
            asked = (request_verdict(group.query, p, prompt) for p in group.positives)
            self._of[query_id] = prompt, tuple(r.messages[-1].content for r in asked)
        return self._of[query_id]


def _choose(choices: tuple[str, ...], first: bool) -> Completion:
    one, other = choices if first else choices[::-1]
    return Completion(text=one, first={one: _SURE, other: _UNLIKELY})


def _draw(request: Request, salt: str = "") -> float:
    """Evenly from [0, 1), by what is asked."""
    digest = blake2b(f"{salt}\0{request.messages[-1].content}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


def find_written(text: str, request: Request) -> str:
    """The part of an answer that the LLM has to write."""
    return text.removeprefix(split_lead(request.constraint)[0])


def find_interval(hits: int, of: int) -> tuple[float, float]:
    """Wilson's 95% interval of a share."""
    if not of:
        return 0.0, 1.0
    z, share = 1.96, hits / of
    middle = share + z * z / (2 * of)
    half = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    scale = 1 + z * z / of
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


__all__ = ["Assumed", "Rates", "find_interval", "find_written"]
