"""Stage 2: a group's candidates, put in order by the ranker that the settings name."""

from __future__ import annotations

from collections.abc import Mapping

from arhn.cleaning.asking import Asker
from arhn.cleaning.config import CleanConfig
from arhn.cleaning.rank import RANKERS
from arhn.cleaning.rank.ranker import Candidates, Ranker, RankerMaker
from arhn.cleaning.relabel import find_candidates
from arhn.cleaning.setup import FamilySetup
from arhn.types import Extraction, Group, Ranking


class RankingStage:
    """Ranks; everything it asks goes through `asker`."""

    def __init__(self, asker: Asker, config: CleanConfig) -> None:
        make: RankerMaker = RANKERS.get(config.ranker.name)
        self._ranker: Ranker = make(asker, config.ranker)

    async def rank(
        self, group: Group, extractions: Mapping[str, Extraction], copies: Mapping[str, str], setup: FamilySetup
    ) -> Ranking | None:
        """The order of a group's candidates; None where no negative answers, or no positive can be compared with.

        Args:
            extractions: by `doc_id`.
            copies: `doc_id` of a passage to that of the earlier one with the same text.
        """
        compared = find_candidates(group, extractions, copies)
        if not compared:
            return None
        positives = {p.doc_id for p in group.positives}
        return await self._ranker.rank(
            Candidates(
                query=group.query,
                positives=tuple(p for p in compared if p.doc_id in positives),
                negatives=tuple(p for p in compared if p.doc_id not in positives),
                extractions=extractions,
                prompts=setup.prompts,
            )
        )


__all__ = ["RankingStage"]
