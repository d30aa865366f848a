"""Positive-aware filtering: a negative that a retriever scores about as high as the positive is dropped.

Source: NV-Retriever (arXiv 2407.15831), section 3, with the best value of its ablation (section 4) as each
rule's default; the same rules as `mine_hard_negatives` of sentence-transformers (`max_score`,
`absolute_margin`, `relative_margin`). It only filters.
"""

from __future__ import annotations

import asyncio

from arhn.cleaning.config import CleanConfig
from arhn.cleaning.evidence.signals import QUERY
from arhn.cleaning.margin_rule import find_dropped
from arhn.cleaning.methods.method import AskerFor
from arhn.cleaning.models import Models
from arhn.cleaning.relabel import decide, finish, hold_against_floor
from arhn.cleaning.select import find_spares, take_apart
from arhn.errors import UsageError
from arhn.types import CleanedGroup, Group, Reason


class MarginMethod:
    """Filters by a similarity model's scores; no LLM is asked. Floor policy `backfill` takes the first that stay.

    Raises:
        UsageError: there is no similarity model.
    """

    asks_llm = False

    def __init__(self, config: CleanConfig, models: Models, asker_for: AskerFor) -> None:  # noqa: ARG002 - none is asked
        if models.similarity is None:
            raise UsageError("method margin: needs a similarity model. Give one with --similarity")
        self._similarity = models.similarity
        self._config = config

    async def clean(self, group: Group) -> CleanedGroup:
        """The group with the decisions that follow from its scores."""
        parts = take_apart(group, self._config.negatives)
        scores = await asyncio.to_thread(self._scores, group)
        positives = [scores[p.doc_id] for p in group.positives]
        negatives = [p.doc_id for p in group.negatives]
        dropped = find_dropped(positives, [scores[d] for d in negatives], self._config.margin)
        found = {p.doc_id: Reason.POSITIVE for p in group.positives}
        found |= {d: Reason.MARGIN if drop else Reason.UNDISPUTED for d, drop in zip(negatives, dropped, strict=True)}
        config = self._config
        decisions = decide(group, found, mode=config.mode, copies=parts.copies, unused=parts.unused_ids)
        floored = hold_against_floor(group, decisions, floor=config.floor, policy=config.floor_policy)
        if floored.wanted:
            spare = [p.doc_id for p in find_spares(parts) if found[p.doc_id] is Reason.UNDISPUTED]
            floored = floored.backfill(frozenset(spare[: floored.wanted]))
        return finish(group, floored, similarities={doc_id: {QUERY: score} for doc_id, score in scores.items()})

    def _scores(self, group: Group) -> dict[str, float]:
        scores = self._similarity.scores(group.query, group.passages)
        return {p.doc_id: score for p, score in zip(group.passages, scores, strict=True)}
