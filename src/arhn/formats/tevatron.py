"""Tevatron's training rows, which RLHN uses too.

    {"query_id", "query", "positive_passages": [{"docid", "title", "text"}], "negative_passages": […], …}

Unknown fields of a row and of a passage are written back. So is an id that was an integer, and a title that was
absent or null.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from arhn.errors import BadRow
from arhn.files import rows
from arhn.formats import ids
from arhn.formats.interface import Draft, keep_rows
from arhn.formats.origin import Kept, find_origin, keep, order_fields
from arhn.formats.parallel import drop_stale, find_spread, put_lists, take_lists
from arhn.formats.row_fields import carry_fields
from arhn.types import Group, Passage

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Collection, Set

    from arhn.files.rows import Row

NAME = "tevatron"
COLUMNS = "query_id, query, positive_passages, negative_passages"
POSITIVES = "positive_passages"
NEGATIVES = "negative_passages"
HOLDS = frozenset({"query_id", "doc_id", "title", "group fields", "passage fields", "groups without negatives"})
ROW_IS_GROUP = True

_ROW = frozenset({"query_id", "query", POSITIVES, NEGATIVES})
_PASSAGE = frozenset({"docid", "title", "text"})
_TITLE_ONLY = "title only"

join = keep_rows


def fits(fields: Set[str]) -> bool:
    """A row with a list of passages."""
    return POSITIVES in fields or NEGATIVES in fields


def parse(row: Row, line: int) -> Draft:
    """The draft of one row; a `docid` that two different passages have is an error. Raises BadRow."""
    positives, negatives = _passages(row, POSITIVES), _passages(row, NEGATIVES)
    if len({p.doc_id for p in (*positives, *negatives)}) < len(positives) + len(negatives):
        _require_same_texts(positives, negatives)
        positives, negatives = list(map(_remember_id, positives)), list(map(_remember_id, negatives))
    query_id = rows.read_id(row, "query_id")
    extra, raw = _unknown_fields(row, _ROW, "query_id")
    reserved = _PASSAGE.union(*(passage.extra for passage in (*positives, *negatives)))
    taken = take_lists(extra, len(positives), len(negatives), reserved=reserved)
    return Draft(
        line=line,
        query_id=query_id,
        query=rows.read_text(row, "query"),
        positives=tuple(map(_add_fields, positives, taken.positives)),
        negatives=tuple(map(_add_fields, negatives, taken.negatives)),
        extra=keep(NAME, tuple(row), extra, raw | taken.origin),
    )


def encode(group: Group, losses: Counter[str], like: tuple[str, ...]) -> list[Row]:
    """One row, with ids, titles and unknown fields as they were in the source."""
    origin = find_origin(group.extra, NAME)
    spread = find_spread(origin.raw)
    row = {
        "query_id": _original_id(origin.raw.get("query_id"), group.query_id),
        "query": group.query,
        POSITIVES: [_encode_passage(passage, spread, losses) for passage in group.positives],
        NEGATIVES: [_encode_passage(passage, spread, losses) for passage in group.negatives],
        **carry_fields(drop_stale(group, losses), _ROW, losses, "field"),
        **put_lists(group, origin.raw, losses),
    }
    return [order_fields(row, origin.fields or like)]


def _passages(row: Row, field: str) -> list[Passage]:
    passages = []
    for index, item in enumerate(rows.read_list(row, field)):
        try:
            passages.append(_passage(item))
        except BadRow as error:
            raise rows.prefix_error(error, f"{field}[{index}]") from None
    return passages


def _passage(item: object) -> Passage:
    if type(item) is not dict:
        raise BadRow("", "an object with docid and text", rows.describe_value(item))
    title = item.get("title")
    if title is not None and type(title) is not str:
        raise rows.make_error(item, "title", "a string")
    doc_id = rows.read_id(item, "docid")
    extra, raw = _unknown_fields(item, _PASSAGE, "docid")
    text = item.get("text")
    if title and title.strip() and (text is None or (type(text) is str and not text.strip())):
        # What has a title and no text is a passage all the same: its title is its text.
        raw[_TITLE_ONLY] = {name: item[name] for name in ("title", "text") if name in item}
        return Passage(doc_id=doc_id, text=title, extra=keep(NAME, tuple(item), extra, raw))
    return Passage(
        doc_id=doc_id,
        text=rows.read_string(item, "text"),
        title=title or "",
        extra=keep(NAME, tuple(item), extra, raw),
    )


def _remember_id(passage: Passage) -> Passage:
    """With the docid that it has in the row: a copy gets a number."""
    origin = find_origin(passage.extra, NAME)
    return replace(passage, extra=keep(NAME, origin.fields, passage.extra, {"docid": passage.doc_id, **origin.raw}))


def _add_fields(passage: Passage, fields: Row) -> Passage:
    return replace(passage, extra=passage.extra | fields) if fields and isinstance(passage.extra, Kept) else passage


def _unknown_fields(record: Row, known: frozenset[str], id_field: str) -> tuple[Row, Row]:
    """The unknown fields, and the values of those that are held in another form."""
    raw: Row = {}
    if type(record[id_field]) is int:
        raw[id_field] = record[id_field]
    if "title" in known and "title" in record and record["title"] is None:
        raw["title"] = None
    return rows.drop_known(record, known), raw


def _require_same_texts(positives: list[Passage], negatives: list[Passage]) -> None:
    """Raises BadRow: two different passages have one docid. Copies of one do no harm."""
    seen: dict[str, tuple[str, Passage]] = {}
    for field, passages in ((POSITIVES, positives), (NEGATIVES, negatives)):
        for index, passage in enumerate(passages):
            where, first = seen.setdefault(passage.doc_id, (f"{field}[{index}]", passage))
            if (first.title, first.text) != (passage.title, passage.text):
                arrived = f"{rows.shorten(passage.doc_id)}, which is also the docid of {where}"
                raise BadRow(f"{field}[{index}].docid", "each docid once in a group", arrived)


def _encode_passage(passage: Passage, spread: Collection[str], losses: Counter[str]) -> Row:
    origin = find_origin(passage.extra, NAME)
    record: Row = {"docid": _original_id(origin.raw.get("docid"), passage.doc_id)}
    if passage.title or "title" in origin.fields:
        record["title"] = passage.title or origin.raw.get("title", "")
    record["text"] = passage.text
    if _TITLE_ONLY in origin.raw:
        del record["text"]
        record |= origin.raw[_TITLE_ONLY]
    if passage.extra:
        own = {name: value for name, value in passage.extra.items() if name not in spread}
        record |= carry_fields(own, _PASSAGE, losses, "passage field")
    return order_fields(record, origin.fields)


def _original_id(raw: Any, now: str) -> Any:
    """The id as it was in the source, an integer, unless it has been changed since. A second copy got a number."""
    return raw if raw is not None and ids.is_made_from(now, str(raw)) else now
