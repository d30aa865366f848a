"""Counts over cleaned groups, and how far a run has come."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from arhn.cleaning.run.examples import Examples
from arhn.cleaning.stats import Stats
from arhn.types import CleanedGroup, Reason


@dataclass(slots=True)
class Tally:
    """Counts over cleaned groups; `labels` counts (label, what, value) of the passages that were used.

    `families` counts groups by family and how it was found; `agreement` sums over the `agreed` rankings. `checked` are
    negatives that triage would have spared, `answering` those of them that answer.
    """

    groups: int = 0
    dropped: int = 0
    below_floor: int = 0
    doubtful: int = 0
    cut: int = 0
    unused: int = 0
    ranking: Counter[str] = field(default_factory=Counter)
    labels: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    families: Counter[tuple[str, str]] = field(default_factory=Counter)
    agreed: int = 0
    agreement: float = 0.0
    checked: int = 0
    answering: int = 0

    def add(self, cleaned: CleanedGroup) -> None:
        """Count a group."""
        self.groups += 1
        self.dropped += cleaned.dropped
        self.below_floor += cleaned.below_floor
        self.ranking[cleaned.ranking.status if cleaned.ranking else "none"] += 1
        if cleaned.ranking and cleaned.ranking.agreement is not None:
            self.agreed += 1
            self.agreement += cleaned.ranking.agreement
        if cleaned.family_from:
            self.families[cleaned.family, cleaned.family_from] += 1
        self.cut += sum(e.cut for e in cleaned.extractions)
        self.checked += sum(e.checked for e in cleaned.extractions)
        self.answering += sum(e.checked and e.status == "answer" for e in cleaned.extractions)
        positives = len(cleaned.group.positives)
        statuses = {e.doc_id: e.status for e in cleaned.extractions}
        for i, decision in enumerate(cleaned.decisions):
            if decision.reason is Reason.UNUSED:
                self.unused += 1
                continue
            label = "positives" if i < positives else "negatives"
            self.labels[label, "action", decision.action] += 1
            self.labels[label, "reason", decision.reason.value] += 1
            if decision.doc_id in statuses:
                self.labels[label, "status", statuses[decision.doc_id]] += 1
        self.doubtful += any(d.reason is Reason.POSITIVE_DOUBTFUL for d in cleaned.decisions[:positives])

    def of(self, label: str, what: str) -> dict[str, int]:
        """Counts of one label by action, reason or status, the most frequent first."""
        found = {value: n for (lab, w, value), n in self.labels.items() if (lab, w) == (label, what)}
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    @property
    def unknown_share(self) -> float:
        """Share of extractions that are `unknown`, in [0, 1]."""
        statuses = Counter(self.of("positives", "status")) + Counter(self.of("negatives", "status"))
        asked = sum(statuses.values())
        return statuses["unknown"] / asked if asked else 0.0


@dataclass(slots=True)
class Progress:
    """The state of a run. `rejected` counts bad rows that were set aside, `left_out` passages that no group can hold,
    `elsewhere` negatives that are labelled positives of the same query in another group; `examples` are a few changes
    to show.

    `started`: the models are open, and groups are being cleaned; `seconds` is since then.
    """

    stats: Stats = field(default_factory=Stats)
    tally: Tally = field(default_factory=Tally)
    examples: Examples = field(default_factory=Examples)
    rejected: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    elsewhere: int = 0
    started: bool = False
    seconds: float = 0.0
