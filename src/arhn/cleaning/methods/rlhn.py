"""The RLHN cascade (arXiv 2505.16967): a cheap LLM flags groups, a strong one judges the flagged.

Both see the whole group at once and name the negatives that are relevant after all: as good as the labelled positives
or better, or relevant but worse. The better ones are relabelled, the worse ones filtered (mode R+F). Unlike there, an
answer that can't be read changes nothing; it isn't taken for "none found".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from arhn.cleaning import prompts
from arhn.cleaning.asking import Asker
from arhn.cleaning.config import CleanConfig
from arhn.cleaning.methods.method import AskerFor, Basis, require_llm
from arhn.cleaning.models import Models, ModelsRecord
from arhn.cleaning.prompts import Prompt
from arhn.cleaning.relabel import decide, finish, hold_against_floor
from arhn.cleaning.select import take_apart
from arhn.cleaning.shown import PASSAGE_SHOWN, halve, order_shown, show_passage
from arhn.cleaning.stats import Stage
from arhn.engines import Completion, Matching, Request
from arhn.types import CleanedGroup, Group, Passage, Reason

#: The least share of the usual text that passages show, where a whole group doesn't fit the context otherwise.
_LEAST = 0.125
_LIST = r"(none|[0-9]{1,3}(?:, [0-9]{1,3})*)"
_ANSWER = re.compile(rf"better: {_LIST}; worse: {_LIST}")


def _load_prompt() -> Prompt:
    return prompts.load_section("rlhn", "judge")


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """`doc_id`s of the negatives that are relevant after all."""

    better: frozenset[str]
    worse: frozenset[str]


class Rlhn:
    """Both stages. With one LLM for both, the second question equals the first and is answered by the store.

    Negatives that weren't used aren't judged, so the floor policy `backfill` finds nothing to take in.

    Raises:
        UsageError: there is no LLM.
    """

    asks_llm = True

    def __init__(self, config: CleanConfig, models: Models, asker_for: AskerFor) -> None:
        engine = require_llm(models, config)
        self._judge = asker_for(engine)
        self._small_model = asker_for(models.small_model or engine)
        self._config = config
        self._prompt = _load_prompt()

    @classmethod
    def describe_basis(cls, config: CleanConfig, described: ModelsRecord, families: Sequence[str]) -> Basis:  # noqa: ARG003 - the same for all
        """The hash of the one prompt."""
        return Basis(prompts={"rlhn": {"judge": _load_prompt().hash}})

    @classmethod
    def take_fingerprint(cls, config: CleanConfig, described: ModelsRecord) -> str:  # noqa: ARG003 - the same for all
        """The hash of the one prompt."""
        return _load_prompt().hash

    async def clean(self, group: Group) -> CleanedGroup:
        """The group with the decisions that follow from the judgement."""
        config = self._config
        parts = take_apart(group, config.negatives)
        asked = {p.doc_id for p in parts.asked}
        negatives = order_shown(group.query, [p for p in group.negatives if p.doc_id in asked])
        found = await self._judge_group(group, negatives)
        reasons = {p.doc_id: Reason.POSITIVE for p in group.positives}
        reasons |= {p.doc_id: _find_reason(p.doc_id, found) for p in negatives}
        decisions = decide(group, reasons, mode=config.mode, copies=parts.copies, unused=parts.unused_ids)
        return finish(group, hold_against_floor(group, decisions, floor=config.floor, policy=config.floor_policy))

    async def _judge_group(self, group: Group, negatives: Sequence[Passage]) -> Judgement | None:
        if not negatives:
            return Judgement(better=frozenset(), worse=frozenset())
        flagged = await self._ask(self._small_model, "flag", group, negatives)
        if flagged is None or not (flagged.better or flagged.worse):
            return flagged
        return await self._ask(self._judge, "judge", group, negatives)

    async def _ask(self, asker: Asker, stage: Stage, group: Group, negatives: Sequence[Passage]) -> Judgement | None:
        def requests(share: float) -> list[Request]:
            return [self._make_request(group, negatives, share)]

        found = await asker.ask_fitting(stage, 1.0, requests, halve(_LEAST))
        return read(found.answers[0], [p.doc_id for p in negatives])

    def _make_request(self, group: Group, negatives: Sequence[Passage], share: float) -> Request:
        limit = int(share * PASSAGE_SHOWN)
        messages = self._prompt.messages(
            query=" ".join(group.query.split()),
            positives="\n".join(f"- {show_passage(p, limit)}" for p in group.positives),
            candidates="\n".join(f"[{i}] {show_passage(p, limit)}" for i, p in enumerate(negatives, 1)),
        )
        return Request(messages=messages, max_tokens=24 + 8 * len(negatives), constraint=Matching(_ANSWER.pattern))


def read(completion: Completion | None, shown: Sequence[str]) -> Judgement | None:
    """The negatives that an answer names; None for anything but one whole, consistent answer.

    Args:
        shown: `doc_id`s in the order shown.
    """
    if completion is None or completion.finish != "stop":
        return None
    match = _ANSWER.fullmatch(completion.text.strip().rstrip("."))
    if match is None:
        return None
    better, worse = ([] if names == "none" else [int(n) for n in names.split(", ")] for names in match.groups())
    numbers = [*better, *worse]
    if len(set(numbers)) < len(numbers) or not all(1 <= n <= len(shown) for n in numbers):
        return None
    return Judgement(better=frozenset(shown[n - 1] for n in better), worse=frozenset(shown[n - 1] for n in worse))


def _find_reason(doc_id: str, found: Judgement | None) -> Reason:
    if found is None:
        return Reason.JUDGE_UNKNOWN
    if doc_id in found.better:
        return Reason.JUDGED_BETTER
    return Reason.JUDGED_WORSE if doc_id in found.worse else Reason.UNDISPUTED
