"""Answers of people on passages, as `arhn review` writes them: one event a line, read back into final answers.

{"review": 1, "decisions": HASH, ...}                                            the first line
{"plan": {...}}                                                                  which passages are asked about
{"answer": "fully", "query_id", "doc_id", "reviewer", "note", "when"}            one answer
{"undo": "answer", "query_id", "doc_id", "reviewer", "when"}                     takes it back; or "adjudicated"
{"adjudicated": "no", "query_id", "doc_id", "reviewer", "note", "when"}          settles answers that differ
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from arhn.errors import DataError, FileMissing

SCHEMA = 1
#: What a person may answer: the passage answers all of the query, a part of it, nothing of it; or they can't tell.
ANSWERS = ("fully", "partly", "no", "unsure")
#: The gold label that each answer stands for; "unsure" stands for none.
GOLD = {"fully": "false_negative", "partly": "ambiguous", "no": "true_negative"}
_ADVICE = "Take the line out, or correct it"

Ids = tuple[str, str]


@dataclass(slots=True)
class Answered:
    """What people said of one passage: answers and notes by reviewer, and what settled it if they differed."""

    answers: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    adjudicated: str | None = None

    @property
    def disputed(self) -> bool:
        """Whether reviewers differ and nobody has settled it. Those who can't tell don't take part."""
        return self.adjudicated is None and len(self._said) > 1

    @property
    def final(self) -> str | None:
        """The answer that counts; None where there is none yet, or reviewers differ."""
        if self.adjudicated is not None:
            return self.adjudicated
        if len(self._said) == 1:
            return next(iter(self._said))
        return "unsure" if self.answers and not self._said else None

    @property
    def _said(self) -> set[str]:
        return {answer for answer in self.answers.values() if answer != "unsure"}


@dataclass(slots=True)
class Reviewed:
    """A review as its file holds it: the first line, the plans in their order, and what was answered, by ids.

    `history`: (`answer` or `adjudicated`, reviewer, ids) of what stands, in the order in which it was said.
    """

    path: Path
    header: Mapping[str, Any]
    plans: list[Mapping[str, Any]] = field(default_factory=list)
    passages: dict[Ids, Answered] = field(default_factory=dict)
    history: list[tuple[str, str, Ids]] = field(default_factory=list)

    def apply(self, event: Mapping[str, Any]) -> None:
        """Take an event in. Raises ValueError: it isn't one."""
        if "plan" in event:
            self.plans.append(_require(event, "plan", dict))
            return
        ids = _require(event, "query_id", str), _require(event, "doc_id", str)
        reviewer = _require(event, "reviewer", str)
        passage = self.passages.setdefault(ids, Answered())
        if "undo" in event:
            self._take_back(str(event["undo"]), reviewer, ids, passage)
        elif "answer" in event:
            passage.answers[reviewer] = _require_answer(event, "answer")
            passage.notes[reviewer] = str(event.get("note") or "")
            self.history.append(("answer", reviewer, ids))
        else:
            passage.adjudicated = _require_answer(event, "adjudicated")
            self.history.append(("adjudicated", reviewer, ids))

    def _take_back(self, what: str, reviewer: str, ids: Ids, passage: Answered) -> None:
        if what == "adjudicated":
            passage.adjudicated = None
        elif what == "answer":
            passage.answers.pop(reviewer, None)
            passage.notes.pop(reviewer, None)
        else:
            raise ValueError(f"undo: found {what!r:.60}, allowed: answer, adjudicated")
        self.history = [past for past in self.history if past != (what, reviewer, ids)]

    def find_last(self, what: str, reviewer: str) -> Ids | None:
        """The passage that a reviewer answered, or settled, last; None where there is none."""
        return next((ids for did, who, ids in reversed(self.history) if (did, who) == (what, reviewer)), None)

    @property
    def finals(self) -> dict[Ids, str]:
        """The answers that count, by ids."""
        return {ids: final for ids, passage in self.passages.items() if (final := passage.final) is not None}


def _require(event: Mapping[str, Any], name: str, kind: type[Any]) -> Any:
    value = event.get(name)
    if not isinstance(value, kind) or not value:
        raise ValueError(f"{name}: expected {'an object' if kind is dict else 'a string'}, found {value!r:.60}")
    return value


def _require_answer(event: Mapping[str, Any], name: str) -> str:
    value: str = _require(event, name, str)
    if value not in ANSWERS:
        raise ValueError(f"{name}: found {value!r:.60}, allowed: {', '.join(ANSWERS)}")
    return value


def is_header(row: Any) -> bool:
    """Whether a row is the first line of a review."""
    return isinstance(row, dict) and "review" in row and "decisions" in row


def read_review(path: Path) -> Reviewed:
    """Read a review.

    Raises:
        FileMissing: there is no such file.
        DataError: it is no review, or of a newer arhn, or a line isn't an event. A last line that is cut off, which a
            killed review leaves, was never confirmed to anybody and doesn't count.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FileMissing(f"can't be read: {error.strerror}. 'arhn review' writes it", path=str(path)) from error
    found: Reviewed | None = None
    for number, event in _parse(content, path):
        if found is None:
            found = Reviewed(path=path, header=_check_header(event, path))
            continue
        try:
            found.apply(event)
        except ValueError as error:
            raise _make_error(str(error), path, number) from None
    if found is None:
        raise DataError("is empty; expected what 'arhn review' writes", path=str(path))
    return found


def _check_header(row: Any, path: Path) -> Mapping[str, Any]:
    if not is_header(row):
        raise DataError("is no review: its first line isn't what 'arhn review' writes", path=str(path), line=1)
    if row["review"] != SCHEMA:
        raise DataError(
            f"is a review of version {row['review']!r}; this arhn reads {SCHEMA}. Update arhn", path=str(path)
        )
    header: Mapping[str, Any] = row
    return header


def _parse(content: bytes, path: Path) -> Iterator[tuple[int, Any]]:
    *lines, rest = content.split(b"\n")
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                event = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise _make_error(f"not JSON ({error})", path, number) from None
            if not isinstance(event, dict):
                raise _make_error("expected an object", path, number)
            yield number, event
    del rest  # cut off


def _make_error(what: str, path: Path, line: int) -> DataError:
    error = DataError(f"not what 'arhn review' wrote: {what}", path=str(path), line=line)
    error.advice = _ADVICE
    return error


__all__ = ["ANSWERS", "GOLD", "SCHEMA", "Answered", "Ids", "Reviewed", "is_header", "read_review"]
