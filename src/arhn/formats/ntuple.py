"""N-tuples of sentence-transformers: the columns anchor, positive, negative_1, …, negative_n.

One row a group; adjacent rows that differ in nothing but their positive are one group with several positives,
written as several rows. Rows may have different numbers of negatives: missing ones are absent in JSONL and
null in Parquet. Unknown columns belong to the group, but a list with a value for the positive and each of the negatives
(`score` of `mine_hard_negatives`), or for each negative (margins), travels with the passages as `parallel` says.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from arhn.files import rows
from arhn.formats import columns
from arhn.formats.interface import Draft, make_passage
from arhn.formats.origin import Origin, find_origin, keep, order_fields
from arhn.formats.parallel import COUNTS, LISTS, find_lists, speaks_of_pair, take_lists
from arhn.formats.row_fields import count_dropped, gather_field, reduce_passages, reduce_query

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator, Set

    from arhn.files.rows import Row
    from arhn.types import Group

NAME = "ntuple"
COLUMNS = "anchor, positive, negative_1, …, negative_n"
POSITIVES = "positive"
NEGATIVES = "negative_1"
HOLDS = frozenset({"groups without negatives"})
ROW_IS_GROUP = False

_NEGATIVE = re.compile(r"negative_[1-9][0-9]{0,8}")
_LABELLED = "labelled"


def fits(fields: Set[str]) -> bool:
    """A row with numbered negatives, or with nothing but the pair."""
    return columns.has_pair(fields) and (NEGATIVES in fields or len(fields) == 2)


def parse(row: Row, line: int) -> Draft:
    """The draft of one row, which has one positive. Raises BadRow."""
    anchor, positive = columns.choose_pair(tuple(row))
    negatives = sorted(filter(_NEGATIVE.fullmatch, row), key=_number)
    texts = [rows.read_string(row, positive), *(rows.read_string(row, n) for n in negatives if row[n] is not None)]
    extra = rows.drop_known(row, frozenset({anchor, positive, *negatives}))
    taken = take_lists(extra, 1, len(texts) - 1)
    margins = {name: "unsure" for name, value in extra.items() if speaks_of_pair(name, value)}
    if margins:
        taken.origin.update({LISTS: taken.origin.get(LISTS, {}) | margins, COUNTS: (1, len(texts) - 1)})
    labelled = {_LABELLED: True} if taken.origin else None
    passages = [
        make_passage(texts[0], keep(NAME, (), taken.positives[0], labelled)),
        *(make_passage(text, keep(NAME, (), own)) for text, own in zip(texts[1:], taken.negatives, strict=True)),
    ]
    return Draft(
        line=line,
        query=rows.read_text(row, anchor),
        positives=tuple(passages[:1]),
        negatives=tuple(passages[1:]),
        extra=keep(NAME, tuple(row), extra, taken.origin),
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
    return [
        order_fields({anchor: query, positive: text, **negatives, **own}, fields)
        for text, own in zip(reduce_passages(group.positives, losses), _unknown(group, origin, losses), strict=True)
    ]


def _number(name: str) -> int:
    return int(name.removeprefix("negative_"))


def _negative_names(group: Group) -> list[str]:
    return [f"negative_{number}" for number in range(1, len(group.negatives) + 1)]


def _unknown(group: Group, origin: Origin, losses: Counter[str]) -> list[Row]:
    """The unknown columns of each positive's row.

    A list that isn't complete any more is left out, and so are passages' fields that weren't a column: a trainer would
    take a further column for a further text. What speaks of the positive and the negatives together is only true of a
    positive that came with them.
    """
    result: list[Row] = []
    over_negatives = {name for name, over in find_lists(origin.raw).items() if over == "neg"}
    for positive in group.positives:
        came = not origin.raw or _LABELLED in find_origin(positive.extra, NAME).raw
        row = _fields(group, origin, came)
        count_dropped(group.extra, losses, "field", but=row)
        for name in dict.fromkeys(n for p in (positive, *group.negatives) for n in p.extra if n in origin.fields):
            passages = group.negatives if name in over_negatives else (positive, *group.negatives)
            values = gather_field(passages, name)
            if values and (came or name not in over_negatives):
                row[name] = values
        count_dropped(positive.extra, losses, "passage field", but=row)
        result.append(row)
    for negative in group.negatives:
        count_dropped(negative.extra, losses, "passage field", but=result[0])
    return result


def _fields(group: Group, origin: Origin, came: bool) -> Row:
    """The fields of the group that are true of a row."""
    if not origin.fields:
        return {}
    unchanged = came and origin.raw.get(COUNTS, (1, len(group.negatives))) == (1, len(group.negatives))
    unsure = () if unchanged else {name for name, over in find_lists(origin.raw).items() if over == "unsure"}
    return {name: value for name, value in group.extra.items() if name not in unsure}
