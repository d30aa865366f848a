"""Triplets of sentence-transformers: the columns anchor, positive, negative (or other usual names).

Consecutive rows with the same anchor and positive are one group, and adjacent blocks with the same anchor and
the same negatives one group with several positives. Written are all positives × negatives, one positive after
the other, so that a file comes back exactly. Unknown columns belong to the row's negative.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from arhn.files import rows
from arhn.formats import columns
from arhn.formats.interface import Draft, make_passage
from arhn.formats.origin import find_origin, keep, order_fields
from arhn.formats.row_fields import NO_NEGATIVES, count_dropped, is_from_format, reduce_passages, reduce_query

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator, Set

    from arhn.files.rows import Row
    from arhn.types import Group, Passage

NAME = "triplet"
COLUMNS = "anchor, positive, negative"
POSITIVES = "positive"
NEGATIVES = "negative"
HOLDS: frozenset[str] = frozenset()
ROW_IS_GROUP = False


def fits(fields: Set[str]) -> bool:
    """A row with an anchor, a positive and a negative."""
    return columns.has_pair(fields) and NEGATIVES in fields


def parse(row: Row, line: int) -> Draft:
    """The draft of one row, which has one positive and one negative. Raises BadRow."""
    fields = tuple(row)
    anchor, positive = columns.choose_pair(fields)
    extra = rows.drop_known(row, frozenset({anchor, positive, NEGATIVES}))
    return Draft(
        line=line,
        query=rows.read_text(row, anchor),
        positives=(make_passage(rows.read_text(row, positive), keep(NAME, (), {})),),
        negatives=(make_passage(rows.read_text(row, NEGATIVES), keep(NAME, (), extra)),),
        extra=keep(NAME, fields, {}),
    )


def join(drafts: Iterator[Draft]) -> Iterator[Draft]:
    """Rows of one group together; see the module."""
    return columns.join_positives(columns.join_negatives(drafts, NAME), NAME)


def encode(group: Group, losses: Counter[str], like: tuple[str, ...]) -> list[Row]:
    """All positives × negatives, one positive after the other; none without negatives."""
    if not group.negatives:
        losses[NO_NEGATIVES] += 1
        return []
    fields = find_origin(group.extra, NAME).fields or like
    anchor, positive = columns.choose_pair(fields)
    query, positives = reduce_query(group, losses), reduce_passages(group.positives, losses)
    negatives = [_negative(p, text, losses) for p, text in _with_texts(group.negatives, losses)]
    count_dropped(group.extra, losses, "field")
    for each in group.positives:
        count_dropped(each.extra, losses, "passage field")
    return [
        order_fields({anchor: query, positive: text, **negative}, fields)
        for text in positives
        for negative in negatives
    ]


def _with_texts(passages: tuple[Passage, ...], losses: Counter[str]) -> Iterator[tuple[Passage, str]]:
    return zip(passages, reduce_passages(passages, losses), strict=True)


def _negative(negative: Passage, text: str, losses: Counter[str]) -> Row:
    """The row's part for one negative. Unknown fields only go back to where they were columns: a trainer
    would take a further column for a further text."""
    if is_from_format(negative, NAME):
        return {NEGATIVES: text, **negative.extra}
    count_dropped(negative.extra, losses, "passage field")
    return {NEGATIVES: text}
