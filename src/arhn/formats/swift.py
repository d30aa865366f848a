"""ms-swift's rows for embedding models and rerankers:

    {"messages": [{"role": "user", "content": query}],
     "positive_messages": [[{"role": "assistant", "content": text}], …], "negative_messages": […]}

A system message before the query stays with the group. Lists parallel to the passages travel with them as `parallel`
says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from arhn.errors import BadRow
from arhn.files import rows
from arhn.formats.interface import Draft, keep_rows, make_passage
from arhn.formats.origin import find_origin, keep, order_fields
from arhn.formats.parallel import drop_stale, find_spread, put_lists, take_lists
from arhn.formats.row_fields import carry_fields, count_dropped, reduce_passages, reduce_query

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Sequence, Set

    from arhn.files.rows import Row
    from arhn.types import Group, Passage

NAME = "swift"
COLUMNS = "messages, positive_messages, negative_messages"
POSITIVES = "positive_messages"
NEGATIVES = "negative_messages"
HOLDS = frozenset({"group fields", "groups without negatives"})
ROW_IS_GROUP = True

_MESSAGES = "messages"
_ROW = frozenset({_MESSAGES, POSITIVES, NEGATIVES})
_MESSAGE = "message"

join = keep_rows


def fits(fields: Set[str]) -> bool:
    """A row with messages, and those that answer."""
    return _MESSAGES in fields and POSITIVES in fields


def parse(row: Row, line: int) -> Draft:
    """The draft of one row. Raises BadRow."""
    messages = rows.read_list(row, _MESSAGES)
    if not messages:
        raise BadRow(_MESSAGES, "a message with the query", "an empty list")
    query = _read_content(messages[-1], f"{_MESSAGES}[{len(messages) - 1}]")
    if not query.strip():
        raise BadRow(f"{_MESSAGES}[{len(messages) - 1}].content", "a non-empty string", rows.describe_value(query))
    positives = _read_texts(row, POSITIVES)
    negatives = _read_texts(row, NEGATIVES) if row.get(NEGATIVES) is not None else []
    extra = rows.drop_known(row, _ROW)
    taken = take_lists(extra, len(positives), len(negatives))
    return Draft(
        line=line,
        query=query,
        positives=_make_passages(positives, taken.positives),
        negatives=_make_passages(negatives, taken.negatives),
        extra=keep(NAME, tuple(row), extra, {**taken.origin, _MESSAGES: messages}),
    )


def encode(group: Group, losses: Counter[str], like: tuple[str, ...]) -> list[Row]:
    """One row."""
    origin = find_origin(group.extra, NAME)
    fields = origin.fields or like
    *before, last = origin.raw.get(_MESSAGES, [{"role": "user", "content": ""}])
    row: Row = {
        _MESSAGES: [*before, {**last, "content": reduce_query(group, losses)}],
        POSITIVES: _encode(group.positives, losses),
        NEGATIVES: _encode(group.negatives, losses),
    }
    if NEGATIVES not in fields and fields and not row[NEGATIVES]:
        del row[NEGATIVES]
    lists = put_lists(group, origin.raw, losses)
    row |= carry_fields(drop_stale(group, losses), {*_ROW, *lists}, losses, "field") | lists
    for passage in group.passages:
        count_dropped(passage.extra, losses, "passage field", but=find_spread(origin.raw))
    return [order_fields(row, fields)]


def _read_texts(row: Row, field: str) -> list[tuple[str, Row]]:
    """Each passage's text and its message. Raises BadRow."""
    found = []
    for index, item in enumerate(rows.read_list(row, field)):
        where = f"{field}[{index}]"
        if type(item) is not list or len(item) != 1:
            raise BadRow(where, "a list of one message", rows.describe_value(item))
        found.append((_read_content(item[0], f"{where}[0]"), item[0]))
    return found


def _read_content(message: Any, where: str) -> str:
    if type(message) is not dict:
        raise BadRow(where, "a message with role and content", rows.describe_value(message))
    try:
        return rows.read_string(message, "content")
    except BadRow as error:
        raise rows.prefix_error(error, where) from None


def _make_passages(found: Sequence[tuple[str, Row]], lists: list[Row]) -> tuple[Passage, ...]:
    return tuple(
        make_passage(text, keep(NAME, (), own, {_MESSAGE: message}))
        for (text, message), own in zip(found, lists, strict=True)
    )


def _encode(passages: Sequence[Passage], losses: Counter[str]) -> list[list[Row]]:
    texts = reduce_passages(passages, losses)
    messages = [find_origin(p.extra, NAME).raw.get(_MESSAGE, {"role": "assistant"}) for p in passages]
    return [[{**message, "content": text}] for message, text in zip(messages, texts, strict=True)]
