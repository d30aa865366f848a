"""Answers in and out of a store."""

from __future__ import annotations

import contextlib
import logging
import re
import sqlite3
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

import orjson

from arhn import __version__
from arhn.engines import Completion
from arhn.errors import DiskFull, StoreCorrupt, StoreError
from arhn.store import tables
from arhn.store.keys import KeyIndex
from arhn.store.read_ahead import ReadAhead, Row
from arhn.store.tables import rows, transaction, typed_errors

_ROWS = "SELECT key, answer, id, MAX(answers.run, IFNULL(uses.run, 0)) FROM answers LEFT JOIN uses USING (id)"
_READ = "SELECT key, answer FROM answers WHERE id IN ({})"
_KEEP = "INSERT INTO answers (model, run, answer, id, key) VALUES (?, ?, ?, ?, ?)"
_REPLACE = "UPDATE answers SET model = ?, run = ?, answer = ? WHERE id = ? AND key = ?"
#: Uses that are noted together: the more, the fewer pages of their tree are written for each.
_TOUCH_BATCH = 65536
#: How an answer with a checksum ends.
_CHECKSUM = re.compile(rb",[0-9]{5,10}\]\Z")

logger = logging.getLogger(__name__)


class ResponseStore(Protocol):
    """What the pipeline needs of a store. Keys are `Request.key`s of the one model it was opened for."""

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, Completion]:
        """The stored answers among `keys`, by key."""
        ...

    def put(self, key: bytes, completion: Completion) -> None:
        """Store an answer in place of any that was there."""
        ...


@runtime_checkable
class Marking(Protocol):
    """A store that knows which of its answers nothing could be made of."""

    def mark_unreadable(self, key: bytes) -> None:
        """Note that nothing could be made of the answer to `key`."""
        ...


class MemoryStore:
    """A store that ends with the process."""

    def __init__(self) -> None:
        self._answers: dict[bytes, Completion] = {}

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, Completion]:
        """The stored answers among `keys`, by key."""
        return {key: self._answers[key] for key in keys if key in self._answers}

    def put(self, key: bytes, completion: Completion) -> None:
        """Store an answer in place of any that was there."""
        self._answers[key] = completion


class SqliteStore:
    """The store on disk. Opening it begins a run; closing it (or leaving the `with`) ends it.

    An answer whose checksum is wrong isn't there: it is asked for again. `damaged` counts them. So is one that nothing
    could be made of (`mark_unreadable`), if another `server` gave it than the one that is asked now.

    Raises:
        StoreLocked: another process has it open.
        StoreVersion: it was made by a newer version of arhn.
        StoreCorrupt: it isn't a store, or is damaged.
        OutputNotWritable: its folder can't be written.
    """

    def __init__(self, path: Path, *, model: str, server: str = "") -> None:
        self.path = path
        self._server = server
        self._touched: list[int] = []
        self._hits = self._puts = self.damaged = 0
        with contextlib.ExitStack() as stack:
            stack.enter_context(tables.lock(path, create=True))
            with typed_errors(path):
                self._db = stack.enter_context(contextlib.closing(tables.opened(path)))
                self._keys = KeyIndex(self._db)
                self._ahead = ReadAhead(self._rows)
                self._model = self._model_id(model)
                self._run = self._begin_run()
                tables.forget_unreadable(self._db, of_others_than=server)
            self._open = stack.pop_all()

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, Completion]:
        """The stored answers among `keys`, by key."""
        with typed_errors(self.path):
            found = self._find(keys)
            answers = {row.key: decode(row.answer, self.path) for row in found}
            whole = {key: answer for key, answer in answers.items() if answer is not None}
            self.damaged += len(answers) - len(whole)
            self._touched += [row.id for row in found if row.run != self._run and row.key in whole]
            self._hits += len(whole)
            if len(self._touched) >= _TOUCH_BATCH:
                self._flush()
        return whole

    def put(self, key: bytes, completion: Completion) -> None:
        """Store an answer; on return it is on disk, also if this process is killed.

        Raises:
            DiskFull: no room for it; all earlier answers are safe.
        """
        row = (self._model, self._run, encode(completion))
        with typed_errors(self.path):
            known = self._keys.find([key]).get(key)
            if known is None or not self._db.execute(_REPLACE, (*row, known, key)).rowcount:
                known = self._keys.next_id()
                self._db.execute(_KEEP, (*row, known, key))
                self._keys.add(key, known)
            else:
                self._ahead.forget(key)
                self._db.execute("DELETE FROM unreadable WHERE id = ?", (known,))
        self._puts += 1

    def mark_unreadable(self, key: bytes) -> None:
        """Note that nothing could be made of an answer: it is forgotten where another server is asked, or on demand."""
        with typed_errors(self.path):
            known = self._keys.find([key]).get(key)
            if known is not None:
                self._db.execute("INSERT OR REPLACE INTO unreadable (id, server) VALUES (?, ?)", (known, self._server))

    def finish(self) -> None:
        """Record that this run used every answer it needs, so that `prune` can tell unused ones."""
        with typed_errors(self.path):
            self._flush()
            self._db.execute("UPDATE runs SET finished = 1 WHERE id = ?", (self._run,))

    def close(self) -> None:
        """Write down which answers were used, and release the store."""
        if self.damaged:
            logger.warning("%s: %d answers were damaged, and are asked for again", self.path, self.damaged)
        with self._open, typed_errors(self.path):
            self._flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.finish()
            self.close()
            return
        # What went wrong before is what the user must read, not what it did to closing.
        with contextlib.suppress(StoreError, DiskFull):
            self.close()

    def _find(self, keys: Sequence[bytes]) -> list[Row]:
        found = self._ahead.take(keys)
        if len(found) < len(keys):
            others = set(keys).difference(row.key for row in found)
            ids = sorted(self._keys.find(others).values())
            found += map(Row._make, rows(self._db, f"{_ROWS} WHERE id IN ({{}})", ids))
        self._ahead.follow(found)
        return found

    def _rows(self, after: int, up_to: int) -> Iterator[Row]:
        return map(Row._make, self._db.execute(f"{_ROWS} WHERE id > ? AND id <= ?", (after, up_to)))

    def _model_id(self, model: str) -> int:
        self._db.execute("INSERT OR IGNORE INTO models (name) VALUES (?)", (model,))
        return int(self._db.execute("SELECT id FROM models WHERE name = ?", (model,)).fetchone()[0])

    def _begin_run(self) -> int:
        cursor = self._db.execute("INSERT INTO runs (started, version) VALUES (?, ?)", (time.time(), __version__))
        return int(cursor.lastrowid or 0)

    def _flush(self) -> None:
        touched = [(answer_id, self._run) for answer_id in sorted(self._touched)]
        counts = (self._hits, self._puts, self._run)
        with transaction(self._db):
            self._db.executemany("INSERT OR REPLACE INTO uses (id, run) VALUES (?, ?)", touched)
            self._db.execute("UPDATE runs SET hits = ?, answers = ? WHERE id = ?", counts)
        self._touched.clear()


