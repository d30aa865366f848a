"""The listwise question over several shuffled orders, so that the place in which a candidate is shown cancels out.

Source: permutation self-consistency (Tang et al., arXiv 2310.07712).
"""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from collections.abc import Collection, Sequence

from arhn.cleaning.asking import Asker
from arhn.cleaning.config import RankerSettings
from arhn.cleaning.rank.listwise import FAILED, Listwise
from arhn.cleaning.rank.ranker import Candidates
from arhn.types import Ranking


class Consistent:
    """Asks as often as there are shuffled orders, and takes the vote."""

    def __init__(self, asker: Asker, settings: RankerSettings) -> None:
        self._listwise = Listwise(asker, settings)
        self._settings = settings

    async def rank(self, candidates: Candidates) -> Ranking:
        """The order on which the rankings agree."""
        shuffles = range(self._settings.shuffles)
        rankings = await asyncio.gather(*(self._listwise.rank(candidates, shuffle) for shuffle in shuffles))
        return combine(rankings, [p.doc_id for p in candidates.positives], self._settings.stable)


def combine(rankings: Sequence[Ranking], positives: Collection[str], least: float) -> Ranking:
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
