"""Tevatron's training rows, which RLHN uses too.

    {"query_id", "query", "positive_passages": [{"docid", "title", "text"}], "negative_passages": […], …}

Unknown fields of a row and of a passage are written back. So is an id that was an integer, and a title that was
absent or null.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from arhn.errors import BadRow
from arhn.files import rows
from arhn.formats.interface import Draft, keep_rows
from arhn.formats.origin import Kept, find_origin, keep, order_fields
from arhn.formats.row_fields import carry_fields
from arhn.types import Group, Passage

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Set

    from arhn.files.rows import Row

NAME = "tevatron"
COLUMNS = "query_id, query, positive_passages, negative_passages"
POSITIVES = "positive_passages"
NEGATIVES = "negative_passages"
HOLDS = frozenset({"query_id", "doc_id", "title", "group fields", "passage fields", "groups without negatives"})
ROW_IS_GROUP = True

_ROW = frozenset({"query_id", "query", POSITIVES, NEGATIVES})
_PASSAGE = frozenset({"docid", "title", "text"})

join = keep_rows


def fits(fields: Set[str]) -> bool:
    """A row with a list of passages."""
    return POSITIVES in fields or NEGATIVES in fields


def parse(row: Row, line: int) -> Draft:
    """The draft of one row; a `docid` that occurs twice in it is an error. Raises BadRow."""
    positives, negatives = _passages(row, POSITIVES), _passages(row, NEGATIVES)
    _require_unique(positives, negatives)
    return Draft(
        line=line,
        query_id=rows.read_id(row, "query_id"),
        query=rows.read_text(row, "query"),
        positives=tuple(positives),
        negatives=tuple(negatives),
        extra=_unknown_fields(row, _ROW, "query_id"),
    )


def encode(group: Group, losses: Counter[str], like: tuple[str, ...]) -> list[Row]:
    """One row, with ids, titles and unknown fields as they were in the source."""
    origin = find_origin(group.extra, NAME)
    row = {
        "query_id": _original_id(origin.raw.get("query_id"), group.query_id),
        "query": group.query,
        POSITIVES: [_encode_passage(passage, losses) for passage in group.positives],
        NEGATIVES: [_encode_passage(passage, losses) for passage in group.negatives],
        **carry_fields(group.extra, _ROW, losses, "field"),
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
    return Passage(
        doc_id=rows.read_id(item, "docid"),
        text=rows.read_text(item, "text"),
        title=title or "",
        extra=_unknown_fields(item, _PASSAGE, "docid"),
    )


def _unknown_fields(record: Row, known: frozenset[str], id_field: str) -> Kept:
    raw: Row = {}
    if type(record[id_field]) is int:
        raw[id_field] = record[id_field]
    if "title" in known and "title" in record and record["title"] is None:
        raw["title"] = None
    return keep(NAME, tuple(record), rows.drop_known(record, known), raw)


def _require_unique(positives: list[Passage], negatives: list[Passage]) -> None:
    if len({p.doc_id for p in (*positives, *negatives)}) == len(positives) + len(negatives):
        return
    seen: dict[str, str] = {}
    for field, passages in ((POSITIVES, positives), (NEGATIVES, negatives)):
        for index, passage in enumerate(passages):
            where = f"{field}[{index}]"
            first = seen.setdefault(passage.doc_id, where)
            if first != where:
                arrived = f"{passage.doc_id!r}, which is also the docid of {first}"
                raise BadRow(f"{where}.docid", "each docid once in a group", arrived)


def _encode_passage(passage: Passage, losses: Counter[str]) -> Row:
    origin = find_origin(passage.extra, NAME)
    record: Row = {"docid": _original_id(origin.raw.get("docid"), passage.doc_id)}
    if passage.title or "title" in origin.fields:
        record["title"] = passage.title or origin.raw.get("title", "")
    record["text"] = passage.text
    if passage.extra:
        record |= carry_fields(passage.extra, _PASSAGE, losses, "passage field")
    return order_fields(record, origin.fields)


def _original_id(raw: Any, now: str) -> Any:
    """The id as it was in the source, an integer, unless it has been changed since."""
    return raw if raw is not None and str(raw) == now else now
