"""One group of a finished run, put together again from its input and its records."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from arhn.cleaning.run.finished import FinishedRun, Joined, Row, check_row, open_run, parse_line
from arhn.errors import DataError
from arhn.formats import detect, ids, read
from arhn.types import Group

#: A query_id that was made from the query, and its number.
_MADE = re.compile(r"(q-[0-9a-f]{16})(-[0-9]+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspected:
    """A group and its decision rows by `doc_id`, as in decisions.jsonl.

    `number`: which group of the run it is, from 1; 0 where it was found by its id. `others`: how many more groups have
    the words that were looked for.
    """

    group: Group
    decisions: Mapping[str, Mapping[str, Any]]
    number: int = 0
    others: int = 0


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
    run = open_run(output, "inspect")
    others = [group.query_id for group in _read_input(run) if ids.is_made_from(group.query_id, made[1])]
    return [first, *(inspect(output, other) for other in others if other != query_id)]


def inspect(output: str, query_id: str) -> Inspected:
    """The group `query_id` of the run that wrote `output`.

    Raises:
        FileMissing: the run's records, or the input they name, aren't there.
        DataError: no such group, damaged records, or the input isn't what it was when it was cleaned.
    """
    run = open_run(output, "inspect")
    decisions = _find_decisions(run, query_id)
    group = _find_group(run, query_id)
    same_ids = set(decisions) == {p.doc_id for p in group.passages}
    if not same_ids or not all(_holds(p.text, decisions[p.doc_id]) for p in group.passages):
        raise DataError(
            f"the passages of group {query_id!r} aren't those that were cleaned. Has the file changed since?",
            path=run.files.input,
        )
    return Inspected(group=group, decisions=decisions)


def inspect_number(output: str, number: int) -> Inspected:
    """The `number`-th group of a run, from 1. Raises as `inspect`."""
    run = open_run(output, "inspect")
    return _take(run, number - 1)


def inspect_random(output: str, seed: int | None = None) -> Inspected:
    """A group drawn at random; the same `seed` draws the same one. Raises as `inspect`."""
    run = open_run(output, "inspect")
    count = int(run.summary.get("groups", {}).get("read", 0))
    if not count:
        raise DataError("the run has no groups", path=str(run.decisions))
    return _take(run, random.Random(seed).randrange(count))  # noqa: S311  # no secret  # nosec B311 - no secret depends on it


def inspect_words(output: str, words: str) -> Inspected:
    """The first group whose query holds all these words, in any order and whatever their case.

    Raises:
        DataError: there is none. Else as `inspect`.
    """
    run = open_run(output, "inspect")
    wanted = words.casefold().split()
    quick = [word.encode() for word in wanted if word.isascii() and word.isalnum()]
    count = int(run.summary.get("groups", {}).get("read", 0))
    places = []
    with closing(run.read_groups()) as groups:
        for place, unread in enumerate(islice(groups, count)):
            if unread.may_hold(quick):
                query = unread.make("unknown").query.casefold()
                places += [place] if all(word in query for word in wanted) else []
    if not places:
        raise DataError(f"no group whose query holds the words {words!r}. Give fewer words", path=run.files.input)
    return replace(_take(run, places[0]), others=len(places) - 1)


def _take(run: FinishedRun, place: int) -> Inspected:
    """The group at a place of the run, from 0."""
    count = 0
    for rows in run.read_rows():
        if rows.place == place:
            return _describe(next(iter(run.join([rows]))))
        count = rows.place + 1
    raise DataError(f"no group {place + 1}: the run has {count}. Give a number from 1 to {count}", path=run.output)


def _describe(joined: Joined) -> Inspected:
    decisions = {row["doc_id"]: row for row in joined.rows}
    return Inspected(group=joined.group, decisions=decisions, number=joined.place + 1)


def _holds(text: str, row: Row) -> bool:
    return row["snippet"] is None or text[row["start"] : row["end"]] == row["snippet"]


def _find_decisions(run: FinishedRun, query_id: str) -> dict[str, Row]:
    mark = json.dumps(query_id, ensure_ascii=False).encode(errors="replace")
    found: dict[str, Row] = {}
    for number, line in run.read_lines():
        # Most lines are other groups': only those that hold the id are parsed.
        row = parse_line(line, run.decisions, number) if mark in line else None
        if isinstance(row, dict) and row.get("query_id") == query_id:
            check_row(row, run.decisions, number)
            found[row["doc_id"]] = row
    if not found:
        raise DataError(
            f"no group with query_id {query_id!r}. Check the id; rejected rows and those beyond --limit aren't here",
            path=str(run.decisions),
        )
    return found


def _find_group(run: FinishedRun, query_id: str) -> Group:
    for group in _read_input(run):
        if group.query_id == query_id:
            return group
    raise DataError(
        f"no group with query_id {query_id!r}. Has the file changed since it was cleaned?", path=run.files.input
    )


def _read_input(run: FinishedRun) -> Iterator[Group]:
    files = run.files
    source = detect(files.input, split=files.split, format=files.input_format, skip_bad_rows=True)
    return read(source, on_bad_row="skip")
