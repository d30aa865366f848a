"""Asks for the verdicts on a group's negatives, several in one request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from arhn.cleaning.asking import Asker
from arhn.cleaning.extract.questions import Verdict, shorter
from arhn.cleaning.extract.together import chunks, read_together, together_request
from arhn.cleaning.prompts import Prompt
from arhn.cleaning.shown import shown_order
from arhn.engines import Completion
from arhn.types import Passage

Chunk = tuple[Passage, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Together:
    """Asks about at most `most` passages at once.

    `by_word`: there are no log-probabilities. `room`: tokens of a prompt that surely fits.
    """

    asker: Asker
    most: int
    by_word: bool
    room: int

    async def verdicts(self, query: str, passages: Sequence[Passage], prompt: Prompt, known: str) -> list[Verdict]:
        """A verdict on each passage, in their order.

        They are shown in another one, and put into requests by that, so that no retrieval rank shines through. Where a
        prompt doesn't fit, half as many are asked about, at last a single one and then a shorter one.
        """
        whole = {p.doc_id: p for p in passages}
        found: dict[str, Verdict] = {}
        waiting = chunks(shown_order(query, passages), self.most)
        while waiting:
            answers = await self._asked(query, waiting, prompt, known)
            smaller: list[Chunk] = []
            for chunk, answer in zip(waiting, answers, strict=True):
                less = self._smaller(chunk, answer)
                smaller += less
                if not less:
                    found |= self._read(chunk, answer, whole)
            waiting = smaller
        return [found[p.doc_id] for p in passages]

    async def _asked(self, query: str, waiting: Sequence[Chunk], prompt: Prompt, known: str) -> list[Completion | None]:
        requests = [together_request(query, chunk, prompt, known=known) for chunk in waiting]
        # A failure is about a passage only where it was asked about alone.
        return await self.asker.ask("extract", requests, [c[0].doc_id if len(c) == 1 else None for c in waiting])

    def _smaller(self, chunk: Chunk, answer: Completion | None) -> list[Chunk]:
        """What to ask instead of a chunk that doesn't fit; nothing where it did, or nothing is left to leave out."""
        if answer is None or answer.finish != "context":
            return []
        if len(chunk) > 1:
            return chunks(chunk, (len(chunk) + 1) // 2)
        less = shorter(chunk[0], answer.prompt_tokens, self.room)
        return [(less,)] if less else []

    def _read(self, chunk: Chunk, answer: Completion | None, whole: dict[str, Passage]) -> dict[str, Verdict]:
        if answer is not None and answer.finish == "context":
            return {p.doc_id: Verdict(shown=whole[p.doc_id], log_odds=None, cut=True) for p in chunk}
        odds = read_together(answer, len(chunk), by_word=self.by_word)
        return {
            p.doc_id: Verdict(shown=p, log_odds=each, cut=p is not whole[p.doc_id])
            for p, each in zip(chunk, odds, strict=True)
        }
