"""DPR's training rows.

    {"question", "answers", "positive_ctxs": [{title, text, …}], "negative_ctxs": […], "hard_negative_ctxs": […]}

Both lists of negatives are negatives, the hard ones first; each passage goes back to its list. A passage's id is its
`passage_id`, `psg_id` or `id`; other fields of it travel with it. A relabelled negative goes to `positive_ctxs`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from arhn.errors import BadRow
from arhn.files import rows
from arhn.formats import ids
from arhn.formats.interface import Draft, keep_rows
from arhn.formats.origin import find_origin, keep, order_fields
from arhn.formats.parallel import drop_stale, find_spread, put_lists, take_lists
from arhn.formats.row_fields import carry_fields
from arhn.types import Passage

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Collection, Set

    from arhn.files.rows import Row
    from arhn.types import Group

NAME = "dpr"
COLUMNS = "question, positive_ctxs, negative_ctxs, hard_negative_ctxs"
POSITIVES = "positive_ctxs"
NEGATIVES = "hard_negative_ctxs"
HOLDS = frozenset({"doc_id", "title", "group fields", "passage fields", "groups without negatives"})
ROW_IS_GROUP = True

_OTHERS = "negative_ctxs"
_QUERY = ("question", "query")
_IDS = ("passage_id", "psg_id", "id")
_ID, _SIDE = "id", "list"

join = keep_rows


def fits(fields: Set[str]) -> bool:
    """A row with a list of contexts that answer."""
    return POSITIVES in fields


def parse(row: Row, line: int) -> Draft:
    """The draft of one row. Raises BadRow."""
    fields = tuple(row)
    query = _choose_query(fields)
    positives = _passages(row, POSITIVES)
    negatives = [
        passage for side in (NEGATIVES, _OTHERS) if row.get(side) is not None for passage in _passages(row, side)
    ]
    extra = rows.drop_known(row, frozenset({query, POSITIVES, NEGATIVES, _OTHERS}))
    own = {name for passage in (*positives, *negatives) for name in passage.extra}
    taken = take_lists(extra, len(positives), len(negatives), reserved={"title", "text", *_IDS, *own})
    return Draft(
        line=line,
        query=rows.read_text(row, query),
        positives=tuple(_add(p, more) for p, more in zip(positives, taken.positives, strict=True)),
        negatives=tuple(_add(p, more) for p, more in zip(negatives, taken.negatives, strict=True)),
        extra=keep(NAME, fields, extra, taken.origin),
    )


def encode(group: Group, losses: Counter[str], like: tuple[str, ...]) -> list[Row]:
    """One row."""
    origin = find_origin(group.extra, NAME)
    fields = origin.fields or like
    if not ids.is_made_from(group.query_id, ids.make_query_id(group.query)):
        losses["query_id"] += 1
    spread = find_spread(origin.raw)
    sides: Row = {POSITIVES: [_encode(p, spread, losses) for p in group.positives], _OTHERS: [], NEGATIVES: []}
    for passage in group.negatives:
        side = find_origin(passage.extra, NAME).raw.get(_SIDE)
        sides[_OTHERS if side == _OTHERS else NEGATIVES].append(_encode(passage, spread, losses))
    if fields:  # a list that the source lacked
        sides = {name: found for name, found in sides.items() if found or name in fields or name == POSITIVES}
    row: Row = {_choose_query(fields): group.query, **sides}
    lists = put_lists(group, origin.raw, losses)
    row |= carry_fields(drop_stale(group, losses), {*row, *lists}, losses, "field") | lists
    return [order_fields(row, fields)]


def _choose_query(fields: Collection[str]) -> str:
    return next((name for name in _QUERY if name in fields), _QUERY[0])


def _passages(row: Row, field: str) -> list[Passage]:
    passages = []
    for index, item in enumerate(rows.read_list(row, field)):
        try:
            passages.append(_passage(item, field))
        except BadRow as error:
            raise rows.prefix_error(error, f"{field}[{index}]") from None
    return passages


def _passage(item: Any, side: str) -> Passage:
    if type(item) is not dict:
        raise BadRow("", "an object with title and text", rows.describe_value(item))
    text = rows.read_string(item, "text")
    title = item.get("title")
    if title is not None and type(title) is not str:
        raise rows.make_error(item, "title", "a string")
    name = next((name for name in _IDS if item.get(name) is not None), None)
    doc_id = rows.read_id(item, name) if name else ids.make_doc_id(text)
    raw = {_SIDE: side, _ID: (name, item.get(name)) if name else None, "title": title}
    extra = rows.drop_known(item, frozenset({"title", "text", *([name] if name else [])}))
    return Passage(doc_id=doc_id, text=text, title=title or "", extra=keep(NAME, tuple(item), extra, raw))


def _add(passage: Passage, fields: Row) -> Passage:
    return replace(passage, extra=passage.extra | fields) if fields else passage  # type: ignore[operator]


def _encode(passage: Passage, spread: Collection[str], losses: Counter[str]) -> Row:
    origin = find_origin(passage.extra, NAME)
    record: Row = {}
    if passage.title or "title" in origin.fields or not origin.fields:
        record["title"] = passage.title or origin.raw.get("title", "")
    record["text"] = passage.text
    known = origin.raw.get(_ID)
    if known is not None and ids.is_made_from(passage.doc_id, str(known[1])):
        record[known[0]] = known[1]
    elif not ids.is_made_from(passage.doc_id, ids.make_doc_id(passage.text)):
        record[_IDS[0]] = passage.doc_id
    own = {name: value for name, value in passage.extra.items() if name not in spread}
    record |= carry_fields(own, {*record, "title", "text"}, losses, "passage field")
    return order_fields(record, origin.fields)
