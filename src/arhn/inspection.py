"""One group of a finished run, put together again from its input and its records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from arhn.errors import DataError, FileMissing
from arhn.formats import Format, detect, read
from arhn.job import Files
from arhn.types import Group


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspected:
    """A group and its decision rows by `doc_id`, as in decisions.jsonl."""

    group: Group
    decisions: Mapping[str, Mapping[str, Any]]


def inspect(output: str, query_id: str) -> Inspected:
    """The group `query_id` of the run that wrote `output`.

    Raises:
        FileMissing: the run's records, or the input they name, aren't there.
        DataError: no such group, or the input isn't what it was when it was cleaned.
    """
    files = _summary(output)["files"]
    decisions = _decisions(Path(files["decisions"]), query_id)
    group = _group(files, query_id)
    if set(decisions) != {p.doc_id for p in group.passages}:
        raise DataError(
            f"the passages of group {query_id!r} aren't those that were cleaned. Has the file changed since?",
            path=files["input"],
        )
    return Inspected(group=group, decisions=decisions)


def _summary(output: str) -> dict[str, Any]:
    path = Files.beside(output).summary
    if not path.is_file():
        raise FileMissing(
            "no such file. 'arhn inspect' takes the output of 'arhn clean', whose summary lies beside it",
            path=str(path),
        )
    content: dict[str, Any] = orjson.loads(path.read_bytes())
    return content


def _decisions(path: Path, query_id: str) -> dict[str, dict[str, Any]]:
    if not path.is_file():
        raise FileMissing("no such file; the run's summary names it", path=str(path))
    mark = orjson.dumps(query_id)
    with path.open("rb") as lines:
        # Most lines are other groups': only those that hold the id are parsed.
        rows = [row for line in lines if mark in line and (row := orjson.loads(line))["query_id"] == query_id]
    if not rows:
        raise DataError(f"no group with query_id {query_id!r}", path=str(path))
    return {row["doc_id"]: row for row in rows}


def _group(files: Mapping[str, Any], query_id: str) -> Group:
    source = detect(files["input"], split=files["split"], format=Format(files["input_format"]), skip_bad_rows=True)
    for group in read(source, on_bad_row="skip"):
        if group.query_id == query_id:
            return group
    raise DataError(
        f"no group with query_id {query_id!r}. Has the file changed since it was cleaned?", path=source.path
    )
