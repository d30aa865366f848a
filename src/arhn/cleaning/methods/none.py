"""Changes nothing, but for what the settings say: the baseline."""

from __future__ import annotations

from arhn.cleaning.config import CleanConfig
from arhn.cleaning.methods.method import AskerFor
from arhn.cleaning.models import Models
from arhn.cleaning.relabel import decide, finish, hold_against_floor
from arhn.cleaning.select import take_apart
from arhn.types import CleanedGroup, Group, Reason


class NoMethod:
    """Labels stay; only copies and negatives beyond `negatives` are left out, and the floor policy is followed."""

    asks_llm = False

    def __init__(self, config: CleanConfig, models: Models, asker_for: AskerFor) -> None:  # noqa: ARG002 - none is asked
        self._config = config

    async def clean(self, group: Group) -> CleanedGroup:
        """The group with every passage kept, but for copies and negatives beyond the number used."""
        config = self._config
        parts = take_apart(group, config.negatives)
        reasons = {p.doc_id: Reason.POSITIVE for p in group.positives}
        reasons |= {p.doc_id: Reason.UNDISPUTED for p in group.negatives}
        decisions = decide(group, reasons, mode=config.mode, copies=parts.copies, unused=parts.unused_ids)
        floored = hold_against_floor(group, decisions, floor=config.floor, policy=config.floor_policy)
        spare = [p.doc_id for p in parts.unused]
        return finish(group, floored.backfill(spare[: floored.wanted]))
