"""Changes nothing, but for what the settings say: the baseline."""

from __future__ import annotations

from arhn.cleaning.config import CleanConfig
from arhn.cleaning.methods.method import AskerFor
from arhn.cleaning.models import Models
from arhn.cleaning.relabel import finish, hold_against_floor
from arhn.types import CleanedGroup, Decision, Group, Reason


class NoMethod:
    """Every label stays; only negatives beyond `negatives` are left out, and the floor policy is followed."""

    asks_llm = False

    def __init__(self, config: CleanConfig, models: Models, asker_for: AskerFor) -> None:  # noqa: ARG002 - none is asked
        self._config = config

    async def clean(self, group: Group) -> CleanedGroup:
        """The group with every passage kept, but for negatives beyond the number used."""
        config = self._config
        limit = config.negatives
        unused = frozenset(p.doc_id for p in group.negatives[limit:]) if limit is not None else frozenset()
        positives = [Decision(doc_id=p.doc_id, action="keep", reason=Reason.POSITIVE) for p in group.positives]
        negatives = [
            Decision(doc_id=p.doc_id, action="filter", reason=Reason.UNUSED)
            if p.doc_id in unused
            else Decision(doc_id=p.doc_id, action="keep", reason=Reason.UNDISPUTED)
            for p in group.negatives
        ]
        decisions = (*positives, *negatives)
        floored = hold_against_floor(group, decisions, floor=config.floor, policy=config.floor_policy)
        spare = [p.doc_id for p in group.negatives if p.doc_id in unused]
        return finish(group, floored.backfill(spare[: floored.wanted]))
