"""The changes of a finished run: found one by one, filtered, sampled, with their texts."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import groupby, islice
from typing import Any, NamedTuple, get_args

from arhn.cleaning.run.finished import FinishedRun, Joined, Row, Rows, find_subset
from arhn.errors import UsageError
from arhn.types import Action, Group, Passage, Reason

_CHANGED = frozenset(("relabel", "filter"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which decisions are shown; those that change something unless `reasons` names others.

    `confidence`: the lowest and the highest, both included. `subset`: as the groups' records name it. `sample`: so many
    are drawn at random, the same ones for the same `seed`.
    """

    reasons: frozenset[str] = frozenset()
    actions: frozenset[str] = frozenset()
    confidence: tuple[float, float] | None = None
    subset: str | None = None
    sample: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for option, given, known in (
            ("--reason", self.reasons, [reason.value for reason in Reason]),
            ("--action", self.actions, list(get_args(Action))),
        ):
            if unknown := sorted(given - set(known)):
                raise UsageError(f"{option}: found {unknown[0]!r}, allowed: {', '.join(known)}")

    def admits(self, row: Row) -> bool:
        """Whether a decision is shown, as far as it can be said without its group."""
        if self.reasons and row.get("reason") not in self.reasons:
            return False
        if self.actions and row.get("action") not in self.actions:
            return False
        if not (self.reasons or self.actions) and row.get("action") not in _CHANGED:
            return False
        if self.confidence is None:
            return True
        found = row.get("confidence")
        return found is not None and self.confidence[0] <= found <= self.confidence[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One decision with its texts.

    `row` and `other`: what the run decided, and what another one did, where two are compared. `positive`: the best
    ranked labelled positive, and `positive_row` the decision on it.
    """

    place: int
    group: Group
    subset: str
    passage: Passage
    row: Row
    positive: Passage
    positive_row: Row
    other: Row | None = None


class Match(NamedTuple):
    """A decision that is wanted: the decisions on its group, which of these it is, and what another run decided."""

    rows: Rows
    nth: int
    other: Row | None


@dataclass(slots=True)
class Count:
    """How many decisions were wanted in all, before a sample; None as long as not all have been looked at."""

    total: int | None = None


def find_changes(
    run: FinishedRun, wanted: Wanted, *, other: FinishedRun | None = None, count: Count | None = None
) -> Iterator[Change]:
    """The decisions that are wanted, in the order of the run, or a sample of them.

    Args:
        other: another run of the same groups; then those on which the two differ.
        count: is filled in once all decisions have been looked at, but for a subset without a sample.

    Raises:
        ArhnError: as `FinishedRun.join`.
    """
    matches = _find_matches(run, other, wanted)
    if wanted.sample is not None:
        if wanted.subset is not None:
            # Only a group's record names its subset, so the groups are read twice.
            matches = (match for match, _, _ in _join(run, matches, wanted.subset))
        matches = iter(draw_sample(_count(matches, count), wanted.sample, wanted.seed))
        count = None
    whole = count if wanted.subset is None else None
    for match, joined, subset in _join(run, _count(matches, whole), wanted.subset):
        yield make_change(joined, match.nth, subset, match.other)


def _count(matches: Iterable[Match], count: Count | None) -> Iterator[Match]:
    total = 0
    for match in matches:
        total += 1
        yield match
    if count is not None:
        count.total = total


def draw_sample(matches: Iterable[Match], size: int, seed: int) -> list[Match]:
    """`size` of them at random, in the order of the run. The larger sample of one seed holds the smaller one."""
    keyed = ((hash_ids(seed, m.rows.query_id, m.rows.rows[m.nth]["doc_id"]), m) for m in matches)
    drawn = heapq.nsmallest(size, keyed, key=lambda pair: pair[0])
    return sorted((match for _, match in drawn), key=lambda m: (m.rows.place, m.nth))


def hash_ids(seed: int, query_id: str, doc_id: str) -> bytes:
    """A number that is as good as random, and always the same for one passage and seed."""
    text = f"{seed}\0{query_id}\0{doc_id}"
    return blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest()


def _find_matches(run: FinishedRun, other: FinishedRun | None, wanted: Wanted) -> Iterator[Match]:
    if other is None:
        for rows in run.read_rows():
            for i, row in enumerate(rows.rows):
                if wanted.admits(row):
                    yield Match(rows, i, None)
        return
    for rows, others in pair_runs(run, other):
        for i, row in enumerate(rows.rows):
            its = others.get(row.get("doc_id"))
            if its is not None and its["action"] != row["action"] and _admits_either(wanted, row, its):
                yield Match(rows, i, its)


def _admits_either(wanted: Wanted, *rows: Row) -> bool:
    return any(wanted.admits(row) for row in rows)


def pair_runs(run: FinishedRun, other: FinishedRun) -> Iterator[tuple[Rows, Mapping[Any, Row]]]:
    """The decisions of two runs on the same groups; the second's by `doc_id`. Both may be in different orders."""
    theirs = other.read_rows()
    waiting: dict[str, Rows] = {}
    for rows in run.read_rows():
        found = waiting.pop(rows.query_id, None)
        while found is None and (ahead := next(theirs, None)) is not None:
            if ahead.query_id == rows.query_id:
                found = ahead
            else:
                waiting[ahead.query_id] = ahead
        if found is not None:
            yield rows, {row.get("doc_id"): row for row in found.rows}


def _join(run: FinishedRun, matches: Iterable[Match], only: str | None) -> Iterator[tuple[Match, Joined, str]]:
    """Matches with their groups and these groups' subsets; those of the subset `only`, if given."""
    by_group = ((rows, list(own)) for rows, own in groupby(matches, key=lambda m: m.rows))
    ahead: list[list[Match]] = []

    def note() -> Iterator[Rows]:
        for rows, own in by_group:
            ahead.append(own)
            yield rows

    for joined in run.join(note()):
        subset = find_subset(joined.group)
        if only is None or subset == only:
            yield from ((match, joined, subset) for match in ahead[-1])
        ahead.clear()


def make_change(joined: Joined, index: int, subset: str, other: Row | None = None) -> Change:
    """The decision on the passage `index` of a group, with its texts."""
    best = find_best_positive(joined)
    return Change(
        place=joined.place,
        group=joined.group,
        subset=subset,
        passage=joined.group.passages[index],
        row=joined.rows[index],
        positive=joined.group.passages[best],
        positive_row=joined.rows[best],
        other=other,
    )


def find_best_positive(joined: Joined) -> int:
    """Which passage is the labelled positive that ranks best; the first where none is ranked."""
    last = len(joined.rows) + 1
    return min(range(len(joined.group.positives)), key=lambda i: (joined.rows[i].get("rank") or last, i))


def take_page(changes: Iterator[Change], page: int, size: int) -> tuple[Sequence[Change], bool]:
    """The `page`-th `size` changes, from 1, and whether there are more."""
    found = list(islice(changes, (page - 1) * size, page * size + 1))
    return found[:size], len(found) > size
