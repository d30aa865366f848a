"""Whether a passage answers all of its query or a part of it: asked of what would become a positive."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from arhn.cleaning.asking import Asker
from arhn.cleaning.config import CleanConfig
from arhn.cleaning.evidence.confidence import sigmoid
from arhn.cleaning.extract.questions import MARKUP_TOKENS, fill_in, shorten
from arhn.cleaning.prompts import Prompt
from arhn.cleaning.setup import FamilySetup
from arhn.engines import ALTERNATIVES, Completion, OneOf, Request, log_odds
from arhn.types import Extraction, Group, Passage, Ranking, Reason

#: The replies to whether a passage answers all of a query.
FULL, PARTIAL = "Yes", "No"


class FullnessStage:
    """Asks what answers in part where the best positive answers in full; everything it asks goes through `asker`."""

    def __init__(self, asker: Asker, config: CleanConfig) -> None:
        self._asker = asker
        self._wanted = config.fullness and config.mode.relabels
        self._room = asker.capabilities.context - MARKUP_TOKENS

    async def compare(
        self,
        group: Group,
        extractions: Mapping[str, Extraction],
        ranking: Ranking | None,
        setup: FamilySetup,
        unsure: Collection[str] = (),
    ) -> tuple[dict[str, Extraction], dict[str, Reason]]:
        """Ask whether those that would be relabelled answer all of the query, and if one doesn't, whether the best
        positive does.

        Args:
            extractions: by `doc_id`.
            ranking: None where there was nothing to rank.
            unsure: candidates that don't become positives whatever is found.

        Returns:
            the extractions with what was found, and why negatives aren't to become positives.
        """
        found = dict(extractions)
        if ranking is None or not self._wanted:
            return found, {}
        positives = {p.doc_id for p in group.positives}
        best = next((d for d in ranking.order if d in positives), None)
        if best is None:
            return found, {}
        above = [d for d in ranking.order[: ranking.order.index(best)] if d not in ranking.unstable and d not in unsure]
        passages = {p.doc_id: p for p in group.passages}
        full = await self._ask(group.query, [passages[d] for d in above], setup.prompts.fullness)
        held_back = {d: Reason.FULLNESS_UNKNOWN for d in above if full[d] is None}
        partial = [d for d in above if _answers_in_part(full[d])]
        if partial:
            full |= await self._ask(group.query, [passages[best]], setup.prompts.fullness)
            if not _answers_in_part(full[best]):
                reason = Reason.FULLNESS_UNKNOWN if full[best] is None else Reason.PARTIAL
                held_back |= dict.fromkeys(partial, reason)
        return {d: replace(e, fullness=full[d]) if d in full else e for d, e in found.items()}, held_back

    async def _ask(self, query: str, passages: Sequence[Passage], prompt: Prompt) -> dict[str, float | None]:
        """Probability, by `doc_id`, that each passage answers all of the query; None where the answer was broken."""
        found: dict[str, float | None] = {}
        for passage in passages:
            fitted = await self._asker.ask_fitting(
                "fullness",
                passage,
                lambda shown: [request_fullness(query, shown, prompt)],
                lambda shown, too_long: shorten(shown, too_long.prompt_tokens, self._room),
                doc_id=passage.doc_id,
            )
            found[passage.doc_id] = read_fullness(fitted.answers[0])
        return found


def request_fullness(query: str, passage: Passage, prompt: Prompt) -> Request:
    """Ask whether a passage that answers answers all of the query: one token."""
    return Request(
        messages=fill_in(query, passage, prompt),
        max_tokens=2,
        constraint=OneOf((FULL, PARTIAL)),
        alternatives=ALTERNATIVES,
    )


def read_fullness(completion: Completion | None) -> float | None:
    """Probability, in [0, 1], that the passage answers all of the query; 0 or 1 where only the word is known."""
    if completion is None or completion.finish not in ("stop", "length"):
        return None
    if completion.first:
        odds = log_odds(completion.first, FULL, PARTIAL)
        return None if odds is None else sigmoid(odds)
    return {FULL: 1.0, PARTIAL: 0.0}.get(completion.text.strip())


def _answers_in_part(fullness: float | None) -> bool:
    return fullness is not None and fullness < 0.5
