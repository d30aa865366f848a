"""Which passages a person is asked about: a stratified sample, or the least certain ones first."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any, NamedTuple

from arhn.cleaning.run.finished import FinishedRun, Row
from arhn.diff.changes import hash_ids

#: Borders of the bands of confidence that reasons are split by.
BANDS = (0.2, 0.5, 0.8)
#: Reasons that rest on no judgement of a text: nothing to ask a person about.
_NOT_ASKED = frozenset(("unused", "duplicate", "equals_positive"))
#: The fewest passages of a stratum that are asked about, where it has as many.
_LEAST = 4


class Item(NamedTuple):
    """A passage to ask about. `stratum` is empty where it wasn't drawn at random."""

    query_id: str
    doc_id: str
    stratum: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The passages of a review in their order, and how many passages each stratum has: {name: (action, size)}."""

    items: tuple[Item, ...]
    strata: Mapping[str, tuple[str, int]]
    seed: int


def name_stratum(row: Row) -> str:
    """The stratum of a decision: its action, its reason, and the band of its confidence."""
    confidence = row["confidence"]
    if confidence is None:
        return f"{row['action']}, {row['reason']}"
    band = sum(confidence >= border for border in BANDS)
    low, high = (0.0, *BANDS)[band], (*BANDS, 1.0)[band]
    return f"{row['action']}, {row['reason']}, {low:g} to {high:g}"


def share_out(sizes: Mapping[str, int], actions: Mapping[str, str], sample: int) -> dict[str, int]:
    """How many passages of each stratum are asked about.

    Half of the sample goes to changed passages and half to those that stay, for precision and recall both need
    answers; within each half a stratum's part grows with the root of its size, and none has fewer than four.
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
    drawn = {name: min(size, _LEAST) for name, size in sizes.items()}
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


def list_candidates(run: FinishedRun) -> Iterator[Row]:
    """The decisions on negatives that a person can be asked about. Raises as `FinishedRun.read_rows`."""
    for rows in run.read_rows():
        for row in rows.rows:
            if row["label"] == "negative" and row["reason"] not in _NOT_ASKED:
                yield row


def draw_plan(run: FinishedRun, sample: int, seed: int) -> Plan:
    """A stratified sample in a random order. The larger sample of one seed holds the smaller one.

    Raises:
        ArhnError: as `FinishedRun.read_rows`.
    """
    sizes: Counter[str] = Counter()
    actions: dict[str, str] = {}
    lowest: dict[str, list[tuple[int, str, str]]] = {}
    for row in list_candidates(run):
        name = name_stratum(row)
        sizes[name] += 1
        actions[name] = row["action"]
        key = -int.from_bytes(hash_ids(seed, row["query_id"], row["doc_id"]), "big")
        heap = lowest.setdefault(name, [])
        if len(heap) < sample:
            heapq.heappush(heap, (key, row["query_id"], row["doc_id"]))
        elif key > heap[0][0]:
            heapq.heapreplace(heap, (key, row["query_id"], row["doc_id"]))
    drawn = share_out(sizes, actions, sample)
    picked = [
        (key, Item(query_id, doc_id, name))
        for name, heap in lowest.items()
        for key, query_id, doc_id in sorted(heap, reverse=True)[: drawn[name]]
    ]
    items = tuple(item for _, item in sorted(picked, key=lambda pair: (-pair[0], pair[1])))
    return Plan(items=items, strata={n: (actions[n], sizes[n]) for n in sorted(sizes)}, seed=seed)


def pick_uncertain(run: FinishedRun, sample: int, thresholds: Mapping[str, tuple[float, float]]) -> Plan:
    """The passages whose decisions are least certain, the least certain first: no random sample, so nothing over the
    whole set can be estimated from it.

    Args:
        thresholds: by family, those between which arhn abstains.
    """
    rows = heapq.nsmallest(sample, list_candidates(run), key=lambda row: _measure_certainty(row, thresholds))
    return Plan(items=tuple(Item(r["query_id"], r["doc_id"], "") for r in rows), strata={}, seed=0)


def _measure_certainty(row: Row, thresholds: Mapping[str, tuple[float, float]]) -> tuple[float, str, str]:
    """How far the evidence is from turning the decision; 0 where pieces of it are at odds."""
    if row["reason"] in ("unstable", "fullness_unknown", "partial"):
        return 0.0, row["query_id"], row["doc_id"]
    if row["confidence"] is None:
        return 1.0, row["query_id"], row["doc_id"]
    borders: Iterable[Any] = thresholds.get(row.get("family") or "", (0.5, 0.5))
    distance = min(abs(row["confidence"] - border) for border in borders)
    return distance, row["query_id"], row["doc_id"]
