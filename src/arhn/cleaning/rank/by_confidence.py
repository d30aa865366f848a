"""Asks nothing: negatives in the order of their confidences, before the positives.

Small LLMs rank by place (docs/log): then nothing is lost by not asking, and which of these negatives are sure enough to
become positives is decided by the calibration's bar for that alone.
"""

from __future__ import annotations

from arhn.cleaning.asking import Asker
from arhn.cleaning.config import RankerSettings
from arhn.cleaning.rank.ranker import Candidates
from arhn.types import Ranking


class EvidenceRanker:
    """Puts the surest negative first, ties by `doc_id`; no LLM is asked."""

    def __init__(self, asker: Asker, settings: RankerSettings) -> None:
        pass

    async def rank(self, candidates: Candidates) -> Ranking:
        """The order by confidence; a negative without one is left out."""
        sure = {p.doc_id: candidates.extractions[p.doc_id].confidence for p in candidates.negatives}
        known = {doc_id: confidence for doc_id, confidence in sure.items() if confidence is not None}
        order = (*sorted(known, key=lambda d: (-known[d], d)), *(p.doc_id for p in candidates.positives))
        return Ranking(order=order, status="ok" if len(known) == len(sure) else "repaired")
