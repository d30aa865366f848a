"""One group of a finished run, put together again from its input and its records."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import orjson
from pydantic import AfterValidator, BaseModel, ValidationError

from arhn.cleaning.run import Files
from arhn.errors import DataError, FileMissing
from arhn.formats import FORMATS, detect, ids, read
from arhn.types import Action, Group, Label, Passage

#: A query_id that was made from the query, and its number.
_MADE = re.compile(r"(q-[0-9a-f]{16})(-[0-9]+)?")
Record = TypeVar("Record", bound=BaseModel)


def _known_format(name: str) -> str:
    if name not in FORMATS.names():
        raise ValueError(f"expected one of {', '.join(FORMATS.names())}")
    return name


class _Files(BaseModel):
    """What `inspect` needs to know of summary.json."""

    input: str
    input_format: Annotated[str, AfterValidator(_known_format)]
    split: str | None
    decisions: str


class _Summary(BaseModel):
    files: _Files


class _Row(BaseModel, strict=True):
    """What is shown of a line of decisions.jsonl."""

    doc_id: str
    label: Label
    action: Action
    reason: str
    snippet: str | None
    start: int | None
    end: int | None
    confidence: float | None
    rank: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspected:
    """A group and its decision rows by `doc_id`, as in decisions.jsonl."""

    group: Group
    decisions: Mapping[str, Mapping[str, Any]]


def inspect_all(output: str, query_id: str) -> list[Inspected]:
    """The groups of a query in the run that wrote `output`: where ids are made from queries, a query that stands in
    several groups has an id with a number in each.

    Raises:
        FileMissing, DataError: as `inspect`.
    """
    made = _MADE.fullmatch(query_id)
    first = inspect(output, query_id)
    if made is None:
        return [first]
    others = [group.query_id for group in _read_input(read_files(output)) if ids.is_made_from(group.query_id, made[1])]
    return [first, *(inspect(output, other) for other in others if other != query_id)]


def inspect(output: str, query_id: str) -> Inspected:
    """The group `query_id` of the run that wrote `output`.

    Raises:
        FileMissing: the run's records, or the input they name, aren't there.
        DataError: no such group, damaged records, or the input isn't what it was when it was cleaned.
    """
    files = read_files(output)
    decisions = _decisions(Path(files.decisions), query_id)
    group = _group(files, query_id)
    same_ids = set(decisions) == {p.doc_id for p in group.passages}
    if not same_ids or not all(_holds(p, decisions[p.doc_id]) for p in group.passages):
        raise DataError(
            f"the passages of group {query_id!r} aren't those that were cleaned. Has the file changed since?",
            path=files.input,
        )
    return Inspected(group=group, decisions=decisions)


def _holds(passage: Passage, row: Mapping[str, Any]) -> bool:
    return row["snippet"] is None or passage.text[row["start"] : row["end"]] == row["snippet"]


def read_files(output: str) -> _Files:
    """The files of the run that wrote `output`, from its summary.

    Raises:
        FileMissing: there is no summary beside it.
        DataError: the summary is damaged.
    """
    path = Files.beside(output).summary
    if not path.is_file():
        raise FileMissing(
            "no such file. 'arhn inspect' takes the output of 'arhn clean', whose summary lies beside it",
            path=str(path),
        )
    return _checked(_Summary, _parsed(path.read_bytes(), path), path).files


def _decisions(path: Path, query_id: str) -> dict[str, dict[str, Any]]:
    if not path.is_file():
        raise FileMissing("no such file; the run's summary names it", path=str(path))
    mark = json.dumps(query_id, ensure_ascii=False).encode(errors="replace")
    rows = {}
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            # Most lines are other groups': only those that hold the id are parsed.
            row = _parsed(line, path, number) if mark in line else None
            if isinstance(row, dict) and row.get("query_id") == query_id:
                rows[_checked(_Row, row, path, number).doc_id] = row
    if not rows:
        raise DataError(
            f"no group with query_id {query_id!r}. Check the id; rejected rows and those beyond --limit aren't here",
            path=str(path),
        )
    return rows


def _parsed(content: bytes, path: Path, line: int | None = None) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise _damaged(str(error), path, line) from error


def _checked(kind: type[Record], content: Any, path: Path, line: int | None = None) -> Record:
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "content"
        raise _damaged(f"{field}: {first['msg']}", path, line) from error


def _damaged(what: str, path: Path, line: int | None) -> DataError:
    return DataError(f"not what 'arhn clean' wrote ({what}). Clean again to write it new", path=str(path), line=line)


def _group(files: _Files, query_id: str) -> Group:
    for group in _read_input(files):
        if group.query_id == query_id:
            return group
    raise DataError(
        f"no group with query_id {query_id!r}. Has the file changed since it was cleaned?", path=files.input
    )


def _read_input(files: _Files) -> Iterator[Group]:
    source = detect(files.input, split=files.split, format=files.input_format, skip_bad_rows=True)
    return read(source, on_bad_row="skip")
