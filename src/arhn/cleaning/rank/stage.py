"""Asks for stage 2: the ranking of a group's candidates, and whether they answer in full."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

from arhn.cleaning.asking import Asker
from arhn.cleaning.config import CleanConfig, Ranker
from arhn.cleaning.extract.questions import MARKUP_TOKENS, shorten
from arhn.cleaning.rank import listwise, pivot
from arhn.cleaning.rank.fullness import fullness_request, read_fullness
from arhn.cleaning.relabel import candidates
from arhn.cleaning.setup import Task
from arhn.cleaning.shown import halve, shown_order, shown_text
from arhn.engines import Capabilities, Completion, Request
from arhn.types import Extraction, Group, Passage, Ranking, Reason

#: The least share of the usual text that candidates show, where they don't fit the context otherwise.
_LEAST = 0.25


class RankingStage:
    """Stage 2; everything it asks goes through `asker`."""

    def __init__(self, asker: Asker, config: CleanConfig, capabilities: Capabilities) -> None:
        self._asker = asker
        self._config = config
        self._room = capabilities.context - MARKUP_TOKENS

    async def rank(
        self, group: Group, extractions: Mapping[str, Extraction], copies: Mapping[str, str], task: Task
    ) -> Ranking | None:
        compared = candidates(group, extractions, copies)
        if not compared:
            return None
        positives = [p for p in group.positives if p in compared]
        if self._config.ranker.name is Ranker.PIVOT:
            return await self._pivot(group.query, compared, positives, extractions, task)
        shuffles = self._config.ranker.shuffles if self._config.ranker.name is Ranker.CONSISTENT else 1
        orders = [shown_order(group.query, compared, shuffle) for shuffle in range(shuffles)]
        rankings = await asyncio.gather(*(self._listwise(group.query, order, extractions, task) for order in orders))
        if self._config.ranker.name is Ranker.LISTWISE:
            return rankings[0]
        return listwise.consistent(rankings, [p.doc_id for p in positives], self._config.ranker.stable)

    async def _listwise(
        self, query: str, shown: Sequence[Passage], extractions: Mapping[str, Extraction], task: Task
    ) -> Ranking:
        def requests(share: float) -> list[Request]:
            texts = [shown_text(p, extractions[p.doc_id], self._config.ranker.by, share) for p in shown]
            return [listwise.request(query, texts, task.prompts.rank)]

        found = await self._asker.ask_fitting("rank", 1.0, requests, halve(_LEAST))
        return listwise.read(found.answers[0], [p.doc_id for p in shown])

    async def _pivot(
        self,
        query: str,
        compared: Sequence[Passage],
        positives: Sequence[Passage],
        extractions: Mapping[str, Extraction],
        task: Task,
    ) -> Ranking:
        best = max(positives, key=lambda p: extractions[p.doc_id].confidence or 0.0)
        negatives = [p for p in compared if p not in positives]
        pairs = await asyncio.gather(*(self._pair(query, p, best, extractions, task) for p in negatives))
        answers = dict(zip((p.doc_id for p in negatives), pairs, strict=True))
        return pivot.read(answers, best.doc_id, tuple(p.doc_id for p in positives))

    async def _pair(
        self, query: str, negative: Passage, best: Passage, extractions: Mapping[str, Extraction], task: Task
    ) -> tuple[Completion | None, Completion | None]:
        def requests(share: float) -> tuple[Request, Request]:
            text, against = (
                shown_text(p, extractions[p.doc_id], self._config.ranker.by, share) for p in (negative, best)
            )
            return pivot.requests(query, text, against, task.prompts.pivot)

        found = await self._asker.ask_fitting("rank", 1.0, requests, halve(_LEAST), doc_id=negative.doc_id)
        return found.answers[0], found.answers[1]

    async def compare_fullness(
        self, group: Group, extractions: dict[str, Extraction], ranking: Ranking | None, task: Task
    ) -> tuple[dict[str, Extraction], dict[str, Reason]]:
        """Asks whether those that would be relabelled answer all of the query, and if one doesn't, whether the
        best positive does.

        Returns:
            the extractions with what was found, and why negatives aren't to become positives.
        """
        if ranking is None or not self._config.fullness or not self._config.mode.relabels:
            return extractions, {}
        positives = {p.doc_id for p in group.positives}
        best = next((d for d in ranking.order if d in positives), None)
        if best is None:
            return extractions, {}
        above = [d for d in ranking.order[: ranking.order.index(best)] if d not in ranking.unstable]
        passages = {p.doc_id: p for p in group.passages}
        full = await self._fullness(group.query, [passages[d] for d in above], task)
        held_back = {d: Reason.FULLNESS_UNKNOWN for d in above if full[d] is None}
        partial = [d for d in above if _in_part(full[d])]
        if partial:
            full |= await self._fullness(group.query, [passages[best]], task)
            if not _in_part(full[best]):
                reason = Reason.FULLNESS_UNKNOWN if full[best] is None else Reason.PARTIAL
                held_back |= dict.fromkeys(partial, reason)
        return {d: replace(e, fullness=full[d]) if d in full else e for d, e in extractions.items()}, held_back

    async def _fullness(self, query: str, passages: Sequence[Passage], task: Task) -> dict[str, float | None]:
        prompt = task.prompts.fullness
        found: dict[str, float | None] = {}
        for passage in passages:
            fitted = await self._asker.ask_fitting(
                "fullness",
                passage,
                lambda shown: [fullness_request(query, shown, prompt)],
                lambda shown, too_long: shorten(shown, too_long.prompt_tokens, self._room),
                doc_id=passage.doc_id,
            )
            found[passage.doc_id] = read_fullness(fitted.answers[0])
        return found


def _in_part(fullness: float | None) -> bool:
    return fullness is not None and fullness < 0.5
