"""The response store: every LLM answer kept, keyed by the content of its question.

SQLite in WAL mode. Each answer is committed before anything is made of it, so a killed process loses no
answer it has received; `synchronous=NORMAL` leaves the last few to a power cut, after which they are asked
again. One process at a time: a lock file beside the store says who has it.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self

import orjson

from arhn._version import __version__
from arhn.engines import Completion
from arhn.errors import DiskFull, OutputNotWritable, StoreCorrupt, StoreError, StoreLocked, StoreVersion
from arhn.locks import locked

#: Raised whenever the tables or the encoding of answers change.
SCHEMA = 1
_APPLICATION_ID = 0x6172686E  # "arhn", so that another program's SQLite file is noticed

_TABLES = """
CREATE TABLE answers (
    key BLOB PRIMARY KEY, model INTEGER NOT NULL, run INTEGER NOT NULL, last_run INTEGER NOT NULL,
    answer BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE models (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE runs (
    id INTEGER PRIMARY KEY, started REAL NOT NULL, version TEXT NOT NULL,
    hits INTEGER NOT NULL DEFAULT 0, answers INTEGER NOT NULL DEFAULT 0, finished INTEGER NOT NULL DEFAULT 0
);
"""
_TOUCH_BATCH = 2048
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
        StoreVersion: it was made by another version of arhn.
        StoreCorrupt: it isn't a store, or is damaged.
        OutputNotWritable: its folder can't be written.
    """

    def __init__(self, path: Path, *, model: str) -> None:
        self.path = path
        self._touched: list[tuple[int, bytes]] = []
        self._hits = self._puts = 0
        with contextlib.ExitStack() as stack:
            stack.enter_context(_locked(path))
            with _typed_errors(path):
                self._db = stack.enter_context(contextlib.closing(_open(path)))
                self._model = self._model_id(model)
                self._run = self._begin_run()
            self._open = stack.pop_all()

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, Completion]:
        """The stored answers among `keys`, by key."""
        rows: list[tuple[bytes, bytes, int]] = []
        with _typed_errors(self.path):
            for some in (keys[i : i + _VARIABLES] for i in range(0, len(keys), _VARIABLES)):
                marks = ",".join("?" * len(some))
                rows += self._db.execute(
                    f"SELECT key, answer, last_run FROM answers WHERE key IN ({marks})",  # noqa: S608 - question marks
                    some,
                ).fetchall()
            self._touched += [(self._run, key) for key, _, last_run in rows if last_run != self._run]
            self._hits += len(rows)
            if len(self._touched) >= _TOUCH_BATCH:
                self._flush()
        return {key: _decode(answer, self.path) for key, answer, _ in rows}

    def put(self, key: bytes, completion: Completion) -> None:
        """Keep an answer; on return it survives the death of this process.

        Raises:
            DiskFull: no room for it; all earlier answers are safe.
        """
        row = (key, self._model, self._run, self._run, _encode(completion))
        with _typed_errors(self.path):
            self._db.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?)", row)
        self._puts += 1

    def finish(self) -> None:
        """Say that this run used every answer it needs: from now on, `prune` may go by it."""
        with _typed_errors(self.path):
            self._flush()
            self._db.execute("UPDATE runs SET finished = 1 WHERE id = ?", (self._run,))

    def close(self) -> None:
        with self._open, _typed_errors(self.path):
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
            self._db.executemany("UPDATE answers SET last_run = ? WHERE key = ?", self._touched)
            self._db.execute("UPDATE runs SET hits = ?, answers = ? WHERE id = ?", (self._hits, self._puts, self._run))
            self._db.execute("COMMIT")
        except BaseException:
            # Answers put into an open transaction would be lost with it.
            self._db.execute("ROLLBACK")
            raise
        self._touched.clear()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelAnswers:
    """`answers` stored for one model, and their size in bytes."""

    model: str
    answers: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCounts:
    """One run on the store: look-ups it answered and new answers it kept. `started` is a Unix time."""

    started: float
    version: str
    hits: int
    answers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreInfo:
    """What a store holds: `bytes` on disk, answers in all, and those not used since the last finished run began."""

    bytes: int
    answers: int
    unused: int
    models: tuple[ModelAnswers, ...]
    runs: tuple[RunCounts, ...]


def info(path: Path) -> StoreInfo:
    """Read a store's counts.

    Raises:
        StoreError: there is no store, or it is locked, damaged or of another version.
    """
    with _existing(path) as db:
        models = db.execute(
            "SELECT name, COUNT(*), SUM(LENGTH(answer)) FROM answers JOIN models ON models.id = model GROUP BY name"
        ).fetchall()
        runs = db.execute("SELECT started, version, hits, answers FROM runs ORDER BY id").fetchall()
        unused = db.execute(f"SELECT COUNT(*) FROM answers WHERE {_UNUSED}").fetchone()[0]  # noqa: S608 - our own words
    return StoreInfo(
        bytes=sum(p.stat().st_size for p in _files(path)),
        answers=sum(count for _, count, _ in models),
        unused=unused,
        models=tuple(ModelAnswers(model=m, answers=n, bytes=size) for m, n, size in models),
        runs=tuple(RunCounts(started=s, version=v, hits=h, answers=a) for s, v, h, a in runs),
    )


