"""Labelled pairs of sentence-transformers: the columns query, passage, label, one row a passage.

Consecutive rows with the same query are one group. A label is a grade, above 0 for a positive. Rows come back in their
order with their labels; a relabelled negative gets label 1. Unknown columns belong to the row's passage.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any

from arhn.files import rows
from arhn.formats import columns
from arhn.formats.grades import keep_label, require_grade
from arhn.formats.interface import Draft, make_passage
from arhn.formats.origin import find_origin, keep, order_fields
from arhn.formats.row_fields import count_dropped, is_from_format, reduce_passages, reduce_query

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Collection, Iterator, Mapping, Set

    from arhn.files.rows import Row
    from arhn.types import Group, Passage

NAME = "labeled_pair"
COLUMNS = "query, passage, label"
POSITIVES = "label"
NEGATIVES = "label"
HOLDS = frozenset({"label", "groups without negatives"})
ROW_IS_GROUP = False
#: A row holds one passage, so that only the rows of a group together have a positive and a negative.
ROW_IS_PASSAGE = True

# `sentence1, sentence2, label` are NLI and similarity sets, whose labels are classes or scores.
_QUERIES = ("query", *(name for name in columns.ANCHORS if name not in ("query", "sentence", "sentence1")))
_PASSAGES = ("passage", "text", *(name for name in columns.POSITIVES if name not in ("passage", "sentence2")))
_LABEL, _PLACE = "label", "place"
_GRADE = "a grade, a whole number above 0 for a positive, else 0"


def fits(fields: Set[str]) -> bool:
    """A row with a query, one passage and its label."""
    return _LABEL in fields and bool(fields & {*_QUERIES}) and bool(fields & {*_PASSAGES})


def parse(row: Row, line: int) -> Draft:
    """The draft of one row, which has one passage. Raises BadRow."""
    fields = tuple(row)
    query, passage = _choose_names(fields)
    extra = rows.drop_known(row, frozenset({query, passage, _LABEL}))
    text = rows.read_string(row, passage)
    raw = {_PLACE: line, _LABEL: row.get(_LABEL)}
    made = (make_passage(text, keep(NAME, fields, extra, raw)),)
    positive = _read_grade(row) > 0
    return Draft(
        line=line,
        query=rows.read_text(row, query),
        positives=made if positive else (),
        negatives=() if positive else made,
        extra=keep(NAME, fields, {}),
    )


def join(drafts: Iterator[Draft]) -> Iterator[Draft]:
    """Consecutive rows of one query together."""
    for _, block in groupby(drafts, lambda draft: draft.query):
        together = list(block)
        yield replace(
            together[0],
            positives=tuple(chain.from_iterable(draft.positives for draft in together)),
            negatives=tuple(chain.from_iterable(draft.negatives for draft in together)),
        )


def encode(group: Group, losses: Counter[str], like: tuple[str, ...]) -> list[Row]:
    """One row a passage, in the order of the source; passages from elsewhere last, positives first."""
    query, passage = _choose_names(find_origin(group.extra, NAME).fields or like)
    text = reduce_query(group, losses)
    count_dropped(group.extra, losses, "field")
    labelled = [(each, 1) for each in group.positives] + [(each, 0) for each in group.negatives]
    labelled.sort(key=lambda pair: _raw(pair[0]).get(_PLACE, float("inf")))
    texts = reduce_passages([each for each, _ in labelled], losses)
    encoded = []
    for (each, default), content in zip(labelled, texts, strict=True):
        own = each.extra if is_from_format(each, NAME) else {}
        count_dropped(each.extra, losses, "passage field", but=own)
        row = {query: text, passage: content, _LABEL: keep_label(_raw(each).get(_LABEL), default), **own}
        encoded.append(order_fields(row, find_origin(each.extra, NAME).fields or like))
    return encoded


def _choose_names(fields: Collection[str]) -> tuple[str, str]:
    return columns.choose_name(_QUERIES, fields), columns.choose_name(_PASSAGES, fields)


def _raw(passage: Passage) -> Mapping[str, Any]:
    return find_origin(passage.extra, NAME).raw


def _read_grade(row: Mapping[str, Any]) -> float:
    """The label as a number; tables without types have its digits. Raises BadRow."""
    label = row.get(_LABEL)
    if type(label) is bool or (type(label) is str and label.strip() in ("0", "1")):
        return float(label)
    if not rows.is_number(label):
        raise rows.make_error(row, _LABEL, _GRADE)
    grade: float = label  # type: ignore[assignment]
    require_grade(grade, _LABEL)
    return grade
