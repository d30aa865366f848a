"""Ids made from content, and the ids seen so far in a file, in flat memory."""

from __future__ import annotations

import sqlite3
from collections import Counter
from dataclasses import replace
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

from arhn.errors import DiskFull

if TYPE_CHECKING:
    from collections.abc import Iterable

    from arhn.types import Passage

_CACHE_KIB = 32 * 1024
_COUNT = "INSERT INTO seen VALUES (?, ?, 1) ON CONFLICT (id) DO UPDATE SET times = times + 1 RETURNING line, times"


def make_query_id(query: str) -> str:
    """`q-` and 16 hex digits of the query's BLAKE2b hash."""
    return _hash("q-", query)


def make_doc_id(text: str) -> str:
    """`d-` and 16 hex digits of the text's BLAKE2b hash."""
    return _hash("d-", text)


def number(base: str, times: int) -> str:
    """The id of the `times`-th (from 1) thing that has the id `base`."""
    return base if times == 1 else f"{base}-{times}"


def is_made_from(made: str, base: str) -> bool:
    """Whether `made` is `base` or an id that `number` made of it."""
    return made == base or (made.startswith(f"{base}-") and made[len(base) + 1 :].isdecimal())


def number_duplicates(passages: Iterable[Passage]) -> list[Passage]:
    """`passages` with every second, third, … use of a doc_id numbered; numbers that are others' ids are left out."""
    passages = list(passages)
    own = {passage.doc_id for passage in passages}
    if len(own) == len(passages):
        return passages
    times: Counter[str] = Counter()
    result = []
    for passage in passages:
        times[passage.doc_id] += 1
        while times[passage.doc_id] > 1 and number(passage.doc_id, times[passage.doc_id]) in own:
            times[passage.doc_id] += 1
        unique = number(passage.doc_id, times[passage.doc_id])
        result.append(passage if unique == passage.doc_id else replace(passage, doc_id=unique))
    return result


class Seen(NamedTuple):
    """The first line an id occurred in, and how often it has occurred by now."""

    first_line: int
    times: int


class SeenIds:
    """All ids of a file, exactly, in a temporary SQLite database that goes to disk as it grows."""

    def __init__(self) -> None:
        # A reader may be drawn from worker threads, one call at a time.
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("CREATE TABLE seen (id TEXT PRIMARY KEY, line INTEGER, times INTEGER) WITHOUT ROWID")
        self._database.execute("BEGIN")

    def add(self, key: str, line: int) -> Seen:
        """Count one use of the id `key`, in `line`.

        Raises:
            DiskFull: the folder for temporary files is full.
        """
        try:
            return Seen(*self._database.execute(_COUNT, (key, line)).fetchone())
        except sqlite3.OperationalError as error:
            raise DiskFull(f"the folder for temporary files can't hold the ids seen so far: {error}") from error

    def close(self) -> None:
        """Delete the temporary database."""
        self._database.close()


def _hash(prefix: str, content: str) -> str:
    return prefix + blake2b(content.encode(), digest_size=8).hexdigest()
