"""Which passages a person is asked about: a stratified sample, or the least certain ones first."""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import sqrt
from typing import NamedTuple

from arhn.cleaning.run.finished import FinishedRun, Row, Rows, make_damage
from arhn.diff.changes import hash_ids

#: Borders of the bands of confidence that reasons are split by.
BANDS = (0.2, 0.5, 0.8)
#: Reasons that rest on no judgement of a text: nothing to ask a person about.
_NOT_ASKED = frozenset(("unused", "duplicate", "equals_positive"))
#: The fewest passages of a stratum that are asked about, where it has as many.
_LEAST = 4
#: Of Knuth's 64-bit linear congruential generator (MMIX); its upper bits are used.
_MULTIPLIER, _STEP, _MASK = 6364136223846793005, 1442695040888963407, 2**64 - 1


class Item(NamedTuple):
    """A passage to ask about.

    `stratum` is empty where it wasn't drawn at random. `place` counts the groups of the run from 0; `line` is the first
    of the group's decisions.
    """

    query_id: str
    doc_id: str
    stratum: str
    place: int
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The passages of a review in their order, and how many passages each stratum has: {name: (action, size)}."""

    items: tuple[Item, ...]
    strata: Mapping[str, tuple[str, int]]
    seed: int


Key = tuple[str, str, int]


def name_stratum(key: Key) -> str:
    """What a stratum is called."""
    action, reason, band = key
    low, high = (0.0, *BANDS)[band], (*BANDS, 1.0)[band]
    return f"{action}, {reason}" if band < 0 else f"{action}, {reason}, {low:g} to {high:g}"


def share_out(sizes: Mapping[str, int], actions: Mapping[str, str], sample: int) -> dict[str, int]:
    """How many passages of each stratum are asked about.

    Half of the sample goes to changed passages and half to those that stay, for precision and recall both need
    answers; within each half a stratum's part grows with the root of its size, and none has fewer than four where the
    sample is large enough.
    """
    drawn: dict[str, int] = {}
    changed = [name for name in sizes if actions[name] != "keep"]
    kept = [name for name in sizes if actions[name] == "keep"]
    left = sample
    for names, part in ((changed, sample / 2 if kept else sample), (kept, None)):
        room = left if part is None else round(part)
        drawn |= _share_by_root({name: sizes[name] for name in names}, room)
        left = sample - sum(drawn.values())
    # What one half couldn't use goes to the other.
    if left > 0 and changed:
        drawn |= _share_by_root({name: sizes[name] for name in changed}, sum(drawn[n] for n in changed) + left)
    return drawn


def _share_by_root(sizes: Mapping[str, int], room: int) -> dict[str, int]:
    least = min(_LEAST, room // max(1, len(sizes)))
    drawn = {name: min(size, least) for name, size in sizes.items()}
    while (left := room - sum(drawn.values())) > 0:
        open_ = [name for name in sizes if drawn[name] < sizes[name]]
        if not open_:
            break
        # One by one to whoever is furthest below their part: parts are whole, and none is beyond its stratum's size.
        for _ in range(left):
            name = min(open_, key=lambda n: ((drawn[n] + 0.5) / sqrt(sizes[n]), n))
            drawn[name] += 1
            if drawn[name] >= sizes[name]:
                break
    return drawn


def list_candidates(run: FinishedRun) -> Iterator[tuple[Rows, Row]]:
    """The decisions on negatives that a person can be asked about. Raises DataError: damaged records."""
    for rows in run.read_rows():
        try:
            for row in rows.rows:
                if row["label"] == "negative" and row["reason"] not in _NOT_ASKED:
                    yield rows, row
        except (KeyError, TypeError) as error:
            raise make_damage(f"{error}: no such field", run.decisions, rows.line) from error


class _Drawer:
    """The passages of a stratum with the lowest random numbers. `limit`: numbers from there on don't come in."""

    __slots__ = ("limit", "lowest", "size")

    def __init__(self) -> None:
        self.size = 0
        self.limit = _MASK + 1
        self.lowest: list[tuple[int, Item]] = []

    def add(self, number: int, item: Item, most: int) -> None:
        if len(self.lowest) < most:
            heapq.heappush(self.lowest, (-number, item))
        else:
            heapq.heapreplace(self.lowest, (-number, item))
        if len(self.lowest) == most:
            self.limit = -self.lowest[0][0]


def draw_plan(run: FinishedRun, sample: int, seed: int) -> Plan:
    """A stratified sample in a random order. The larger sample of one seed holds the smaller one.

    Raises:
        ArhnError: as `list_candidates`.
    """
    drawers: dict[Key, _Drawer] = {}
    base, keyed = 0, -1
    for rows, row in list_candidates(run):
        if rows.place != keyed:
            base, keyed = int.from_bytes(hash_ids(seed, rows.query_id, "")), rows.place
        # As good as random, and quick: every passage of a run passes here.
        base = (base * _MULTIPLIER + _STEP) & _MASK
        confidence = row["confidence"]
        stratum = row["action"], row["reason"], -1 if confidence is None else bisect_right(BANDS, confidence)
        drawer = drawers.get(stratum)
        if drawer is None:
            drawer = drawers[stratum] = _Drawer()
        drawer.size += 1
        if base < drawer.limit:
            drawer.add(base, _make_item(rows, row, stratum), sample)
    named = {name_stratum(key): (key[0], drawer.size) for key, drawer in sorted(drawers.items())}
    drawn = share_out({n: size for n, (_, size) in named.items()}, {n: a for n, (a, _) in named.items()}, sample)
    picked = [
        pair
        for key, drawer in drawers.items()
        for pair in sorted(drawer.lowest, reverse=True)[: drawn[name_stratum(key)]]
    ]
    items = tuple(item for _, item in sorted(picked, key=lambda pair: (-pair[0], pair[1])))
    return Plan(items=items, strata=named, seed=seed)


def _make_item(rows: Rows, row: Row, stratum: Key | None) -> Item:
    name = "" if stratum is None else name_stratum(stratum)
    return Item(row["query_id"], row["doc_id"], name, rows.place, rows.line)


def pick_uncertain(run: FinishedRun, sample: int, thresholds: Mapping[str, tuple[float, float]]) -> Plan:
    """The passages whose decisions are least certain, the least certain first: no random sample, so nothing over the
    whole set can be estimated from it.

    Args:
        thresholds: by family, those between which arhn abstains.
    """
    found = heapq.nsmallest(sample, list_candidates(run), key=lambda pair: _measure_certainty(pair[1], thresholds))
    return Plan(items=tuple(_make_item(rows, row, None) for rows, row in found), strata={}, seed=0)


def _measure_certainty(row: Row, thresholds: Mapping[str, tuple[float, float]]) -> tuple[float, str, str]:
    """How far the evidence is from turning the decision; 0 where pieces of it are at odds."""
    if row["reason"] in ("unstable", "fullness_unknown", "partial"):
        return 0.0, row["query_id"], row["doc_id"]
    if row["confidence"] is None:
        return 1.0, row["query_id"], row["doc_id"]
    borders = thresholds.get(row.get("family") or "", (0.5, 0.5))
    distance = min(abs(row["confidence"] - border) for border in borders)
    return distance, row["query_id"], row["doc_id"]
