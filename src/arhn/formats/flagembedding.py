"""FlagEmbedding's training rows.

    {"query", "pos": [text], "neg": [text], "pos_scores": [number], "neg_scores": […], "prompt", "type", …}

What is parallel to the passages travels with them, so that a relabelled negative takes its score along:
`pos_scores` and `neg_scores` become the passage's `score`, and any other pair of lists `pos_x` and `neg_x`
of the right lengths (`pos_id`, `neg_id`) its `x`; other lists as `parallel` says. `null` or an empty list in place of
scores means none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from arhn.files import rows
from arhn.formats.interface import Draft, keep_rows, make_passage
from arhn.formats.origin import Origin, find_origin, keep, order_fields
from arhn.formats.parallel import drop_stale, find_spread, put_lists, take_lists
from arhn.formats.row_fields import carry_fields, gather_field, reduce_passages, reduce_query, spread_columns

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Set

    from arhn.files.rows import Row
    from arhn.types import Group, Passage

NAME = "flagembedding"
COLUMNS = "query, pos, neg"
POSITIVES = "pos"
NEGATIVES = "neg"
HOLDS = frozenset({"score", "group fields", "groups without negatives"})
ROW_IS_GROUP = True

_ROW = frozenset({"query", POSITIVES, NEGATIVES})
_SCORE, _SCORES = "score", "scores"
_SCORE_LISTS = frozenset({"pos_scores", "neg_scores"})

join = keep_rows


def fits(fields: Set[str]) -> bool:
    """A row with a query and positives."""
    return "query" in fields and POSITIVES in fields


def parse(row: Row, line: int) -> Draft:
    """The draft of one row; passages take their scores along. Raises BadRow."""
    query, pos, neg = rows.read_text(row, "query"), rows.read_strings(row, POSITIVES), rows.read_strings(row, NEGATIVES)
    extra = rows.drop_known(row, _ROW)
    no_scores = _take_missing_scores(extra)
    pos_columns, neg_columns = _take_scores(extra, len(pos), len(neg))
    _take_pairs(extra, (pos_columns, len(pos)), (neg_columns, len(neg)))
    taken = take_lists(extra, len(pos), len(neg), reserved={_SCORE, _SCORES, *pos_columns, *neg_columns})
    return Draft(
        line=line,
        query=query,
        positives=_passages(pos, pos_columns, taken.positives),
        negatives=_passages(neg, neg_columns, taken.negatives),
        extra=keep(NAME, tuple(row), extra, no_scores | taken.origin),
    )


def encode(group: Group, losses: Counter[str], like: tuple[str, ...]) -> list[Row]:
    """One row; a list of scores is written if every passage of its side has one."""
    origin = find_origin(group.extra, NAME)
    row: Row = {
        "query": reduce_query(group, losses),
        POSITIVES: reduce_passages(group.positives, losses),
        NEGATIVES: reduce_passages(group.negatives, losses),
    }
    columns = _parallel(group, origin, losses) | put_lists(group, origin.raw, losses)
    extra = drop_stale(group, losses)
    row |= carry_fields(extra, _ROW | _SCORE_LISTS | columns.keys(), losses, "field") | columns
    no_scores = {name: value for name, value in origin.raw.items() if name in _SCORE_LISTS}
    return [order_fields(no_scores | row, origin.fields or like)]


def _passages(texts: list[str], columns: dict[str, list[Any]], lists: list[Row]) -> tuple[Passage, ...]:
    fields = spread_columns(columns, len(texts))
    return tuple(
        make_passage(text, keep(NAME, (), extra | own)) for text, extra, own in zip(texts, fields, lists, strict=True)
    )


def _take_missing_scores(extra: Row) -> Row:
    names = [name for name in sorted(_SCORE_LISTS) if name in extra and extra[name] in (None, [])]
    return {name: extra.pop(name) for name in names}


def _take_scores(extra: Row, pos: int, neg: int) -> tuple[Row, Row]:
    columns: tuple[Row, Row] = ({}, {})
    for column, side, count in zip(columns, ("pos", "neg"), (pos, neg), strict=True):
        name = f"{side}_{_SCORES}"
        if name in extra:
            column[_SCORE] = rows.read_numbers(extra, name, count)
            del extra[name]
    return columns


def _take_pairs(extra: Row, pos: tuple[Row, int], neg: tuple[Row, int]) -> None:
    for name in [name.removeprefix("pos_") for name in extra if name.startswith("pos_")]:
        sides = ((f"pos_{name}", *pos), (f"neg_{name}", *neg))
        if name != _SCORE and all(_is_parallel(extra.get(side), count) for side, _, count in sides):
            for side, columns, _ in sides:
                columns[name] = extra.pop(side)


def _is_parallel(values: object, count: int) -> bool:
    return isinstance(values, list) and len(values) == count


def _parallel(group: Group, origin: Origin, losses: Counter[str]) -> Row:
    columns: Row = {}
    spread = find_spread(origin.raw)
    for name in dict.fromkeys(name for each in group.passages for name in each.extra if name not in spread):
        found = _scores(group, origin.fields) if name == _SCORE else _pair(group, name)
        columns |= found
        for side, passages in (("pos", group.positives), ("neg", group.negatives)):
            if f"{side}_{_plural(name)}" not in found:
                losses[f"passage field {name}"] += sum(name in each.extra for each in passages)
    return columns


def _scores(group: Group, fields: tuple[str, ...]) -> Row:
    """Either list of scores may stand alone; an empty one is only written where it was."""
    columns: Row = {}
    for side, passages in (("pos_scores", group.positives), ("neg_scores", group.negatives)):
        values = gather_field(passages, _SCORE)
        if values is not None and all(map(rows.is_number, values)) and (values or side in fields):
            columns[side] = values
    return columns


def _pair(group: Group, name: str) -> Row:
    pos, neg = gather_field(group.positives, name), gather_field(group.negatives, name)
    if name == _SCORES or pos is None or neg is None:
        return {}
    return {f"pos_{name}": pos, f"neg_{name}": neg}


def _plural(name: str) -> str:
    return _SCORES if name == _SCORE else name
