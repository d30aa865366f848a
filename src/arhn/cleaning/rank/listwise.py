"""The paper's ranking: all candidates in one prompt, the answer is their order.

`consistent` is permutation self-consistency (Tang et al., arXiv 2310.07712): the same question over several shuffled
orders, so that the place in which a candidate is shown cancels out.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Collection, Sequence

from arhn.cleaning.prompts import Prompt
from arhn.engines import Completion, Permutation, Request
from arhn.types import Ranking

_NUMBER = re.compile(r"[0-9]+")
_CHAIN = r"\[?[0-9]{1,4}\]?(?:\s*>\s*\[?[0-9]{1,4}\]?)+"
_WHOLE = re.compile(rf"({_CHAIN})\.?")
_INTRODUCED = re.compile(rf"[A-Za-z ]{{1,40}}:?\s+({_CHAIN})\.?")

FAILED = Ranking(order=(), status="failed")


def request(query: str, texts: Sequence[str], prompt: Prompt) -> Request:
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


def consistent(rankings: Sequence[Ranking], positives: Collection[str], least: float) -> Ranking:
    """One ranking of several over the same candidates, each shown in another order.

    Candidates are ordered by their mean place (from 0 to 1; Borda). On which side of the best positive a negative
    belongs is put to the vote, ranking by ranking, and the order follows the vote. Broken rankings have no say; where
    they are half of all or more, so is the result.

    Args:
        positives: `doc_id`s of the labelled positives.
        least: share of the votes, in [0, 1], below which a negative counts as unstable.
    """
    orders = [r.order for r in rankings if any(d in positives for d in r.order)]
    if 2 * len(orders) <= len(rankings):
        return FAILED
    votes: dict[str, list[bool]] = defaultdict(list)
    places: dict[str, list[float]] = defaultdict(list)
    for order in orders:
        best = next(i for i, doc_id in enumerate(order) if doc_id in positives)
        for i, doc_id in enumerate(order):
            places[doc_id].append(i / len(order))
            if doc_id not in positives:
                votes[doc_id].append(i < best)
    above = {doc_id: sum(cast) for doc_id, cast in votes.items()}
    agreed = {d: max(above[d], len(votes[d]) - above[d]) for d in votes}
    unstable = {d for d in votes if agreed[d] / len(votes[d]) < least}
    # Too few votes for either side, because orders were broken: nothing is known of it.
    unknown = {d for d in votes if d not in unstable and agreed[d] / len(rankings) < least}
    place = {d: math.fsum(seen) / len(seen) for d, seen in places.items() if d not in unknown}
    first = min((doc_id for doc_id in place if doc_id in positives), key=lambda d: (place[d], d))

    def side(doc_id: str) -> int:
        return 1 if doc_id == first else 0 if 2 * above.get(doc_id, 0) > len(votes.get(doc_id, ())) else 2

    order = tuple(sorted(place, key=lambda d: (side(d), place[d], d)))
    shares = [agreed[d] / len(rankings) for d in votes]
    return Ranking(
        order=order,
        status="ok" if all(r.status == "ok" for r in rankings) else "repaired",
        agreement=round(math.fsum(shares) / len(shares), 4) if shares else None,
        unstable=tuple(d for d in order if d in unstable),
    )
