"""A finished run, read again: its summary, its decisions, and the groups of its input beside them.

Decisions are in the order of the input, so both are read side by side, once and in flat memory. Where every row of the
input is a group, single groups are read without reading the others' texts.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

import orjson
from pydantic import AfterValidator, BaseModel, TypeAdapter, ValidationError

from arhn.cleaning.run.files import Files
from arhn.errors import DataError, FileMissing
from arhn.families.data_set_names import list_names
from arhn.files.apart import Named
from arhn.files.jsonl import read_row
from arhn.files.record import Record as RawRecord
from arhn.formats import FORMATS, Format, detect, read
from arhn.formats.reading import drop_blank, make_group
from arhn.types import Action, Group, Label, Passage

Record = TypeVar("Record", bound=BaseModel)
Row = Mapping[str, Any]


def _known_format(name: str) -> str:
    if name not in FORMATS.names():
        raise ValueError(f"expected one of {', '.join(FORMATS.names())}")
    return name


class RunFiles(BaseModel):
    """What is needed of a summary to read its run again."""

    input: str
    input_format: Annotated[str, AfterValidator(_known_format)]
    split: str | None
    decisions: str


class _Summary(BaseModel):
    files: RunFiles


class _Row(BaseModel, strict=True):
    """What is needed of a line of decisions.jsonl."""

    query_id: str
    doc_id: str
    label: Label
    action: Action
    reason: str
    snippet: str | None
    start: int | None
    end: int | None
    confidence: float | None
    rank: int | None


_ROWS = TypeAdapter(list[_Row])


class Rows(NamedTuple):
    """The decisions on one group. `place` counts the groups of the run from 0; `line` is that of the first row."""

    place: int
    line: int
    query_id: str
    rows: Sequence[Row]


class Joined(NamedTuple):
    """A group and the decisions on it, in the order of its passages."""

    place: int
    group: Group
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedRun:
    """A run of `arhn clean` that is over. `summary`: the content of its summary.json."""

    output: str
    files: RunFiles
    summary: Mapping[str, Any]

    @property
    def decisions(self) -> Path:
        """Where its decisions are."""
        return Path(self.files.decisions)

    @property
    def inputs(self) -> Named:
        """The files of the run, by what a message calls them: who reads a run replaces none of them."""
        return {
            "the run's input": self.files.input,
            "the run's output": self.output,
            "the run's decisions": self.decisions,
            "the run's summary": Files.beside(self.output).summary,
        }

    def read_rows(self) -> Iterator[Rows]:
        """The decisions, group by group, unchecked but for their ids.

        Raises:
            FileMissing: the decisions are gone.
            DataError: a line isn't what a run wrote.
        """
        place, first, query_id, rows = 0, 0, None, list[Row]()
        path = self.decisions
        for number, line in self.read_lines():
            try:
                row = orjson.loads(line)
                its = row["query_id"]
            except (ValueError, TypeError, KeyError) as error:
                raise make_damage(f"query_id: {error}", path, number) from error
            if its != query_id:
                if rows:
                    yield Rows(place, first, str(query_id), rows)
                    place += 1
                if type(its) is not str:
                    raise make_damage("query_id: expected a string", path, number)
                first, query_id, rows = number, its, []
            rows.append(row)
        if rows:
            yield Rows(place, first, str(query_id), rows)

    def read_rows_at(self, places: Mapping[int, int]) -> Iterator[Rows]:
        """The decisions on some groups; the others' lines aren't parsed.

        Args:
            places: the first line of the decisions on each group, by the group's place.
        """
        starts = sorted(places.items(), key=lambda pair: pair[1])
        at, rows = 0, list[Row]()
        for number, line in self.read_lines():
            if at >= len(starts):
                break
            if number < starts[at][1]:
                continue
            row = parse_line(line, self.decisions, number)
            if rows and row.get("query_id") != rows[0].get("query_id"):
                yield Rows(starts[at][0], starts[at][1], str(rows[0].get("query_id")), rows)
                at, rows = at + 1, []
                if at >= len(starts) or number < starts[at][1]:
                    continue
            rows.append(row)
        if rows:
            yield Rows(starts[at][0], starts[at][1], str(rows[0].get("query_id")), rows)

    def read_lines(self) -> Iterator[tuple[int, bytes]]:
        """The lines of the decisions, numbered from 1. Raises FileMissing: they are gone."""
        if not self.decisions.is_file():
            raise FileMissing("no such file; the run's summary names it", path=str(self.decisions))
        with self.decisions.open("rb") as lines:
            yield from enumerate(lines, start=1)

    def join(self, wanted: Iterable[Rows] | None = None) -> Iterator[Joined]:
        """Groups with their decisions.

        Args:
            wanted: the decisions of the groups that are wanted, in the order of the run and with their places; all
                unless given.

        Raises:
            FileMissing: the input, or the decisions, are gone.
            DataError: damaged records, or the input isn't what it was when it was cleaned.
        """
        found = self.read_rows() if wanted is None else iter(wanted)
        with closing(self.read_groups()) as groups:
            yield from _pair(found, groups, self.files.input, self.decisions)

    def read_groups(self) -> Generator[Unread]:
        """The groups of the input, not yet made: most of them may be passed over. Raises as `detect`."""
        files = self.files
        source = detect(files.input, split=files.split, format=files.input_format, skip_bad_rows=True)
        form = FORMATS.get(source.format)
        if not form.ROW_IS_GROUP or self.summary.get("groups", {}).get("rejected_rows"):
            for group in read(source, on_bad_row="skip"):
                yield Unread(None, None, group)
            return
        for record in source.records():
            yield Unread(form, record, None)


class Unread(NamedTuple):
    """A group of an input: the row that it is, or the group where rows had to be read to find it."""

    form: Format | None
    record: RawRecord | None
    group: Group | None

    def make(self, query_id: str) -> Group:
        """The group, with the id that its decisions have where its format has none. Raises DataError: a bad row."""
        if self.form is None or self.record is None:
            assert self.group is not None  # nosec B101 - narrows a type
            return self.group
        draft = drop_blank(self.form.parse(read_row(self.record), self.record.line))
        return make_group(draft, query_id if draft.query_id is None else draft.query_id)

    def may_hold(self, words: Sequence[bytes]) -> bool:
        """Whether these words, in lower case and ASCII, may stand in it; quick where a row is a line."""
        if self.record is None or not isinstance(self.record.raw, bytes):
            return True
        line = self.record.raw.lower()
        return all(word in line for word in words)


def _pair(found: Iterator[Rows], groups: Iterator[Unread], path: str, decisions: Path) -> Iterator[Joined]:
    at = -1
    unread: Unread | None = None
    for rows in found:
        while at < rows.place:
            unread = next(groups, None)
            if unread is None:
                raise _make_change(rows.query_id, path)
            at += 1
        assert unread is not None  # nosec B101 - narrows a type
        try:
            group = unread.make(rows.query_id)
        except DataError as error:
            raise _make_change(rows.query_id, path) from error
        check_match(group, rows, path, decisions)
        yield Joined(rows.place, group, rows.rows)


def check_match(group: Group, rows: Rows, path: str, decisions: Path) -> None:
    """Check that decisions are those on this group.

    Raises:
        DataError: a row isn't what a run wrote, or the input at `path` has changed.
    """
    try:
        _ROWS.validate_python(rows.rows)
    except ValidationError:
        for i, row in enumerate(rows.rows):
            check_row(row, decisions, rows.line + i)
    same = group.query_id == rows.query_id and [p.doc_id for p in group.passages] == [r["doc_id"] for r in rows.rows]
    if not same or not all(_holds(p, row) for p, row in zip(group.passages, rows.rows, strict=True)):
        raise _make_change(rows.query_id, path)


def _make_change(query_id: str, path: str) -> DataError:
    return DataError(
        f"the passages of group {query_id!r} aren't those that were cleaned. Has the file changed since?", path=path
    )


def _holds(passage: Passage, row: Row) -> bool:
    return row["snippet"] is None or passage.text[row["start"] : row["end"]] == row["snippet"]


def open_run(output: str, command: str) -> FinishedRun:
    """The run that wrote `output`, by the summary beside it.

    Args:
        command: the one that asks, for the message.

    Raises:
        FileMissing: there is no summary beside it.
        DataError: the summary is damaged.
    """
    path = Files.beside(output).summary
    if not path.is_file():
        raise FileMissing(
            f"no such file. 'arhn {command}' takes the output of 'arhn clean', whose summary lies beside it",
            path=str(path),
        )
    content = parse_line(path.read_bytes(), path)
    files = _check(_Summary, content, path).files
    return FinishedRun(output=output, files=files, summary=content)


def parse_line(content: bytes, path: Path, line: int | None = None) -> Any:
    """What a record holds. Raises DataError where it isn't JSON."""
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise make_damage(str(error), path, line) from error


def check_row(row: Any, path: Path, line: int) -> None:
    """Check a decision. Raises DataError where a field is missing or wrong."""
    _check(_Row, row, path, line)


def _check(kind: type[Record], content: Any, path: Path, line: int | None = None) -> Record:
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "content"
        raise make_damage(f"{field}: {first['msg']}", path, line) from error


def make_damage(what: str, path: Path, line: int | None) -> DataError:
    """The error for records that aren't what a run wrote."""
    return DataError(f"not what 'arhn clean' wrote ({what}). Clean again to write it new", path=str(path), line=line)


def find_subset(group: Group) -> str:
    """The subset that a group's record names; empty where it names none."""
    return next((name for _, name in list_names(group)), "")
