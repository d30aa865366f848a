"""Lists of a row that speak of its passages, one value a passage: each value moves with its passage.

A list over all passages, positives first (`teacher_scores`), or over the negatives alone (`neg_source`,
`negative_ids`) is spread over the passages when a row is read, and put together again when one is written. Where a
passage lacks a value by then, the list is left out and counted: never is one written with another length or order than
the passages it speaks of.

Lists whose length fits by chance can't be told from these for sure. Lists of numbers, and those whose name says what
they hold, are taken for parallel; any other that fits (`answers`) stays with the group, and is left out once the group
has other passages than it had.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from arhn.files import rows

if TYPE_CHECKING:
    from collections import Counter

    from arhn.files.rows import Row
    from arhn.types import Group

#: Which passages a list speaks of: all, the positives, the negatives, or one can't tell.
Over = Literal["all", "pos", "neg", "unsure"]

#: Where a record's origin remembers its lists, and how many passages it had.
LISTS, COUNTS = "parallel lists", "passages"

_POSITIVES = re.compile(r"(^|_)pos(itives?)?(_|$)")
_NEGATIVES = re.compile(r"(^|_)(hard_)?neg(atives?)?(_|$)")
_OF_PASSAGES = re.compile(
    r"(^|_)(docs?|documents?|docids?|passages?|pids?|teachers?|scores?|labels?|ranks?|ids?|sources?|titles?|urls?|margins?|"
    r"logits?|probs?)(_|$)"
)
_OF_PAIRS = re.compile(r"(^|_)(labels?|margins?|diffs?|differences?)(_|$)")


class Taken(NamedTuple):
    """The lists taken out of a row: values by name for each positive and each negative, and what to remember of it."""

    positives: list[Row]
    negatives: list[Row]
    origin: Row


def take_lists(extra: Row, positives: int, negatives: int, *, reserved: Collection[str] = ()) -> Taken:
    """Take the lists that speak of passages out of a row's unknown fields.

    Args:
        extra: the unknown fields; what is taken is removed.
        positives, negatives: how many passages the row has.
        reserved: names that passages have fields of already.
    """
    total = positives + negatives
    found: tuple[list[Row], list[Row]] = ([{} for _ in range(positives)], [{} for _ in range(negatives)])
    lists: dict[str, Over] = {}
    for name, values in [(name, values) for name, values in extra.items() if type(values) is list and values]:
        over = _find_passages(name, values, positives, negatives)
        if over is None:
            continue
        lists[name] = over = "unsure" if name in reserved else over
        if over == "unsure":
            continue
        del extra[name]
        rest = iter(values)
        for side in (found[0] if over != "neg" else ()), (found[1] if over != "pos" else ()):
            for fields in side:
                fields[name] = next(rest)
    origin = {LISTS: lists, COUNTS: (positives, total - positives)} if lists else {}
    return Taken(*found, origin)


def put_lists(group: Group, origin: Mapping[str, Any], losses: Counter[str]) -> Row:
    """The lists of a group again, by name; one that a passage lacks a value of is counted in `losses`."""
    result: Row = {}
    for name, over in find_lists(origin).items():
        if over == "unsure":
            continue
        passages = {"all": group.passages, "pos": group.positives, "neg": group.negatives}[over]
        values = [passage.extra[name] for passage in passages if name in passage.extra]
        if len(values) == len(passages):
            result[name] = values
        else:
            losses[f"field {name}"] += 1
    return result


def find_spread(origin: Mapping[str, Any]) -> Collection[str]:
    """The names of the lists that were spread over the passages."""
    return {name for name, over in find_lists(origin).items() if over != "unsure"}


def drop_stale(group: Group, losses: Counter[str], *, total: bool = False) -> Row:
    """The fields of a group without the lists that may not speak of its passages any more, which are counted.

    Args:
        total: whether positives that were negatives stand where they stood, so that only the number of all counts.
    """
    origin = getattr(getattr(group.extra, "origin", None), "raw", {})
    counts, now = origin.get(COUNTS), (len(group.positives), len(group.negatives))
    if counts is None or (sum(counts) == sum(now) if total else tuple(counts) == now):
        return dict(group.extra)
    stale = {name for name, over in find_lists(origin).items() if over == "unsure"}
    losses.update(f"field {name}" for name in group.extra if name in stale)
    return {name: value for name, value in group.extra.items() if name not in stale}


def speaks_of_passages(name: str, values: Sequence[Any]) -> bool:
    """Whether a list of as many values as there are passages is taken to hold one for each."""
    return all(map(rows.is_number, values)) or _OF_PASSAGES.search(name.casefold()) is not None


def speaks_of_pair(name: str, value: object) -> bool:
    """Whether a number says how a positive and a negative differ: a margin, as MarginMSE's `label`."""
    return rows.is_number(value) and _OF_PAIRS.search(name.casefold()) is not None


def _find_passages(name: str, values: list[Any], positives: int, negatives: int) -> Over | None:
    size, lower = len(values), name.casefold()
    if size == negatives and _NEGATIVES.search(lower):
        return "neg"
    if size == positives and _POSITIVES.search(lower):
        return "pos"
    if size == positives + negatives and speaks_of_passages(name, values):
        return "all"
    if size == negatives > 1 and size != positives and speaks_of_passages(name, values):
        return "neg"
    fits = size in (positives, negatives, positives + negatives)
    return "unsure" if fits and (size > 1 or speaks_of_passages(name, values)) else None


def find_lists(origin: Mapping[str, Any]) -> Mapping[str, Over]:
    """The lists of a row by name, and which passages each speaks of."""
    lists: Mapping[str, Over] = origin.get(LISTS, {})
    return lists
