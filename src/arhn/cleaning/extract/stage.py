"""Stage 1, extraction: whether each passage of a group answers the query, with which words, and how surely.

The labelled positives come first, each on its own. What they answer is then shown with every negative: whether a
passage gives an answer like a known one is a far easier question for a small LLM than whether it answers at all
(docs/log, 2026-11-23). `show_answer: false` asks about every passage alone, as the paper does.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from arhn.cleaning.asking import Asker
from arhn.cleaning.config import CleanConfig
from arhn.cleaning.evidence.confidence import Means, centre_group, find_band, make_confidences, sigmoid
from arhn.cleaning.evidence.signals import POSITIVE, QUERY, SENTENCE, VERDICT, Signals
from arhn.cleaning.evidence.triage import Likelihood, find_likelihood, is_checked, pick_likeliest
from arhn.cleaning.extract.questions import Verdict, find_known_answer
from arhn.cleaning.extract.verdicts import VerdictAsker, Wording
from arhn.cleaning.setup import FamilySetup, count_samples
from arhn.cleaning.spans import Span
from arhn.retrieval.similarity import Similarity
from arhn.types import Band, Extraction, Passage


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Raw signals of one group: log-odds of the positives, and all signals of the negatives.

    `flags`: the negatives' log-odds by the small model in front, where there is one.
    """

    positives: tuple[float | None, ...]
    negatives: Signals
    flags: tuple[float | None, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Extracted:
    """The extractions of one group, and what further negatives of it are asked with and held against.

    `similarities` are the negatives', by signal; empty without a retriever. `means` are None where a broken answer is
    missing from them, so that nothing can be held against them.
    """

    extractions: tuple[Extraction, ...]
    known: str
    similarities: Signals
    means: Means | None


class ExtractionStage:
    """Stage 1; everything it asks goes through `asker`.

    Args:
        similarity: a second signal, for a calibration that fuses it.
        small_model: asks a smaller LLM about every negative first, and triage goes by its verdicts.
    """

    def __init__(
        self,
        asker: Asker,
        config: CleanConfig,
        similarity: Similarity | None = None,
        *,
        small_model: VerdictAsker | None = None,
    ) -> None:
        self._asker = asker
        self._small_model = small_model
        self._show_answer = config.show_answer
        self._similarity = similarity
        self._samples = count_samples(config, asker.capabilities)
        self._verdicts = VerdictAsker(asker, config)

    async def extract(
        self, query: str, positives: Sequence[Passage], negatives: Sequence[Passage], setup: FamilySetup
    ) -> Extracted:
        """Ask about every passage of a group, each once."""
        self._announce(len(positives), len(negatives), setup)
        found, known = await self._extract_positives(query, positives, setup)
        similarities = await self._compare(query, positives, negatives)
        extractions, means = await self._extract_negatives(query, negatives, setup, known, similarities)
        return Extracted(extractions=(*found, *extractions), known=known, similarities=similarities, means=means)

    async def extract_another(
        self, query: str, positives: Sequence[Passage], passage: Passage, setup: FamilySetup, extracted: Extracted
    ) -> Extraction:
        """Ask about a further negative of a group whose means are known."""
        similarities = await self._compare(query, positives, [passage])
        [found], _ = await self._extract_negatives(
            query, [passage], setup, extracted.known, similarities, extracted.means
        )
        return found

    async def gather_evidence(
        self, query: str, positives: Sequence[Passage], negatives: Sequence[Passage], setup: FamilySetup
    ) -> Evidence:
        """What the confidences of a group are made from: labels and calibration unseen."""
        self._announce(len(positives), len(negatives), setup)
        found, known = await self._extract_positives(query, positives, setup)
        verdicts = await self._verdicts.judge(query, negatives, _word_for_negatives(setup, known))
        return Evidence(
            positives=tuple(e.log_odds for e in found),
            negatives={
                VERDICT: tuple(v.log_odds for v in verdicts),
                **await self._compare(query, positives, negatives),
            },
            flags=await self._ask_small_model(query, negatives, setup, known),
        )

    def _announce(self, positives: int, negatives: int, setup: FamilySetup) -> None:
        """Announce how many requests a group will take, without those that follow from answers."""
        each = max(1, self._samples)
        shown = positives if self._show_answer and not self._samples else 0
        flagged = negatives if self._small_model is not None and setup.triage is not None else 0
        asked = negatives if setup.triage is None else math.ceil(setup.triage.share * negatives)
        self._asker.expect_requests(each * (positives + asked) + shown + flagged)

    async def _extract_positives(
        self, query: str, passages: Sequence[Passage], setup: FamilySetup
    ) -> tuple[tuple[Extraction, ...], str]:
        """Extractions of the labelled positives, and what they answer, in one line."""
        wording = Wording(prompt=setup.prompts.extract)
        verdicts = await self._verdicts.judge(query, passages, wording)
        holding = [setup.holds(v.log_odds) for v in verdicts]
        # Also where the LLM doubts it: the label says that the answer is there.
        spans = await self._verdicts.find_snippets(
            query, verdicts, [self._show_answer or holds for holds in holding], wording
        )
        sure = [None if v.log_odds is None else sigmoid(v.log_odds - setup.calibration.doubtful) for v in verdicts]
        extractions = [
            _make_extraction(p, v, confidence, "answer" if holds else "no_answer", span)
            for p, v, confidence, holds, span in zip(passages, verdicts, sure, holding, spans, strict=True)
        ]
        known = find_known_answer(passages, spans) if self._show_answer else ""
        return self._drop_confidences(extractions), known

    async def _extract_negatives(
        self,
        query: str,
        passages: Sequence[Passage],
        setup: FamilySetup,
        known: str,
        similarities: Signals,
        means: Means | None = None,
    ) -> tuple[tuple[Extraction, ...], Means | None]:
        """Extractions of negatives of one group, and the means that their confidences were made against.

        A negative that comes alone, and is held against means from before, is asked about in any case.
        """
        likely = await self._find_likelihood(query, passages, setup, known, similarities) if means is None else None
        chosen = _choose_asked(query, passages, likely, setup)
        places = [i for i, _ in chosen]
        wording = _word_for_negatives(setup, known)
        asked = [passages[i] for i in places]
        verdicts = await self._verdicts.judge(query, asked, wording)
        odds = [v.log_odds for v in verdicts]
        means = means or centre_group({VERDICT: odds, **similarities}, setup.calibration, size=len(passages))
        own = {name: [values[i] for i in places] for name, values in similarities.items()}
        found = make_confidences({VERDICT: odds, **own}, setup.calibration, means=means)
        answering = [c is not None and find_band(c, setup.calibration) == "answer" for c in found]
        spans = await self._verdicts.find_snippets(query, verdicts, answering, wording)
        extractions = {
            p.doc_id: replace(
                _make_extraction(p, v, c, None if c is None else find_band(c, setup.calibration), span), checked=checked
            )
            for p, (_, checked), v, c, span in zip(asked, chosen, verdicts, found, spans, strict=True)
        }
        spared_ones = {p.doc_id: Extraction(doc_id=p.doc_id, status="spared") for p in passages}
        return self._drop_confidences([*(spared_ones | extractions).values()]), means

    async def _find_likelihood(
        self, query: str, passages: Sequence[Passage], setup: FamilySetup, known: str, similarities: Signals
    ) -> Likelihood | None:
        """What triage goes by; None where every negative is asked about."""
        if setup.triage is None:
            return None
        flags = await self._ask_small_model(query, passages, setup, known)
        return find_likelihood(similarities, setup.calibration, flags)

    def _drop_confidences(self, extractions: Sequence[Extraction]) -> tuple[Extraction, ...]:
        if self._samples != 1:
            return tuple(extractions)
        # A single answer is yes or no, without a degree.
        return tuple(replace(e, confidence=None, log_odds=None) for e in extractions)

    async def _compare(self, query: str, positives: Sequence[Passage], negatives: Sequence[Passage]) -> Signals:
        """The similarities of negatives by signal; empty where there is no retriever."""
        if self._similarity is None:
            return {}
        found = await asyncio.to_thread(self._similarity.compare, query, positives, negatives)
        return {QUERY: found.query, POSITIVE: found.positive, SENTENCE: found.sentence}

    async def _ask_small_model(
        self, query: str, passages: Sequence[Passage], setup: FamilySetup, known: str
    ) -> tuple[float | None, ...] | None:
        """Log-odds of negatives by the small model; None where there is none."""
        if self._small_model is None:
            return None
        verdicts = await self._small_model.judge(query, passages, _word_for_negatives(setup, known))
        return tuple(verdict.log_odds for verdict in verdicts)


def _choose_asked(
    query: str, passages: Sequence[Passage], likely: Likelihood | None, setup: FamilySetup
) -> list[tuple[int, bool]]:
    """Positions of the negatives to ask about, in order, and whether each is asked about only as a check."""
    if likely is None or setup.triage is None:
        return [(i, False) for i in range(len(passages))]
    likeliest = frozenset(pick_likeliest(likely, setup.triage.cut))
    return [(i, i not in likeliest) for i, p in enumerate(passages) if i in likeliest or is_checked(query, p.text)]


def _word_for_negatives(setup: FamilySetup, known: str) -> Wording:
    return Wording(prompt=setup.prompts.check, known=known) if known else Wording(prompt=setup.prompts.extract)


def _make_extraction(
    passage: Passage, verdict: Verdict, confidence: float | None, status: Band | None, span: Span | None
) -> Extraction:
    common = Extraction(
        doc_id=passage.doc_id,
        status="unknown",
        confidence=confidence,
        log_odds=verdict.log_odds,
        cut=verdict.cut,
    )
    if confidence is None or status is None:
        return common
    if status != "answer":
        return replace(common, status=status)
    if span is None:
        return common
    start, end = span
    return replace(common, status="answer", snippet=passage.text[start:end], start=start, end=end)
