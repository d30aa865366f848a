"""Judgements of groups' negatives in a file: decisions of a run, gold labels, or an LLM's verdicts."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import get_args

from arhn.agree.reviews import GOLD, is_header, read_review
from arhn.cleaning.relabel import UNDECIDED
from arhn.cleaning.run import Files
from arhn.cleaning.run.finished import open_run
from arhn.errors import BadRow, DataError, DuplicateId, FileMissing, UnknownFormat
from arhn.files import jsonl, rows
from arhn.files.jsonl import read_row
from arhn.files.record import Record, locate
from arhn.files.rows import Row
from arhn.types import Action, Label, Reason

#: Reasons with which the LLM gave no usable answer or wasn't sure: nothing was found, but nothing denied either.
ABSTAINED = frozenset(reason.value for reason in UNDECIDED)
#: A decision on a passage that is labelled positive; such passages aren't compared.
POSITIVE = "positive"
#: A negative that a run left out without judging it.
UNUSED = Reason.UNUSED.value
#: The word of a verdict file for every passage of its groups that it doesn't name.
NEITHER = "neither"
#: A gold label that counts neither way.
AMBIGUOUS = "ambiguous"
GOLD_LABELS = ("false_negative", AMBIGUOUS, "true_negative")

_DECISION = (("label", get_args(Label)), ("action", get_args(Action)), ("reason", ()))
_CORRECT = "Correct the line, or make the file again"
_EXPECTED = (
    "Expected JSON lines: decisions of 'arhn clean' (query_id, doc_id, label, action, reason), gold labels "
    "(query_id, labels), a review or verdicts (query_id, better, worse); or an output of 'arhn clean', "
    "its summary beside it"
)

Values = dict[str, str]


class Kind(StrEnum):
    """What a file holds."""

    DECISIONS = "decisions"
    GOLD = "gold"
    VERDICTS = "verdicts"
    #: Answers of `arhn review`; they are taken for gold labels.
    REVIEW = "review"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgements:
    """The judgements of one file. `source` is what was read: the run's decisions where `path` is a cleaned output.

    `groups` holds, by `query_id` and `doc_id`, one word:

    - decisions: the action (`keep`, `relabel`, `filter`), or instead of it one of `ABSTAINED`, `UNUSED`, or
      `POSITIVE` for a passage that is labelled positive;
    - gold: one of `GOLD_LABELS`;
    - verdicts: `better` or `worse`. Passages that aren't named are absent and mean `NEITHER`.
    """

    path: str
    source: Path
    kind: Kind
    groups: Mapping[str, Values]


def load(path: str) -> Judgements:
    """Read a file of judgements, told apart by its first row; plain, gzip or Zstandard.

    Raises:
        FileMissing: there is no such file, or the decisions that a run's summary names are gone.
        UnknownFormat: it is empty or holds something else.
        NotUtf8, BadJson, BadRow: a malformed line.
        DuplicateId: a passage (or, in verdicts, a group) is judged twice and differently.
    """
    source = Path(path)
    try:
        kind, records = _open(source)
    except DataError:
        decisions = _find_decisions(path)
        if decisions is None:
            raise
        source = decisions
        kind, records = _open(source)
    with closing(records):
        if kind is Kind.REVIEW:
            return Judgements(path=path, source=source, kind=Kind.GOLD, groups=_read_answers(source))
        return Judgements(path=path, source=source, kind=kind, groups=_read_groups(kind, records, str(source)))


def _open(path: Path) -> tuple[Kind, Generator[Record]]:
    """The kind of a file and its records, opened once: it may be a pipe."""
    records = jsonl.read(path)
    try:
        first = next(records, None)
        if first is None:
            raise UnknownFormat("is empty", path=str(path))
        kind = _find_kind(first, str(path))
    except DataError as error:
        error.advice = "Check the path" if isinstance(error, FileMissing) else _EXPECTED
        raise
    return kind, _chain(first, records)


def _chain(first: Record, records: Generator[Record]) -> Generator[Record]:
    with closing(records):
        yield first
        yield from records


def _find_kind(record: Record, path: str) -> Kind:
    try:
        row = read_row(record)
    except DataError as error:
        raise locate(error, path, record.line) from None
    if is_header(row):
        return Kind.REVIEW
    if row.keys() >= {"doc_id", "action"}:
        return Kind.DECISIONS
    if type(row.get("labels")) is dict:
        return Kind.GOLD
    if row.keys() >= {"better", "worse"}:
        return Kind.VERDICTS
    fields = ", ".join(row) or "(none)"
    raise UnknownFormat(f"the fields {fields} are of no kind that can be compared", path=path, line=record.line)


def _find_decisions(output: str) -> Path | None:
    """The decisions of the run that wrote `output`; None where no summary of a run lies beside it."""
    if Path(output).name in ("", "..") or "://" in output or not Files.beside(output).summary.is_file():
        return None
    return open_run(output, "agree").decisions


def _read_answers(path: Path) -> dict[str, Values]:
    """The answers of a review as gold labels; those that count, and not those of people who can't tell."""
    groups: dict[str, Values] = {}
    for (query_id, doc_id), answer in read_review(path).finals.items():
        if answer in GOLD:
            groups.setdefault(query_id, {})[doc_id] = GOLD[answer]
    if not groups:
        raise DataError("has no answer yet that counts. Answer some with 'arhn review'", path=str(path))
    return groups


