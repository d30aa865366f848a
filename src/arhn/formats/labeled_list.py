"""Labelled lists of sentence-transformers: {"query", "docs": [text], "labels": [number], …}.

A label above 0 makes a positive. Order and labels come back as they were; a relabelled negative gets label 1
(the graded labels of the positives beside it say how relevant those are, nothing about this one), and a
filtered one vanishes from both lists. Other lists, one value a text, travel with the passages as `parallel` says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from arhn.files import rows
from arhn.formats import columns
from arhn.formats.grades import keep_label, require_grade
from arhn.formats.interface import Draft, keep_rows, make_passage
from arhn.formats.origin import find_origin, keep, order_fields
from arhn.formats.parallel import COUNTS, drop_stale, find_spread, take_lists
from arhn.formats.row_fields import carry_fields, gather_field, reduce_passages, reduce_query

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Collection, Mapping, Set

    from arhn.files.rows import Row
    from arhn.types import Group, Passage

NAME = "labeled_list"
COLUMNS = "query, docs, labels"
POSITIVES = "labels"
NEGATIVES = "labels"
HOLDS = frozenset({"label", "score", "group fields", "groups without negatives"})
ROW_IS_GROUP = True

# `mine_hard_negatives` names the list of texts like the positive column of its input.
_QUERIES = ("query", *(name for name in columns.ANCHORS if name != "query"))
_DOCS = ("docs", "documents", "passages", *columns.POSITIVES)
_LABELS = "labels"
_POSITION, _LABEL = "position", "label"

join = keep_rows


def fits(fields: Set[str]) -> bool:
    """A row with a query, labels and what is labelled."""
    has_query = any(name in fields for name in _QUERIES)
    return has_query and _LABELS in fields and any(name in fields for name in _DOCS)


def parse(row: Row, line: int) -> Draft:
    """The draft of one row; passages remember their place and label. Raises BadRow."""
    query, docs = _choose_names(tuple(row))
    texts = rows.read_strings(row, docs)
    labels = rows.read_numbers(row, _LABELS, len(texts))
    for index, label in enumerate(labels):
        require_grade(label, f"{_LABELS}[{index}]")
    extra = rows.drop_known(row, frozenset({query, docs, _LABELS}))
    count = sum(label > 0 for label in labels)
    taken = take_lists(extra, len(texts), 0, reserved={_POSITION, _LABEL})
    raw = taken.origin and {**taken.origin, COUNTS: (count, len(texts) - count)}
    passages = [
        make_passage(text, keep(NAME, (), own, {_POSITION: position, _LABEL: labels[position]}))
        for position, (text, own) in enumerate(zip(texts, taken.positives, strict=True))
    ]
    return Draft(
        line=line,
        query=rows.read_text(row, query),
        positives=tuple(p for p, label in zip(passages, labels, strict=True) if label > 0),
        negatives=tuple(p for p, label in zip(passages, labels, strict=True) if label <= 0),
        extra=keep(NAME, tuple(row), extra, raw),
    )


def encode(group: Group, losses: Counter[str], like: tuple[str, ...]) -> list[Row]:
    """One row, in the order of the source."""
    origin = find_origin(group.extra, NAME)
    fields = origin.fields or like
    query, docs = _choose_names(fields)
    labelled = [(p, 1) for p in group.positives] + [(p, 0) for p in group.negatives]
    labelled.sort(key=lambda pair: _position(pair[0]))
    passages = [p for p, _ in labelled]
    row: Row = {
        query: reduce_query(group, losses),
        docs: reduce_passages(passages, losses),
        _LABELS: [keep_label(_raw(p).get(_LABEL), default) for p, default in labelled],
    }
    parallel = _parallel(passages, row, find_spread(origin.raw), losses)
    extra = drop_stale(group, losses, total=bool(origin.fields))
    row |= carry_fields(extra, {*row, *parallel}, losses, "field") | parallel
    return [order_fields(row, fields)]


def loses_label(passage: Passage) -> bool:
    """Whether the passage has a graded label, which no other format can hold."""
    return _raw(passage).get(_LABEL, 0) not in (0, 1)


def _choose_names(fields: tuple[str, ...]) -> tuple[str, str]:
    return columns.choose_name(_QUERIES, fields), columns.choose_name(_DOCS, fields)


def _raw(passage: Passage) -> Mapping[str, Any]:
    return find_origin(passage.extra, NAME).raw


def _position(passage: Passage) -> float:
    """Where the passage stood in the list; passages from elsewhere go last, positives before negatives."""
    position: float = _raw(passage).get(_POSITION, float("inf"))
    return position


def _parallel(passages: list[Passage], taken: Row, spread: Collection[str], losses: Counter[str]) -> Row:
    result: Row = {}
    for name in dict.fromkeys(name for p in passages for name in p.extra):
        values = gather_field(passages, name)
        if name not in taken and values is not None and (name in spread or all(map(rows.is_number, values))):
            result[name] = values
        else:
            losses[f"passage field {name}"] += sum(name in p.extra for p in passages)
    return result
