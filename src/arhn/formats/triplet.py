"""Triplets of sentence-transformers: the columns anchor, positive, negative (or other usual names).

Consecutive rows with the same anchor and positive are one group, and adjacent blocks with the same anchor and
the same negatives one group with several positives. Written are all positives × negatives, one positive after
the other, so that a file comes back exactly. Unknown columns belong to the row's negative, but of a pair of scores the
first is the positive's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from arhn.files import rows
from arhn.formats import columns
from arhn.formats.interface import Draft, make_passage
from arhn.formats.origin import find_origin, keep, order_fields
from arhn.formats.parallel import find_lists, speaks_of_pair, take_lists
from arhn.formats.row_fields import NO_NEGATIVES, count_dropped, is_from_format, reduce_passages, reduce_query

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Collection, Iterator, Set

    from arhn.files.rows import Row
    from arhn.types import Group, Passage

NAME = "triplet"
COLUMNS = "anchor, positive, negative"
POSITIVES = "positive"
NEGATIVES = "negative"
HOLDS: frozenset[str] = frozenset()
ROW_IS_GROUP = False

_LABELLED = "labelled"


def fits(fields: Set[str]) -> bool:
    """A row with an anchor, a positive and a negative."""
    return columns.has_pair(fields) and NEGATIVES in fields


def parse(row: Row, line: int) -> Draft:
    """The draft of one row, which has one positive and one negative. Raises BadRow."""
    fields = tuple(row)
    anchor, positive = columns.choose_pair(fields)
    extra = rows.drop_known(row, frozenset({anchor, positive, NEGATIVES}))
    labelled = {_LABELLED: True} if extra else None
    taken = take_lists(extra, 1, 1)  # scores of the two
    texts = rows.read_string(row, positive), rows.read_string(row, NEGATIVES)
    return Draft(
        line=line,
        query=rows.read_text(row, anchor),
        positives=(make_passage(texts[0], keep(NAME, (), taken.positives[0], labelled)),),
        negatives=(make_passage(texts[1], keep(NAME, (), taken.negatives[0] | extra)),),
        extra=keep(NAME, fields, {}, taken.origin),
    )


def join(drafts: Iterator[Draft]) -> Iterator[Draft]:
    """Rows of one group together; see the module."""
    return columns.join_positives(columns.join_negatives(drafts, NAME), NAME)


def encode(group: Group, losses: Counter[str], like: tuple[str, ...]) -> list[Row]:
    """All positives × negatives, one positive after the other; none without negatives."""
    if not group.negatives:
        losses[NO_NEGATIVES] += 1
        return []
    origin = find_origin(group.extra, NAME)
    fields = origin.fields or like
    anchor, positive = columns.choose_pair(fields)
    query, positives = reduce_query(group, losses), reduce_passages(group.positives, losses)
    negatives = reduce_passages(group.negatives, losses)
    pairs = {name for name, over in find_lists(origin.raw).items() if over == "all"}
    count_dropped(group.extra, losses, "field")
    for each in group.positives:
        count_dropped(each.extra, losses, "passage field", but=pairs)
    for each in group.negatives:
        count_dropped(each.extra, losses, "passage field", but=each.extra if is_from_format(each, NAME) else ())
    return [
        order_fields({anchor: query, positive: p_text, NEGATIVES: n_text, **_unknown(p, n, pairs, losses)}, fields)
        for p, p_text in zip(group.positives, positives, strict=True)
        for n, n_text in zip(group.negatives, negatives, strict=True)
    ]


def _unknown(positive: Passage, negative: Passage, pairs: Collection[str], losses: Counter[str]) -> Row:
    """The unknown columns of a row.

    They only go back to where they were columns: a trainer would take a further column for a further text. A
    margin between the two (`label`) is only true of a positive that came with the negative.
    """
    row: Row = {}
    if not is_from_format(negative, NAME):
        return row
    came = _LABELLED in find_origin(positive.extra, NAME).raw
    for name, value in negative.extra.items():
        if name not in pairs and (came or not _is_of_pair(name, value)):
            row[name] = value
        elif name in pairs and name in positive.extra:
            row[name] = [positive.extra[name], value]
        else:
            losses[f"passage field {name}"] += 1
    return row


def _is_of_pair(name: str, value: object) -> bool:
    return speaks_of_pair(name, value) or (isinstance(value, list) and bool(value) and all(map(rows.is_number, value)))
