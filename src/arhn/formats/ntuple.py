"""N-tuples of sentence-transformers: the columns anchor, positive, negative_1, …, negative_n.

One row a group; adjacent rows that differ in nothing but their positive are one group with several positives,
written as several rows. Rows may have different numbers of negatives: missing ones are absent in JSONL and
null in Parquet. Unknown columns belong to the group, but a list of numbers, one for the positive and each of
the negatives (`score` of `mine_hard_negatives`), travels with the passages.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from arhn.files import rows
from arhn.formats import columns
from arhn.formats.interface import Draft, make_passage
from arhn.formats.origin import find_origin, keep, order_fields
from arhn.formats.row_fields import count_dropped, gather_field, reduce_passages, reduce_query, take_numbers

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator, Set

    from arhn.files.rows import Row
    from arhn.types import Group, Passage

NAME = "ntuple"
COLUMNS = "anchor, positive, negative_1, …, negative_n"
POSITIVES = "positive"
NEGATIVES = "negative_1"
HOLDS = frozenset({"groups without negatives"})
ROW_IS_GROUP = False

_NEGATIVE = re.compile(r"negative_[1-9][0-9]*")


def fits(fields: Set[str]) -> bool:
    """A row with numbered negatives, or with nothing but the pair."""
    return columns.has_pair(fields) and (NEGATIVES in fields or len(fields) == 2)


def parse(row: Row, line: int) -> Draft:
    """The draft of one row, which has one positive. Raises BadRow."""
    anchor, positive = columns.choose_pair(tuple(row))
    negatives = sorted(filter(_NEGATIVE.fullmatch, row), key=_number)
    texts = [rows.read_text(row, positive), *(rows.read_text(row, n) for n in negatives if row[n] is not None)]
    extra = rows.drop_known(row, frozenset({anchor, positive, *negatives}))
    passages = [
        make_passage(text, keep(NAME, (), own))
        for text, own in zip(texts, take_numbers(extra, len(texts)), strict=True)
    ]
    return Draft(
        line=line,
        query=rows.read_text(row, anchor),
        positives=tuple(passages[:1]),
        negatives=tuple(passages[1:]),
        extra=keep(NAME, tuple(row), extra),
    )


def join(drafts: Iterator[Draft]) -> Iterator[Draft]:
    """Rows of one group together; see the module."""
    return columns.join_positives(drafts, NAME)


def encode(group: Group, losses: Counter[str], like: tuple[str, ...]) -> list[Row]:
    """One row a positive."""
    origin = find_origin(group.extra, NAME)
    fields = origin.fields or like
    anchor, positive = columns.choose_pair(fields)
    query = reduce_query(group, losses)
    negatives = dict(zip(_negative_names(group), reduce_passages(group.negatives, losses), strict=True))
    extra = dict(group.extra) if origin.fields else {}
    count_dropped(group.extra, losses, "field", but=extra)
    parallel = _parallel(group, origin.fields, losses)
    return [
        order_fields({anchor: query, positive: text, **negatives, **extra, **own}, fields)
        for text, own in zip(reduce_passages(group.positives, losses), parallel, strict=True)
    ]


def _number(name: str) -> int:
    return int(name.removeprefix("negative_"))


def _negative_names(group: Group) -> list[str]:
    return [f"negative_{number}" for number in range(1, len(group.negatives) + 1)]


def _parallel(group: Group, fields: tuple[str, ...], losses: Counter[str]) -> list[Row]:
    """The lists of numbers of each positive's row. A list that isn't complete any more is left out, and so
    are passages' fields that weren't a column: a trainer would take a further column for a further text."""
    result = []
    for positive in group.positives:
        passages = (positive, *group.negatives)
        columns_of = {name: gather_field(passages, name) for name in positive.extra if name in fields}
        result.append({name: values for name, values in columns_of.items() if values is not None})
    _count_dropped(group.positives, result, losses)
    for negative in group.negatives:
        count_dropped(negative.extra, losses, "passage field", but=result[0])
    return result


def _count_dropped(positives: tuple[Passage, ...], parallel: list[Row], losses: Counter[str]) -> None:
    for positive, own in zip(positives, parallel, strict=True):
        count_dropped(positive.extra, losses, "passage field", but=own)