class StoredAnswers:
    """The answers of an earlier run, only read: nothing in the file changes, also while a run is using it.

    Raises:
        StoreError: there is no store, or it is damaged or of another version.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        tables.require_file(path)
        with typed_errors(path):
            # The event loop's thread differs from the one that opens the store; never do two use it at once.
            uri = f"{path.resolve().as_uri()}?mode=ro"
            self._db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
            try:
                tables.require_newest(self._db, path)
                self._keys = KeyIndex(self._db, writable=False)
            except BaseException:
                self._db.close()
                raise

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, Completion]:
        """The stored answers among `keys`, by key."""
        with typed_errors(self._path):
            found = list(rows(self._db, _READ, sorted(self._keys.find(keys).values())))
            answers = {key: decode(answer, self._path) for key, answer in found}
        return {key: answer for key, answer in answers.items() if answer is not None}

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def encode(c: Completion) -> bytes:
    """An answer as it is stored, with a checksum of what comes before it."""
    # A list, not an object: ten million answers would repeat the field names.
    fields = [c.text, c.finish, dict(c.first), c.prompt_tokens, c.cached_tokens, c.completion_tokens]
    content = orjson.dumps(fields)[:-1]
    return content + b",%d]" % zlib.crc32(content)


def decode(answer: bytes, path: Path) -> Completion | None:
    """A stored answer; None where it isn't any more what its checksum is of.

    Raises:
        StoreCorrupt: `encode` didn't make it.
    """
    try:
        # Earlier versions wrote no checksum, and for some requests the log-probabilities of every token in its place.
        text, finish, first, prompt, cached, completion, *last = orjson.loads(answer)
        if len(last) > 1:
            raise ValueError(f"{6 + len(last)} fields")
        content, _, _ = answer.rpartition(b",")
        if last and isinstance(last[0], int) and zlib.crc32(content) != last[0]:
            return None
        found = Completion(
            text=text,
            finish=finish,
            first=first,
            prompt_tokens=prompt,
            cached_tokens=cached,
            completion_tokens=completion,
        )
        _require_types(found)
    except (ValueError, TypeError) as error:  # no JSON, not a list of six or seven, or other things in it
        if _CHECKSUM.search(answer if isinstance(answer, bytes) else b""):
            return None
        raise StoreCorrupt(
            f"{path}: a stored answer can't be read ({error}). Move the store away to start afresh"
        ) from error
    return found


def _require_types(found: Completion) -> None:
    numbers = (found.prompt_tokens, found.cached_tokens, found.completion_tokens)
    if not (isinstance(found.text, str) and isinstance(found.finish, str) and all(type(n) is int for n in numbers)):
        raise TypeError("a field of another type")
    if not isinstance(found.first, dict) or not all(type(value) in (int, float) for value in found.first.values()):
        raise TypeError("alternatives that aren't numbers by token")


__all__ = ["Marking", "MemoryStore", "ResponseStore", "SqliteStore", "StoredAnswers"]
