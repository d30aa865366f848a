"""Positive-aware filtering: a negative that a retriever scores about as high as the positive is dropped.

Source: NV-Retriever (arXiv 2407.15831), section 3, with the best value of its ablation (section 4) as each
rule's default; the same rules as `mine_hard_negatives` of sentence-transformers (`max_score`,
`absolute_margin`, `relative_margin`). It only filters.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from arhn.cleaning.margin_rule import drops
from arhn.cleaning.relabel import decide, floored
from arhn.cleaning.select import spares, take_apart
from arhn.types import CleanedGroup, Group, Reason

if TYPE_CHECKING:
    from arhn.cleaning.config import CleanConfig
    from arhn.retrieval.similarity import Similarity


class MarginMethod:
    """Filters by a similarity model's scores; no LLM is asked. Floor policy `backfill` takes the first that stay."""

    def __init__(self, similarity: Similarity, config: CleanConfig) -> None:
        self._similarity = similarity
        self._config = config

    async def clean(self, group: Group) -> CleanedGroup:
        parts = take_apart(group, self._config.negatives)
        scores = await asyncio.to_thread(self._scores, group)
        positives = [scores[p.doc_id] for p in group.positives]
        negatives = [p.doc_id for p in group.negatives]
        dropped = drops(positives, [scores[d] for d in negatives], self._config.margin)
        found = {p.doc_id: Reason.POSITIVE for p in group.positives}
        found |= {d: Reason.MARGIN if drop else Reason.UNDISPUTED for d, drop in zip(negatives, dropped, strict=True)}
        decisions = decide(group, found, mode=self._config.mode, copies=parts.copies, unused=parts.unused_ids)
        kept = floored(group, decisions, self._config)
        if kept.wanted:
            spare = [p.doc_id for p in spares(parts) if found[p.doc_id] is Reason.UNDISPUTED]
            kept = kept.backfilled(frozenset(spare[: kept.wanted]))
        return CleanedGroup(
            group=group,
            decisions=kept.decisions,
            extractions=(),
            similarities=scores,
            below_floor=kept.below,
            dropped=kept.dropped,
        )

    def _scores(self, group: Group) -> dict[str, float]:
        scores = self._similarity.scores(group.query, group.passages)
        return {p.doc_id: score for p, score in zip(group.passages, scores, strict=True)}
