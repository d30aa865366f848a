"""What a report shows, gathered in one pass over a run in flat memory: counts, and a sample of examples and points."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from arhn.cleaning.evidence.intervals import wilson
from arhn.cleaning.run.finished import FinishedRun, Joined, Row, find_subset
from arhn.diff.changes import Change, hash_ids, make_change
from arhn.diff.rendering import list_evidence

#: Bins of the confidence histograms.
BINS = 40
#: Points of the evidence plots, examples of each reason and way of picking, doubtful positives that are shown.
POINTS, EXAMPLES, DOUBTFUL = 900, 2, 10
#: Beyond so many subsets the smaller ones are counted together.
SUBSETS = 200
_OTHERS = "(other subsets)"


@dataclass(slots=True)
class Share:
    """Groups and negatives of a subset or family: `changed` are those that were relabelled or dropped."""

    groups: int = 0
    negatives: int = 0
    relabelled: int = 0
    filtered: int = 0
    uncertain: int = 0
    broken: int = 0

    @property
    def changed(self) -> int:
        """Negatives that were found to be false."""
        return self.relabelled + self.filtered

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95% interval of the share of changed negatives."""
        return wilson(self.changed, self.negatives)

    def add(self, rows: list[Row]) -> None:
        """Count a group's negatives."""
        self.groups += 1
        for row in rows:
            self.negatives += 1
            self.relabelled += row["action"] == "relabel"
            self.filtered += row["action"] == "filter"
            self.uncertain += row["reason"] == "uncertain"
            self.broken += row["status"] == "unknown"


@dataclass(slots=True)
class _Best:
    """The `size` changes with the highest value."""

    size: int
    heap: list[tuple[float, bytes, Change]] = field(default_factory=list)

    def offer(self, value: float, key: bytes, joined: Joined, index: int, subset: str) -> None:
        if len(self.heap) < self.size:
            heapq.heappush(self.heap, (value, key, make_change(joined, index, subset)))
        elif (value, key) > self.heap[0][:2]:
            heapq.heapreplace(self.heap, (value, key, make_change(joined, index, subset)))

    @property
    def found(self) -> list[Change]:
        return [change for _, _, change in sorted(self.heap, key=lambda item: item[:2], reverse=True)]


@dataclass(slots=True)
class Gathered:
    """The numbers and examples of one run.

    `flow` counts passages by label, action and reason; `confidences` negatives by action, and positives, in `BINS` bins
    of [0, 1]; `ranks` passages by action and rank; `points` are rows of negatives with numbers as evidence, as many as
    `POINTS` at random.
    """

    thresholds: Mapping[str, tuple[float, float]]
    flow: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    subsets: dict[str, Share] = field(default_factory=dict)
    families: dict[str, Share] = field(default_factory=dict)
    confidences: dict[str, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0] * BINS))
    ranks: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    _points: _Best = field(default_factory=lambda: _Best(POINTS))
    _examples: dict[tuple[str, str], _Best] = field(default_factory=lambda: defaultdict(lambda: _Best(EXAMPLES)))
    _doubtful: _Best = field(default_factory=lambda: _Best(DOUBTFUL))

    def add(self, joined: Joined) -> None:
        """Look at a group."""
        subset = find_subset(joined.group)
        count = len(joined.group.positives)
        self._count_shares(joined, subset, [row for row in joined.rows[count:] if row["reason"] != "unused"])
        for index, row in enumerate(joined.rows):
            self.flow[row["label"], row["action"], row["reason"]] += 1
            kind = row["action"] if index >= count else "positive"
            if row["confidence"] is not None:
                self.confidences[kind][min(BINS - 1, int(row["confidence"] * BINS))] += 1
            if row["rank"] is not None:
                self.ranks[kind][row["rank"]] += 1
            self._pick(joined, index, row, subset)

    def _count_shares(self, joined: Joined, subset: str, negatives: list[Row]) -> None:
        name = subset or "(no name)"
        if name not in self.subsets and len(self.subsets) >= SUBSETS:
            name = _OTHERS
        self.subsets.setdefault(name, Share()).add(negatives)
        family = joined.rows[0].get("family") or "(none)"
        self.families.setdefault(family, Share()).add(negatives)

    def _pick(self, joined: Joined, index: int, row: Row, subset: str) -> None:
        key, confidence = hash_ids(0, row["query_id"], row["doc_id"]), row["confidence"]
        at_random = -int.from_bytes(key, "big") / 2**64
        if row["reason"] == "positive_doubtful":
            self._doubtful.offer(0.0 if confidence is None else -confidence, key, joined, index, subset)
        if row["label"] != "negative":
            return
        if confidence is not None and len(list(list_evidence(row))) > 1:
            self._points.offer(at_random, key, joined, index, subset)
        reason = row["reason"]
        self._examples[reason, "at random"].offer(at_random, key, joined, index, subset)
        if confidence is None:
            return
        threshold = self.thresholds.get(row.get("family") or "", (0.5, 0.5))[0]
        self._examples[reason, "closest to the threshold"].offer(
            -abs(confidence - threshold), key, joined, index, subset
        )
        if row["action"] != "keep":
            self._examples[reason, "surest"].offer(confidence, key, joined, index, subset)

    @property
    def points(self) -> list[Change]:
        """Negatives at random that have more than one number as evidence."""
        return self._points.found

    @property
    def doubtful(self) -> list[Change]:
        """Doubtful positives, the least sure first."""
        return self._doubtful.found

    def list_examples(self) -> Iterator[tuple[str, str, Change]]:
        """(reason, how it was picked, change), no passage twice; reasons that change something come first."""
        order = ("surest", "closest to the threshold", "at random")
        reasons = sorted({reason for reason, _ in self._examples}, key=lambda r: (-self._changes(r), r))
        for reason in reasons:
            seen = set()
            for how in order:
                for change in self._examples[reason, how].found if (reason, how) in self._examples else ():
                    ids = change.row["query_id"], change.row["doc_id"]
                    if ids not in seen:
                        seen.add(ids)
                        yield reason, how, change

    def _changes(self, reason: str) -> int:
        return sum(n for (_, action, why), n in self.flow.items() if why == reason and action != "keep")


def gather(run: FinishedRun) -> Gathered:
    """Everything that the report of a run shows. Raises ArhnError as `FinishedRun.join`."""
    found = Gathered(thresholds=find_thresholds(run.summary))
    for joined in run.join():
        found.add(joined)
    return found


def find_thresholds(summary: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """By family, the confidences at which a passage answers and below which it doesn't."""
    calibrations = summary.get("calibrations") or {}
    return {name: (float(c["threshold"]), float(c["lower"])) for name, c in calibrations.items() if "threshold" in c}
