"""Counts of a mining run, for its summary."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from arhn.mine.mining import Mined
from arhn.mine.rules import Fate, Settings

SCHEMA = 1


@dataclass(slots=True)
class MiningCounts:
    """Counts over the queries of a run.

    `fewer` counts groups with fewer negatives than wanted, `without_negatives` and `without_positive` the queries that
    gave no group; the other fields are the sums of those of `Mined`. `fates` counts candidates.
    """

    settings: Settings
    queries: int = 0
    groups: int = 0
    without_negatives: int = 0
    without_positive: int = 0
    fewer: int = 0
    positives: int = 0
    negatives: int = 0
    judged: int = 0
    positives_found: int = 0
    identical: int = 0
    blank_positives: int = 0
    fates: Counter[Fate] = field(default_factory=Counter)

    def add(self, mined: Mined) -> bool:
        """Count one query. Returns whether its group is complete enough to be written."""
        self.queries += 1
        self.fates.update(mined.fates)
        self.positives_found += mined.positives_found
        self.identical += mined.identical
        self.blank_positives += mined.blank_positives
        self.without_positive += mined.group is None
        if mined.group is None:
            return False
        self.without_negatives += not mined.group.negatives
        if not mined.group.negatives:
            return False
        self.groups += 1
        self.fewer += len(mined.group.negatives) < self.settings.negatives
        self.positives += len(mined.group.positives)
        self.negatives += len(mined.group.negatives)
        self.judged += mined.judged
        return True

    def as_dict(self) -> dict[str, Any]:
        """The counts as the summary has them; docs/mining.md explains the fields."""
        return {
            "queries": {
                "read": self.queries,
                "written": self.groups,
                "without_negatives": self.without_negatives,
                "without_positive": self.without_positive,
                "fewer_negatives": self.fewer,
            },
            "passages": {
                "positives": self.positives,
                "negatives": self.negatives,
                "judged_negatives": self.judged,
                "blank_positives": self.blank_positives,
            },
            "never_candidates": {"positives": self.positives_found, "identical": self.identical},
            "candidates": {fate.value: self.fates[fate] for fate in Fate},
        }
