"""The floor: what happens to a group that is left with too few negatives. The same for every method."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from arhn.types import Decision, Group, Reason

if TYPE_CHECKING:
    from arhn.config import CleanConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Floored:
    """Decisions held against the floor. `wanted`: unused negatives to take in, where the policy is backfill."""

    decisions: tuple[Decision, ...]
    short: int
    policy: str

    @property
    def wanted(self) -> int:
        return self.short if self.policy == "backfill" else 0

    @property
    def below(self) -> bool:
        return self.short > 0

    @property
    def dropped(self) -> bool:
        return self.below and self.policy == "drop"

    def backfilled(self, taken: Collection[str]) -> Floored:
        """With unused negatives taken in."""
        decisions = tuple(
            replace(d, action="keep", reason=Reason.BACKFILL) if d.doc_id in taken else d for d in self.decisions
        )
        return replace(self, decisions=decisions, short=self.short - len(taken))


def floored(group: Group, decisions: tuple[Decision, ...], config: CleanConfig) -> Floored:
    left = sum(d.action == "keep" for d in decisions) - len(group.positives)
    return Floored(decisions=decisions, short=max(0, config.floor - left), policy=config.floor_policy)
