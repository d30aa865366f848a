"""Asks about passages of one query: whether each answers, and with which of its words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from arhn.cleaning.asking import Asker, Fitted
from arhn.cleaning.config import CleanConfig
from arhn.cleaning.extract.questions import (
    MARKUP_TOKENS,
    MAX_SNIPPET_TOKENS,
    Verdict,
    read_answers,
    read_snippet,
    read_verdict,
    request_answers,
    request_snippet,
    request_verdict,
    shorten,
)
from arhn.cleaning.prompts import ExtractPrompt
from arhn.cleaning.setup import count_samples
from arhn.cleaning.spans import Span
from arhn.cleaning.stats import Stage
from arhn.engines import Completion, Request
from arhn.types import Passage


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """How passages are asked about. `known`: what the labelled positives answer, for a prompt that shows it."""

    prompt: ExtractPrompt
    known: str = ""


class VerdictAsker:
    """Asks one LLM. A passage whose prompt doesn't fit is cut until it does, or nothing is left.

    Args:
        stage: what verdicts are counted as.
    """

    def __init__(self, asker: Asker, config: CleanConfig, *, stage: Stage = "extract") -> None:
        self._asker = asker
        self._stage = stage
        self._samples = count_samples(config, asker.capabilities)
        self._room = asker.capabilities.context - MAX_SNIPPET_TOKENS - MARKUP_TOKENS

    async def judge(self, query: str, passages: Sequence[Passage], wording: Wording) -> list[Verdict]:
        """A verdict on each passage, in their order."""
        requests = [self._make_requests(query, p, wording) for p in passages]
        asked = [r for each in requests for r in each]
        doc_ids = [p.doc_id for p, each in zip(passages, requests, strict=True) for _ in each]
        answers = iter(await self._asker.ask(self._stage, asked, doc_ids))
        found = [
            await self._judge(query, p, [next(answers) for _ in each], wording)
            for p, each in zip(passages, requests, strict=True)
        ]
        if found and not any(found):
            self._asker.record_too_long()
        # Nothing of these was shown, so nothing of them was cut.
        return [v or Verdict(shown=p, log_odds=None) for p, v in zip(passages, found, strict=True)]

    async def find_snippets(
        self, query: str, verdicts: Sequence[Verdict], wanted: Sequence[bool], wording: Wording
    ) -> list[Span | None]:
        """Where the answer stands in each passage that one is wanted of, as offsets into the passage that was shown.

        Where whole answers were asked for, their snippets are known. A shortened passage is a beginning of the whole:
        offsets hold for both.
        """
        spans = [v.span if want else None for v, want in zip(verdicts, wanted, strict=True)]
        missing = [i for i, want in enumerate(wanted) if want and spans[i] is None and verdicts[i].log_odds is not None]
        if not missing:
            return spans
        shown = [verdicts[i].shown for i in missing]
        requests = [request_snippet(query, p, wording.prompt, known=wording.known) for p in shown]
        answers = await self._asker.ask("extract", requests, [p.doc_id for p in shown])
        for i, passage, answer in zip(missing, shown, answers, strict=True):
            spans[i] = await self._find_snippet(query, passage, answer, wording)
        return spans

    async def _judge(
        self, query: str, passage: Passage, answers: Sequence[Completion | None], wording: Wording
    ) -> Verdict | None:
        """None where no part of the passage fits the context."""
        found = await self._asker.ask_fitting(
            self._stage,
            passage,
            lambda shown: self._make_requests(query, shown, wording),
            self._shorten,
            doc_id=passage.doc_id,
            answers=answers,
        )
        if not found.fits:
            return None
        verdict = self._read(found, wording)
        if verdict.log_odds is None and None not in found.answers:
            self._asker.record_unreadable(self._make_requests(query, found.shown, wording), found.answers)
        return replace(verdict, cut=found.shown is not passage)

    def _make_requests(self, query: str, passage: Passage, wording: Wording) -> tuple[Request, ...]:
        if self._samples:
            return request_answers(query, passage, wording.prompt, self._samples, known=wording.known)
        return (request_verdict(query, passage, wording.prompt, known=wording.known),)

    def _read(self, found: Fitted[Passage], wording: Wording) -> Verdict:
        if self._samples:
            odds, span = read_answers(found.answers, found.shown, wording.prompt)
            return Verdict(shown=found.shown, log_odds=odds, span=span)
        return Verdict(shown=found.shown, log_odds=read_verdict(found.answers[0], wording.prompt))

    async def _find_snippet(
        self, query: str, passage: Passage, answer: Completion | None, wording: Wording
    ) -> Span | None:
        # The snippet takes more room than the verdict did, so it may have to be cut further.
        found = await self._asker.ask_fitting(
            "extract",
            passage,
            lambda shown: [request_snippet(query, shown, wording.prompt, known=wording.known)],
            self._shorten,
            doc_id=passage.doc_id,
            answers=[answer],
        )
        span = read_snippet(found.answers[0], found.shown, wording.prompt)
        if span is None and (given := found.answers[0]) is not None and given.finish == "stop":
            asked = request_snippet(query, found.shown, wording.prompt, known=wording.known)
            self._asker.record_unreadable([asked], [given])
        return span

    def _shorten(self, shown: Passage, too_long: Completion) -> Passage | None:
        return shorten(shown, too_long.prompt_tokens, self._room)


__all__ = ["VerdictAsker", "Wording"]