Prune = Literal["unused", "all"]
# A run that was killed used answers that it didn't come to note: it says nothing about the others.
_UNUSED = "last_run < (SELECT IFNULL(MAX(id), 0) FROM runs WHERE finished)"


def prune(path: Path, what: Prune, *, model: str | None = None) -> int:
    """Delete answers and give their room back to the disk.

    Args:
        what: `unused` since the last run that finished began, or `all`.
        model: only this model's.

    Returns:
        How many were deleted.

    Raises:
        StoreError: there is no store, it is locked, damaged or of another version, or `model` isn't in it.
    """
    conditions, values = [], []
    with _existing(path) as db:
        if what == "unused":
            conditions.append(_UNUSED)
        if model is not None:
            conditions.append("model = ?")
            values.append(_known_model(db, path, model))
        where = " AND ".join(conditions) or "1"
        deleted = db.execute(f"DELETE FROM answers WHERE {where}", values).rowcount  # noqa: S608 - our own words
        db.execute("VACUUM")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return deleted


def _known_model(db: sqlite3.Connection, path: Path, model: str) -> int:
    names = dict(db.execute("SELECT name, id FROM models").fetchall())
    if model not in names:
        raise StoreError(f"{path}: no answers of model {model!r}. It holds answers of: {', '.join(names) or 'none'}")
    return int(names[model])


def check(path: Path) -> None:
    """Find out whether a run could use `path` as its store; nothing is made or changed.

    Raises:
        StoreError, OutputNotWritable: as `SqliteStore` does.
    """
    with _locked(path), _typed_errors(path):
        if path.exists() and path.stat().st_size:  # a process killed early leaves an empty file
            _open(path, create=False).close()


@contextlib.contextmanager
def _existing(path: Path) -> Iterator[sqlite3.Connection]:
    if not path.is_file():
        raise StoreError(f"{path}: there is no response store. 'arhn clean' makes one beside its output")
    with _locked(path), _typed_errors(path), contextlib.closing(_open(path, create=False)) as db:
        damage = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if damage != "ok":
            raise sqlite3.DatabaseError(damage.splitlines()[-1])
        yield db


def _files(path: Path) -> list[Path]:
    return [p for suffix in ("", "-wal", "-shm") if (p := path.with_name(path.name + suffix)).exists()]


def _locked(path: Path) -> contextlib.AbstractContextManager[None]:
    def busy() -> StoreLocked:
        return StoreLocked(
            f"{path}: another arhn process is using this response store. Wait for it to end, or give this "
            "run a store of its own with --store"
        )

    return locked(path.with_name(f".{path.name}.lock"), busy)


def _open(path: Path, *, create: bool = True) -> sqlite3.Connection:
    # The event loop's thread differs from the one that opens the store; never do two use it at once.
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        # First, for the journal mode is written into the file, which may be another program's.
        _check_version(db, path, create)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
    except BaseException:
        db.close()
        raise
    return db


def _check_version(db: sqlite3.Connection, path: Path, create: bool) -> None:
    application = db.execute("PRAGMA application_id").fetchone()[0]
    schema = db.execute("PRAGMA user_version").fetchone()[0]
    empty = not db.execute("SELECT 1 FROM sqlite_master").fetchone()
    if create and empty and application == 0:
        db.executescript(
            f"BEGIN; {_TABLES} PRAGMA application_id = {_APPLICATION_ID};PRAGMA user_version = {SCHEMA}; COMMIT;"
        )
    elif application != _APPLICATION_ID:
        raise StoreCorrupt(f"{path}: a database, but not a response store. Choose another --store")
    elif schema != SCHEMA:
        raise StoreVersion(
            f"{path}: made by another version of arhn (store schema {schema}; arhn {__version__} reads "
            f"{SCHEMA}). Use that version, or choose a new --store"
        )


@contextlib.contextmanager
def _typed_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise _operational(path, error) from error
    except sqlite3.DatabaseError as error:
        raise _corrupt(path, error) from error


def _corrupt(path: Path, error: sqlite3.DatabaseError) -> StoreCorrupt:
    return StoreCorrupt(
        f"{path}: not a response store, or damaged ({error}). Move it away to begin anew, or choose another --store"
    )


def _operational(path: Path, error: sqlite3.OperationalError) -> Exception:
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(("SQLITE_FULL", "SQLITE_IOERR")):
        return DiskFull(
            f"{path}: an answer could not be written ({error}). Everything before it is kept: make room and "
            "run the same command again"
        )
    if name.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM")):
        return OutputNotWritable(f"{path}: can't be written ({error}). Choose another --store")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return StoreLocked(f"{path}: another program has it open and locked ({error}). Close it there and try again")
    # SQLITE_ERROR is a table that isn't there.
    return _corrupt(path, error) if name == "SQLITE_ERROR" else StoreError(f"{path}: {error}")


def _encode(c: Completion) -> bytes:
    # A list, not an object: ten million answers would repeat the field names.
    return orjson.dumps([c.text, c.finish, dict(c.first), c.prompt_tokens, c.cached_tokens, c.completion_tokens])


def _decode(answer: bytes, path: Path) -> Completion:
    try:
        text, finish, first, prompt, cached, completion = orjson.loads(answer)
    except (ValueError, TypeError) as error:  # no JSON, or not a list of seven
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
    )
