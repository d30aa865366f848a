"""Asks for stage 1: what each passage of a group says, and how surely.

The labelled positives come first, each on its own. What they answer is then shown with every negative: whether a
passage gives an answer like a known one is a far easier question for a small LLM than whether it answers at all
(LOG.md, 2026-11-23). `show_answer: false` asks about every passage alone, as the paper does.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from arhn.cleaning.asking import Asker
from arhn.cleaning.config import CleanConfig
from arhn.cleaning.evidence.confidence import band, confidences, group_means, likeliest, sigmoid, with_spared
from arhn.cleaning.extract.questions import Verdict, known_answer
from arhn.cleaning.extract.verdicts import VerdictAsker, Wording
from arhn.cleaning.setup import Task, samples_of
from arhn.cleaning.spans import Span
from arhn.engines import Capabilities
from arhn.retrieval.similarity import Similarity
from arhn.types import Band, Extraction, Passage

Means = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Raw signals of one group: log-odds of the positives and of the negatives, and the negatives' similarities.

    `flags`: the negatives' log-odds by the small model in front, where there is one.
    """

    positives: tuple[float | None, ...]
    negatives: tuple[float | None, ...]
    similarities: tuple[float, ...] | None
    flags: tuple[float | None, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Extracted:
    """The extractions of one group, and what further negatives of it are asked with and held against.

    `similarities` are the negatives', where a retriever was asked. `means` are None where a broken answer is missing
    from them, so that nothing can be held against them.
    """

    extractions: tuple[Extraction, ...]
    known: str
    similarities: tuple[float, ...] | None
    means: Means | None


class ExtractionStage:
    """Stage 1; everything it asks goes through `asker`.

    Args:
        similarity: a second signal, for a calibration that fuses it.
        small_model: asks a smaller LLM about every negative first, and triage goes by what it says.
    """

    def __init__(
        self,
        asker: Asker,
        config: CleanConfig,
        capabilities: Capabilities,
        similarity: Similarity | None = None,
        *,
        small_model: VerdictAsker | None = None,
    ) -> None:
        self._asker = asker
        self._small_model = small_model
        self._show_answer = config.show_answer
        self._similarity = similarity
        self._samples = samples_of(config, capabilities)
        self._verdicts = VerdictAsker(asker, config, capabilities)

    async def extract(
        self, query: str, positives: Sequence[Passage], negatives: Sequence[Passage], task: Task
    ) -> Extracted:
        """Ask about every passage of a group, each once."""
        self._expect(len(positives), len(negatives), task)
        found, known = await self._positives(query, positives, task)
        similarities = await self._similarities(query, negatives)
        extractions, means = await self._negatives(query, negatives, task, known, similarities)
        return Extracted(extractions=(*found, *extractions), known=known, similarities=similarities, means=means)

    async def another(self, query: str, passage: Passage, task: Task, extracted: Extracted) -> Extraction:
        """Ask about a further negative of a group whose means are known."""
        similarities = await self._similarities(query, [passage])
        [found], _ = await self._negatives(query, [passage], task, extracted.known, similarities, extracted.means)
        return found

    async def evidence(
        self, query: str, positives: Sequence[Passage], negatives: Sequence[Passage], task: Task
    ) -> Evidence:
        """What the confidences of a group are made from: labels and calibration unseen."""
        self._expect(len(positives), len(negatives), task)
        found, known = await self._positives(query, positives, task)
        verdicts = await self._verdicts.judge(query, negatives, _negatives_wording(task, known))
        return Evidence(
            positives=tuple(e.log_odds for e in found),
            negatives=tuple(v.log_odds for v in verdicts),
            similarities=await self._similarities(query, negatives),
            flags=await self._flags(query, negatives, task, known),
        )

    def _expect(self, positives: int, negatives: int, task: Task) -> None:
        """Say how many requests a group will take, but for those that hang on answers."""
        each = max(1, self._samples)
        shown = positives if self._show_answer and not self._samples else 0
        flagged = negatives if self._small_model is not None and task.asked < 1 else 0
        asked = math.ceil(task.asked * negatives)
        self._asker.expect(each * (positives + asked) + shown + flagged)

    async def _negatives(
        self,
        query: str,
        passages: Sequence[Passage],
        task: Task,
        known: str,
        similarities: tuple[float, ...] | None,
        means: Means | None = None,
    ) -> tuple[tuple[Extraction, ...], Means | None]:
        """Extractions of negatives of one group, and the means that their confidences were made against.

        A negative that comes alone, and is held against means from before, is asked about in any case.
        """
        places: Sequence[int] = range(len(passages))
        if means is None and task.asked < 1:
            flags = await self._flags(query, passages, task, known)
            places = likeliest((similarities or ()) if flags is None else flags, task.asked)
        wording = _negatives_wording(task, known)
        asked = [passages[i] for i in places]
        verdicts = await self._verdicts.judge(query, asked, wording)
        odds = [v.log_odds for v in verdicts]
        if means is None and not (task.calibration.centre and None in odds):
            means = group_means(with_spared(odds, len(passages)), similarities, task.calibration)
        own = None if similarities is None else [similarities[i] for i in places]
        found = confidences(odds, task.calibration, similarities=own, means=means)
        answering = [c is not None and band(c, task.calibration) == "answer" for c in found]
        spans = await self._verdicts.find_snippets(query, verdicts, answering, wording)
        extractions = {
            p.doc_id: _extraction(p, v, c, None if c is None else band(c, task.calibration), span)
            for p, v, c, span in zip(asked, verdicts, found, spans, strict=True)
        }
        spared = {p.doc_id: Extraction(doc_id=p.doc_id, status="spared") for p in passages}
        return self._unsure([*(spared | extractions).values()]), means

    async def _positives(
        self, query: str, passages: Sequence[Passage], task: Task
    ) -> tuple[tuple[Extraction, ...], str]:
        """Extractions of the labelled positives, and what they answer, in one line."""
        wording = Wording(prompt=task.prompts.extract)
        verdicts = await self._verdicts.judge(query, passages, wording)
        holding = [task.holds(v.log_odds) for v in verdicts]
        # Also where the LLM doubts it: the label says that the answer is there.
        spans = await self._verdicts.find_snippets(
            query, verdicts, [self._show_answer or holds for holds in holding], wording
        )
        sure = [None if v.log_odds is None else sigmoid(v.log_odds - task.calibration.doubtful) for v in verdicts]
        extractions = [
            _extraction(p, v, confidence, "answer" if holds else "no_answer", span)
            for p, v, confidence, holds, span in zip(passages, verdicts, sure, holding, spans, strict=True)
        ]
        known = known_answer(passages, spans) if self._show_answer else ""
        return self._unsure(extractions), known

    def _unsure(self, extractions: Sequence[Extraction]) -> tuple[Extraction, ...]:
        if self._samples != 1:
            return tuple(extractions)
        # A single answer says yes or no, not how surely.
        return tuple(replace(e, confidence=None, log_odds=None) for e in extractions)

    async def _similarities(self, query: str, passages: Sequence[Passage]) -> tuple[float, ...] | None:
        if self._similarity is None:
            return None
        return await asyncio.to_thread(self._similarity.scores, query, passages)

    async def _flags(
        self, query: str, passages: Sequence[Passage], task: Task, known: str
    ) -> tuple[float | None, ...] | None:
        """What the small model in front says of negatives; None where there is none."""
        if self._small_model is None:
            return None
        verdicts = await self._small_model.judge(query, passages, _negatives_wording(task, known))
        return tuple(verdict.log_odds for verdict in verdicts)


def _negatives_wording(task: Task, known: str) -> Wording:
    return Wording(prompt=task.prompts.check, known=known) if known else Wording(prompt=task.prompts.extract)


def _extraction(
    passage: Passage, verdict: Verdict, confidence: float | None, status: Band | None, span: Span | None
) -> Extraction:
    common = Extraction(
        doc_id=passage.doc_id, status="unknown", confidence=confidence, log_odds=verdict.log_odds, cut=verdict.cut
    )
    if confidence is None or status is None:
        return common
    if status != "answer":
        return replace(common, status=status)
    if span is None:
        return common
    start, end = span
    return replace(common, status="answer", snippet=passage.text[start:end], start=start, end=end)
