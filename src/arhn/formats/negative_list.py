"""Lists under the names of columns: anchor, positive (a text or a list), negative (a list), as mteb's reranking sets,
sentence-transformers' lists of negatives and ms-swift's `rejected_response` have them.

Where `positive` is a text, a group has a row a positive, and adjacent rows that differ in nothing but it are one group.
Lists parallel to the passages travel with them as `parallel` says.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

from arhn.errors import BadRow
from arhn.files import rows
from arhn.formats import columns
from arhn.formats.interface import Draft, make_passage
from arhn.formats.origin import Origin, find_origin, keep, order_fields
from arhn.formats.parallel import drop_stale, find_spread, put_lists, take_lists
from arhn.formats.row_fields import carry_fields, count_dropped, reduce_passages, reduce_query

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Collection, Iterator, Set

    from arhn.files.rows import Row
    from arhn.types import Group

NAME = "negative_list"
COLUMNS = "anchor, positive or [positive], [negative]"
POSITIVES = "positive"
NEGATIVES = "negative"
HOLDS = frozenset({"group fields", "groups without negatives"})
ROW_IS_GROUP = False

_POSITIVES = ("positive", "positives", *columns.POSITIVES[1:])
_NEGATIVES = ("negative", "negatives", "hard_negatives", "rejected_response")
_SINGLE = "single"


def fits(fields: Set[str]) -> bool:
    """A row with a query, positives and negatives."""
    has_query = bool(fields & {*columns.ANCHORS})
    return has_query and bool(fields & {*_POSITIVES}) and (bool(fields & {*_NEGATIVES}) or "positives" in fields)


def holds_lists(row: Row) -> bool:
    """Whether a row with names of columns has lists where a column has a text."""
    return any(type(row.get(name)) is list for name in (*_POSITIVES, *_NEGATIVES))


def parse(row: Row, line: int) -> Draft:
    """The draft of one row. Raises BadRow."""
    fields = tuple(row)
    anchor, positive, negative = _choose_names(fields)
    single = {name: True for name in (positive, negative) if type(row.get(name)) is str}
    texts = {name: _read_texts(row, name) for name in (positive, negative)}
    extra = rows.drop_known(row, frozenset({anchor, positive, negative}))
    taken = take_lists(extra, len(texts[positive]), len(texts[negative]))
    raw = {**taken.origin, **({_SINGLE: positive} if positive in single else {})}
    sides = zip((positive, negative), (taken.positives, taken.negatives), strict=True)
    passages = [
        tuple(make_passage(text, keep(NAME, (), own)) for text, own in zip(texts[name], lists, strict=True))
        for name, lists in sides
    ]
    return Draft(
        line=line,
        query=rows.read_text(row, anchor),
        positives=passages[0],
        negatives=passages[1],
        extra=keep(NAME, fields, extra, raw),
    )


def join(drafts: Iterator[Draft]) -> Iterator[Draft]:
    """Rows of one positive each together; see the module."""
    for single, block in groupby(drafts, _is_single):
        if single:
            yield from columns.join_positives(block, NAME)
        else:
            yield from block


def encode(group: Group, losses: Counter[str], like: tuple[str, ...]) -> list[Row]:
    """One row, or one a positive where the source had a text there."""
    origin = find_origin(group.extra, NAME)
    names = _choose_names(origin.fields or like)
    query = reduce_query(group, losses)
    if _SINGLE not in origin.raw:
        return [_encode_row(group, query, names, origin, losses, like)]
    parts = [replace(group, positives=(positive,)) for positive in group.positives]
    found = [_encode_row(part, query, names, origin, losses, like) for part in parts]
    return [{**row, names[1]: row[names[1]][0]} for row in found]


def _encode_row(
    group: Group, query: str, names: tuple[str, str, str], origin: Origin, losses: Counter[str], like: tuple[str, ...]
) -> Row:
    anchor, positive, negative = names
    row: Row = {
        anchor: query,
        positive: reduce_passages(group.positives, losses),
        negative: reduce_passages(group.negatives, losses),
    }
    lists = put_lists(group, origin.raw, losses)
    row |= carry_fields(drop_stale(group, losses), {*row, *lists}, losses, "field") | lists
    for passage in group.passages:
        count_dropped(passage.extra, losses, "passage field", but=find_spread(origin.raw))
    return order_fields(row, origin.fields or like)


def _is_single(draft: Draft) -> bool:
    return _SINGLE in find_origin(draft.extra, NAME).raw


def _choose_names(fields: Collection[str]) -> tuple[str, str, str]:
    return (
        columns.choose_name(columns.ANCHORS, fields),
        columns.choose_name(_POSITIVES, fields),
        columns.choose_name(_NEGATIVES, fields),
    )


def _read_texts(row: Row, field: str) -> list[str]:
    """The texts in a field: a list of them, one alone, or none. Raises BadRow."""
    value = row.get(field)
    if value is None:
        return []
    if type(value) is str:
        return [value]
    if type(value) is not list:
        raise BadRow(field, "a text or a list of texts", rows.describe_value(value))
    return rows.read_strings(row, field)
