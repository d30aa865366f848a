"""Asks only what the decision needs: each answering negative against the best positive, in both orders.

One token an answer: the log-odds of "1" against "2", averaged over both orders, so that a liking for the text shown
first cancels out (pairwise ranking prompting, Qin et al., arXiv 2306.17563, against a single pivot).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from arhn.cleaning.asking import Asker
from arhn.cleaning.config import RankerSettings
from arhn.cleaning.prompts import Prompt
from arhn.cleaning.rank.ranker import Candidates
from arhn.cleaning.shown import LEAST_SHOWN, halve, show_candidate
from arhn.engines import ALTERNATIVES, Completion, OneOf, Request, log_odds
from arhn.types import Passage, Ranking

FIRST, SECOND = "1", "2"
Pair = tuple[Completion | None, Completion | None]


class Pivot:
    """Asks twice about each negative; the pivot is the positive that answers most surely."""

    def __init__(self, asker: Asker, settings: RankerSettings) -> None:
        self._asker = asker
        self._by = settings.by

    async def rank(self, candidates: Candidates) -> Ranking:
        """The order that the comparisons give."""
        pivot = max(candidates.positives, key=lambda p: candidates.extractions[p.doc_id].confidence or 0.0)
        negatives = candidates.negatives
        pairs = await asyncio.gather(*(self._compare(candidates, p, pivot) for p in negatives))
        answers = dict(zip((p.doc_id for p in negatives), pairs, strict=True))
        return read(answers, pivot.doc_id, tuple(p.doc_id for p in candidates.positives))

    async def _compare(self, candidates: Candidates, negative: Passage, pivot: Passage) -> Pair:
        def asked(share: float) -> tuple[Request, Request]:
            text, against = (
                show_candidate(p, candidates.extractions[p.doc_id], self._by, share) for p in (negative, pivot)
            )
            return make_requests(candidates.query, text, against, candidates.prompts.pivot)

        found = await self._asker.ask_fitting("rank", 1.0, asked, halve(LEAST_SHOWN), doc_id=negative.doc_id)
        return found.answers[0], found.answers[1]


def make_requests(query: str, text: str, pivot: str, prompt: Prompt) -> tuple[Request, Request]:
    """Which of two texts answers more directly: with `text` shown first, and with `pivot` shown first."""
    return _make_request(query, text, pivot, prompt), _make_request(query, pivot, text, prompt)


def _make_request(query: str, first: str, second: str, prompt: Prompt) -> Request:
    return Request(
        messages=prompt.messages(query=" ".join(query.split()), first=first, second=second),
        max_tokens=2,
        constraint=OneOf((FIRST, SECOND)),
        alternatives=ALTERNATIVES,
    )


def read_preference(completion: Completion | None) -> float | None:
    """Natural log-odds that the text shown first was chosen; +-1 where only its number is known, None where broken."""
    if completion is None or completion.finish not in ("stop", "length"):
        return None
    if completion.first:
        return log_odds(completion.first, FIRST, SECOND)
    return {FIRST: 1.0, SECOND: -1.0}.get(completion.text.strip())


def read(answers: Mapping[str, Pair], pivot: str, positives: tuple[str, ...]) -> Ranking:
    """The order that the answers give: negatives preferred to the pivot, the positives, the other negatives.

    Args:
        answers: by negative, what `make_requests` of it were answered.
        pivot: `doc_id` of the best positive; the other positives follow it.
    """
    preferred: dict[str, float] = {}
    same: dict[str, bool] = {}
    for doc_id, (shown_first, shown_second) in answers.items():
        one, two = read_preference(shown_first), read_preference(shown_second)
        if one is not None and two is not None:
            preferred[doc_id] = (one - two) / 2
            same[doc_id] = (one > 0) == (two < 0)
    if not preferred:
        return Ranking(order=(), status="failed")
    negatives = sorted(preferred, key=lambda d: (-preferred[d], d))
    above = [d for d in negatives if preferred[d] > 0]
    others = [d for d in positives if d != pivot]
    order = (*above, pivot, *others, *negatives[len(above) :])
    return Ranking(
        order=order,
        status="ok" if len(preferred) == len(answers) else "repaired",
        agreement=round(sum(same.values()) / len(same), 4),
        unstable=tuple(d for d in order if not same.get(d, True)),
    )
