"""Groups from a file, one at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
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

#: What `left_out` counts.
BLANK = "passages without a text"


def read(
    source: Source | str | os.PathLike[str],
    *,
    format: str | None = None,  # noqa: A002  # the users' word
    on_bad_row: OnBadRow = "fail",
    rejects: OnReject | None = None,
    require_negatives: bool = True,
    left_out: Counter[str] | None = None,
) -> Iterator[Group]:
    """The groups of a file in their order, in constant memory.

    Args:
        source: what `detect` found, or a path for it.
        format: the format to take a path for, instead of detecting it.
        on_bad_row: stop at a bad row, or skip it.
        rejects: is called with each row that is skipped.
        require_negatives: whether a group without negatives is a bad row.
        left_out: counts passages that no group can hold and that are left out of theirs: those without a text.

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
    counts: Counter[str] = Counter() if left_out is None else left_out
    return _Reading(source, FORMATS.get(source.format), skip, rejects, require_negatives, counts).groups()


@dataclass(frozen=True, slots=True)
class _Reading:
    source: Source
    format: Format
    skip: bool
    rejects: OnReject | None
    require_negatives: bool
    left_out: Counter[str]
    #: The rows without a usable negative (or positive), by line: others of the same group may have one.
    lacking: dict[int, Record] = field(default_factory=dict)

    def groups(self) -> Iterator[Group]:
        with closing(ids.SeenIds()) as seen:
            for draft in self.format.join(self._drafts(seen)):
                if self._lacks_passages(draft):
                    continue
                try:
                    yield _make_group(draft, seen)
                except InvalidGroup as error:
                    raise locate(error, self.source.path, draft.line) from None

    def _lacks_passages(self, draft: Draft) -> bool:
        """Whether a group of several rows is to be skipped since none of them has a negative, or a positive."""
        record = self.lacking.pop(draft.line, None)
        for line in [line for line in self.lacking if line < draft.line]:  # of earlier groups' further rows
            del self.lacking[line]
        if record is None:
            return False
        if not draft.positives:
            self._reject(BadRow(self.format.POSITIVES, "at least one positive of the query", "none"), record)
            return True
        if draft.negatives or not self.require_negatives:
            return False
        found = "none" if self._has_passage_rows else "blank ones only"
        self._reject(BadRow(self.format.NEGATIVES, "at least one negative", found), record)
        return True

    @property
    def _has_passage_rows(self) -> bool:
        return getattr(self.format, "ROW_IS_PASSAGE", False)

    def _drafts(self, seen: ids.SeenIds) -> Iterator[Draft]:
        for record in self.source.records():
            draft = self._draft_or_reject(record, seen)
            if draft is not None:
                yield draft

    def _draft_or_reject(self, record: Record, seen: ids.SeenIds) -> Draft | None:
        try:
            return self._draft(record, seen)
        except DataError as error:
            self._reject(error, record)
            return None

    def _reject(self, error: DataError, record: Record) -> None:
        if not self.skip:
            raise locate(error, self.source.path, record.line, CORRECT_OR_SKIP) from None
        if self.rejects is not None:
            self.rejects(Reject(self.source.path, record.line, error.message, _show_record(record)))

    def _draft(self, record: Record, seen: ids.SeenIds) -> Draft:
        row = read_row(record)
        try:
            parsed = self.format.parse(row, record.line)
            draft = drop_blank(parsed)
            self._require_passages(parsed, draft, record)
        except BadRow as error:
            raise explain_misfit(row, self.source.format, error) from None
        _require_new(draft, seen)
        if draft is not parsed:
            self.left_out[BLANK] += sum(not p.text.strip() for p in (*parsed.positives, *parsed.negatives))
        return draft

    def _require_passages(self, parsed: Draft, draft: Draft, record: Record) -> None:
        if self._has_passage_rows:
            self.lacking[record.line] = record
            return
        if not draft.positives:
            found = "blank ones only" if parsed.positives else "none"
            raise BadRow(self.format.POSITIVES, "at least one positive", found)
        if self.require_negatives and not draft.negatives:
            if parsed.negatives and not self.format.ROW_IS_GROUP:
                self.lacking[record.line] = record
                return
            found = "blank ones only" if parsed.negatives else "none"
            raise BadRow(self.format.NEGATIVES, "at least one negative", found)


def drop_blank(draft: Draft) -> Draft:
    """The draft without passages that have no text."""
    positives = tuple(passage for passage in draft.positives if passage.text.strip())
    negatives = tuple(passage for passage in draft.negatives if passage.text.strip())
    if len(positives) == len(draft.positives) and len(negatives) == len(draft.negatives):
        return draft
    return replace(draft, positives=positives, negatives=negatives)


def _require_new(draft: Draft, seen: ids.SeenIds) -> None:
    if draft.query_id is None:
        return
    first = seen.add(draft.query_id, draft.line)
    if first.times > 1:
        raise DuplicateId(f"query_id {draft.query_id!r} occurs again; it was first in line {first.first_line}")


def _make_group(draft: Draft, seen: ids.SeenIds) -> Group:
    if draft.query_id is not None:
        return make_group(draft, draft.query_id)
    base = ids.make_query_id(draft.query)
    query_id = ids.number(base, seen.add(base, draft.line).times)
    return make_group(draft, query_id)


def make_group(draft: Draft, query_id: str) -> Group:
    """The group of a draft, in which copies of a passage have ids of their own."""
    passages = ids.number_duplicates((*draft.positives, *draft.negatives))
    count = len(draft.positives)
    return Group(
        query_id=query_id,
        query=draft.query,
        positives=tuple(passages[:count]),
        negatives=tuple(passages[count:]),
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
