"""Answers in and out of a store."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import orjson

from arhn._version import __version__
from arhn.engines import Completion, Token
from arhn.errors import DiskFull, StoreCorrupt, StoreError
from arhn.store import tables
from arhn.store.tables import typed_errors

_FOUND = """
SELECT key, answer, id, MAX(answers.run, IFNULL(uses.run, 0)) FROM answers LEFT JOIN uses USING (id) WHERE key IN ({})
"""
_READ = "SELECT key, answer FROM answers WHERE key IN ({})"
_KEEP = """
INSERT INTO answers (key, model, run, answer) VALUES (?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET model = excluded.model, run = excluded.run, answer = excluded.answer
"""
#: Uses that are noted together: the more, the fewer pages of their tree are written for each.
_TOUCH_BATCH = 65536
#: Of one statement; SQLite allows 32,766.
_VARIABLES = 8192


class ResponseStore(Protocol):
    """What the pipeline needs of a store. Keys are `Request.key`s of the one model it was opened for."""

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, Completion]: ...

    def put(self, key: bytes, completion: Completion) -> None: ...


class MemoryStore:
    """A store that ends with the process."""

    def __init__(self) -> None:
        self._answers: dict[bytes, Completion] = {}

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, Completion]:
        return {key: self._answers[key] for key in keys if key in self._answers}

    def put(self, key: bytes, completion: Completion) -> None:
        self._answers[key] = completion


class SqliteStore:
    """The store on disk. Opening it begins a run; closing it (or leaving the `with`) ends it.

    Raises:
        StoreLocked: another process has it open.
        StoreVersion: it was made by a newer version of arhn.
        StoreCorrupt: it isn't a store, or is damaged.
        OutputNotWritable: its folder can't be written.
    """

    def __init__(self, path: Path, *, model: str) -> None:
        self.path = path
        self._touched: list[int] = []
        self._hits = self._puts = 0
        with contextlib.ExitStack() as stack:
            stack.enter_context(tables.lock(path))
            with typed_errors(path):
                self._db = stack.enter_context(contextlib.closing(tables.opened(path)))
                self._model = self._model_id(model)
                self._run = self._begin_run()
            self._open = stack.pop_all()

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, Completion]:
        """The stored answers among `keys`, by key."""
        with typed_errors(self.path):
            rows = list(_rows(self._db, _FOUND, keys))
            self._touched += [answer_id for _, _, answer_id, last_run in rows if last_run != self._run]
            self._hits += len(rows)
            if len(self._touched) >= _TOUCH_BATCH:
                self._flush()
        return {key: decode(answer, self.path) for key, answer, _, _ in rows}

    def put(self, key: bytes, completion: Completion) -> None:
        """Keep an answer; on return it survives the death of this process.

        Raises:
            DiskFull: no room for it; all earlier answers are safe.
        """
        with typed_errors(self.path):
            self._db.execute(_KEEP, (key, self._model, self._run, encode(completion)))
        self._puts += 1

    def finish(self) -> None:
        """Say that this run used every answer it needs: from now on, `prune` may go by it."""
        with typed_errors(self.path):
            self._flush()
            self._db.execute("UPDATE runs SET finished = 1 WHERE id = ?", (self._run,))

    def close(self) -> None:
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

    def _model_id(self, model: str) -> int:
        self._db.execute("INSERT OR IGNORE INTO models (name) VALUES (?)", (model,))
        return int(self._db.execute("SELECT id FROM models WHERE name = ?", (model,)).fetchone()[0])

    def _begin_run(self) -> int:
        cursor = self._db.execute("INSERT INTO runs (started, version) VALUES (?, ?)", (time.time(), __version__))
        return int(cursor.lastrowid or 0)

    def _flush(self) -> None:
        self._db.execute("BEGIN")
        try:
            touched = [(answer_id, self._run) for answer_id in sorted(self._touched)]
            self._db.executemany("INSERT OR REPLACE INTO uses (id, run) VALUES (?, ?)", touched)
            self._db.execute("UPDATE runs SET hits = ?, answers = ? WHERE id = ?", (self._hits, self._puts, self._run))
            self._db.execute("COMMIT")
        except BaseException:
            # Answers put into an open transaction would be lost with it.
            self._db.execute("ROLLBACK")
            raise
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
                tables.require_store(self._db, path)
            except BaseException:
                self._db.close()
                raise

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, Completion]:
        """The stored answers among `keys`, by key."""
        with typed_errors(self._path):
            rows = list(_rows(self._db, _READ, keys))
        return {key: decode(answer, self._path) for key, answer in rows}

    def close(self) -> None:
        self._db.close()


def _rows(db: sqlite3.Connection, statement: str, keys: Sequence[bytes]) -> Iterator[Any]:
    """The rows of each of `keys` that is stored."""
    for some in (keys[i : i + _VARIABLES] for i in range(0, len(keys), _VARIABLES)):
        yield from db.execute(statement.format(",".join("?" * len(some))), some)


def encode(c: Completion) -> bytes:
    """An answer as it is stored."""
    # A list, not an object: ten million answers would repeat the field names.
    fields = [c.text, c.finish, dict(c.first), c.prompt_tokens, c.cached_tokens, c.completion_tokens]
    if c.tokens:
        # Nobody who doesn't know of them asks for such an answer.
        fields.append([(token.text, dict(token.alternatives)) for token in c.tokens])
    return orjson.dumps(fields)


def decode(answer: bytes, path: Path) -> Completion:
    """Raises StoreCorrupt where `encode` didn't make it."""
    try:
        text, finish, first, prompt, cached, completion, *more = orjson.loads(answer)
        [listed] = more or [()]
        tokens = tuple(Token(text, alternatives) for text, alternatives in listed)
    except (ValueError, TypeError) as error:  # no JSON, or not a list of six or seven
        raise StoreCorrupt(
            f"{path}: a stored answer can't be read ({error}). Move the store away to begin anew"
        ) from error
    return Completion(
        text=text,
        finish=finish,
        first=first,
        prompt_tokens=prompt,
        cached_tokens=cached,
        completion_tokens=completion,
        tokens=tokens,
    )


__all__ = ["MemoryStore", "ResponseStore", "SqliteStore", "StoredAnswers"]