def _read_groups(kind: Kind, records: Iterator[Record], path: str) -> dict[str, Values]:
    groups: dict[str, Values] = {}
    add = {Kind.DECISIONS: _add_decision, Kind.GOLD: _add_gold, Kind.VERDICTS: _add_verdicts}[kind]
    for record in records:
        try:
            add(groups, read_row(record))
        except DataError as error:
            raise locate(error, path, record.line, _CORRECT) from None
    return groups


def _add_decision(groups: dict[str, Values], row: Row) -> None:
    query_id, doc_id = rows.read_id(row, "query_id"), rows.read_id(row, "doc_id")
    label, action, reason = (_read_word(row, field, allowed) for field, allowed in _DECISION)
    value = POSITIVE if label == POSITIVE else reason if reason in ABSTAINED or reason == UNUSED else action
    _set(groups.setdefault(query_id, {}), query_id, doc_id, value)


def _add_gold(groups: dict[str, Values], row: Row) -> None:
    query_id = rows.read_id(row, "query_id")
    labels = row.get("labels")
    if type(labels) is not dict:
        raise rows.make_error(row, "labels", "an object of labels by doc_id")
    group = groups.setdefault(query_id, {})
    for doc_id in labels:
        try:
            label = _read_word(labels, doc_id, GOLD_LABELS)
        except BadRow as error:
            raise rows.prefix_error(error, "labels") from None
        _set(group, query_id, doc_id, label)


def _add_verdicts(groups: dict[str, Values], row: Row) -> None:
    query_id = rows.read_id(row, "query_id")
    group: Values = {}
    for verdict in ("better", "worse"):
        for index, doc_id in enumerate(rows.read_list(row, verdict)):
            name = f"{verdict}[{index}]"
            _set(group, query_id, rows.read_id({name: doc_id}, name), verdict)
    if groups.setdefault(query_id, group) != group:
        raise DuplicateId(f"query_id {query_id!r} occurs again with other verdicts")


def _read_word(row: Row, field: str, allowed: tuple[str, ...]) -> str:
    """The word in `field`, one of `allowed` unless that is empty. In memory once, however many rows have it."""
    value = row.get(field)
    if type(value) is not str or (allowed and value not in allowed):
        raise rows.make_error(row, field, " or ".join(map(repr, allowed)) or "a string")
    return sys.intern(value)


def _set(group: Values, query_id: str, doc_id: str, value: str) -> None:
    known = group.setdefault(doc_id, value)
    if known != value:
        raise DuplicateId(f"doc_id {doc_id!r} of query_id {query_id!r} is {value!r} here and {known!r} before")
