"""Groups from a file, one at a time."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import orjson

from arhn.errors import BadRow, DataError, DuplicateId, InvalidGroup, UsageError
from arhn.files.jsonl import read_row
from arhn.files.record import locate
from arhn.formats import FORMATS, ids
from arhn.formats.detection import CORRECT_OR_SKIP, Source, detect, explain_misfit
from arhn.types import Group

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from arhn.files.record import Record
    from arhn.formats.interface import Draft, Format

OnBadRow = Literal["fail", "skip"]


def read(
    source: Source | str | os.PathLike[str],
    *,
    format: str | None = None,  # noqa: A002  # the users' word
    on_bad_row: OnBadRow = "fail",
    rejects: OnReject | None = None,
    require_negatives: bool = True,
) -> Iterator[Group]:
    """The groups of a file in their order, in constant memory.

    Args:
        source: what `detect` found, or a path for it.
        format: the format to take a path for, instead of detecting it.
        on_bad_row: stop at a bad row, or skip it.
        rejects: is called with each row that is skipped.
        require_negatives: whether a group without negatives is a bad row.

    Raises:
        FileMissing, UnknownFormat, UsageError: at once, as `detect`.
        NotUtf8, BadJson, BadRow, InvalidGroup, MixedFormats, DuplicateId: a bad row, unless it is skipped.
        BadJson: a compressed or Parquet file is damaged or ends early, whatever `on_bad_row` says; the groups
            before that have been yielded.
    """
    if on_bad_row not in ("fail", "skip"):
        raise UsageError(f"on_bad_row is fail or skip, not {on_bad_row!r}")
    skip = on_bad_row == "skip"
    if not isinstance(source, Source):
        source = detect(source, format=format, skip_bad_rows=skip)
    return _Reading(source, FORMATS.get(source.format), skip, rejects, require_negatives).groups()


@dataclass(frozen=True, slots=True)
class _Reading:
    source: Source
    format: Format
    skip: bool
    rejects: OnReject | None
    require_negatives: bool

    def groups(self) -> Iterator[Group]:
        with closing(ids.SeenIds()) as seen:
            for draft in self.format.join(self._drafts(seen)):
                try:
                    yield _make_group(draft, seen)
                except InvalidGroup as error:
                    raise locate(error, self.source.path, draft.line) from None

    def _drafts(self, seen: ids.SeenIds) -> Iterator[Draft]:
        for record in self.source.records():
            draft = self._draft_or_reject(record, seen)
            if draft is not None:
                yield draft

    def _draft_or_reject(self, record: Record, seen: ids.SeenIds) -> Draft | None:
        try:
            return self._draft(record, seen)
        except DataError as error:
            if not self.skip:
                raise locate(error, self.source.path, record.line, CORRECT_OR_SKIP) from None
            if self.rejects is not None:
                self.rejects(Reject(self.source.path, record.line, error.message, _show_record(record)))
            return None

    def _draft(self, record: Record, seen: ids.SeenIds) -> Draft:
        row = read_row(record)
        try:
            draft = self.format.parse(row, record.line)
            self._require_passages(draft)
        except BadRow as error:
            raise explain_misfit(row, self.source.format, error) from None
        _require_new(draft, seen)
        return draft

    def _require_passages(self, draft: Draft) -> None:
        if not draft.positives:
            raise BadRow(self.format.POSITIVES, "at least one positive", "none")
        if self.require_negatives and not draft.negatives:
            raise BadRow(self.format.NEGATIVES, "at least one negative", "none")


def _require_new(draft: Draft, seen: ids.SeenIds) -> None:
    if draft.query_id is None:
        return
    first = seen.add(draft.query_id, draft.line)
    if first.times > 1:
        raise DuplicateId(f"query_id {draft.query_id!r} occurs again; it was first in line {first.first_line}")


def _make_group(draft: Draft, seen: ids.SeenIds) -> Group:
    if draft.query_id is not None:
        return _make_group_with_id(draft, draft.query_id)
    base = ids.make_query_id(draft.query)
    query_id = ids.number(base, seen.add(base, draft.line).times)
    passages = ids.number_duplicates((*draft.positives, *draft.negatives))
    count = len(draft.positives)
    return Group(
        query_id=query_id,
        query=draft.query,
        positives=tuple(passages[:count]),
        negatives=tuple(passages[count:]),
        extra=draft.extra,
    )


def _make_group_with_id(draft: Draft, query_id: str) -> Group:
    """The group of a draft from a format with ids."""
    return Group(
        query_id=query_id,
        query=draft.query,
        positives=draft.positives,
        negatives=draft.negatives,
        extra=draft.extra,
    )


def _show_record(record: Record) -> str:
    if isinstance(record.raw, bytes):
        return record.raw.decode(errors="backslashreplace")
    return orjson.dumps(record.raw, default=str).decode()


OnReject = Callable[["Reject"], None]


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that was left out. `row` is the line as it stood; what isn't UTF-8 in it is shown as `\\xff`."""

    path: str
    line: int
    error: str
    row: str
