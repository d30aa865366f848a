"""Queries that stand in several groups of a file: what one group labels positive is no negative of another."""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import replace
from hashlib import blake2b
from typing import NamedTuple

from arhn.cleaning.select import take_content
from arhn.errors import DataError, DiskFull
from arhn.types import Action, CleanedGroup, Decision, Group, Passage, Reason

_CACHE_KIB = 32 * 1024
_TABLE = "CREATE TABLE positives (query BLOB, place INTEGER, content BLOB, PRIMARY KEY (query, place, content))"


class PositivesElsewhere:
    """The labelled positives of all groups by query, in a temporary database that goes to disk as it grows.

    Args:
        groups: all groups of the file, in their order. What is wrong with the file ends them, and isn't raised: who
            cleans them will meet it in its turn.

    Raises:
        DiskFull: the folder for temporary files is full.
    """

    def __init__(self, groups: Iterable[Group]) -> None:
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute(f"{_TABLE} WITHOUT ROWID")
        self._database.execute("BEGIN")
        try:
            for place, group in enumerate(_until_bad(groups)):
                found = {(_hash(group.query), place, _hash(*take_content(passage))) for passage in group.positives}
                self._database.executemany("INSERT INTO positives VALUES (?, ?, ?)", found)
        except sqlite3.OperationalError as error:
            raise DiskFull(f"the folder for temporary files can't hold the positives of all groups: {error}") from error

    def find(self, group: Group, place: int) -> list[Passage]:
        """The negatives of the group at a place that are labelled positives of its query in another."""
        statement = "SELECT content FROM positives WHERE query = ? AND place != ?"
        others = {content for (content,) in self._database.execute(statement, (_hash(group.query), place))}
        own = {take_content(passage) for passage in group.positives}
        return [
            passage
            for passage in (group.negatives if others else ())
            if take_content(passage) not in own and _hash(*take_content(passage)) in others
        ]

    def close(self) -> None:
        """Delete the temporary database."""
        self._database.close()


class _Split(NamedTuple):
    group: Group
    taken: frozenset[str]


class Setter:
    """Takes such negatives out of groups before they are cleaned, and puts the decision about them back afterwards.

    Args:
        action: what becomes of them.
    """

    def __init__(self, positives: PositivesElsewhere, action: Action) -> None:
        self._positives = positives
        self._action = action
        self._waiting: deque[_Split] = deque()
        self.count = 0

    def take_out(self, groups: Iterable[Group]) -> Iterator[Group]:
        """The groups without them."""
        for place, group in enumerate(groups):
            taken = frozenset(passage.doc_id for passage in self._positives.find(group, place))
            self.count += len(taken)
            self._waiting.append(_Split(group, taken))
            yield replace(group, negatives=tuple(p for p in group.negatives if p.doc_id not in taken))

    def put_back(self, stream: Iterable[CleanedGroup]) -> Generator[CleanedGroup]:
        """The cleaned groups, in the same order, with all their passages."""
        for cleaned in stream:
            group, taken = self._waiting.popleft()
            yield replace(cleaned, group=group, decisions=self._complete(cleaned, group)) if taken else cleaned

    def _complete(self, cleaned: CleanedGroup, group: Group) -> tuple[Decision, ...]:
        made = {decision.doc_id: decision for decision in cleaned.decisions}
        return tuple(
            made.get(p.doc_id) or Decision(doc_id=p.doc_id, action=self._action, reason=Reason.EQUALS_POSITIVE)
            for p in group.passages
        )


def _until_bad(groups: Iterable[Group]) -> Iterator[Group]:
    try:
        yield from groups
    except DataError:
        return


def _hash(*texts: str) -> bytes:
    return blake2b("\0".join(texts).encode(), digest_size=12).digest()


__all__ = ["PositivesElsewhere", "Setter"]
