"""The file of a store: its tables, who may open it, and what can be wrong with it.

Answers lie in the order in which they came: a new one is written to the end of the file, and a run that is resumed
reads it from front to back. In a tree by key, which is a hash, both would jump about in the whole file (docs/log,
2026-11-23). Their keys have a tree of their own, which gets them later (`arhn.store.keys`), and uses of an answer are
kept apart for the same reason.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from arhn import __version__
from arhn.errors import DiskFull, OutputNotWritable, StoreCorrupt, StoreError, StoreLocked, StoreVersion
from arhn.files.locks import locked

#: Raised whenever the tables change, or the encoding of answers that an older arhn may look for.
SCHEMA = 3
_APPLICATION_ID = 0x6172686E  # "arhn", so that another program's SQLite file is noticed
#: Of one statement; SQLite allows 32,766.
_VARIABLES = 8192
#: Holds what is above the leaves of the trees of ten million answers.
_CACHE_KIB = 16 * 1024

_ANSWERS = """
CREATE TABLE answers (
    id INTEGER PRIMARY KEY, key BLOB NOT NULL, model INTEGER NOT NULL, run INTEGER NOT NULL, answer BLOB NOT NULL
);
CREATE TABLE keys (key BLOB PRIMARY KEY, id INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE filters (
    layer INTEGER PRIMARY KEY, keys INTEGER NOT NULL, up_to INTEGER NOT NULL, crc INTEGER NOT NULL, blocks BLOB NOT NULL
);
"""
_UNREADABLE = "CREATE TABLE IF NOT EXISTS unreadable (id INTEGER PRIMARY KEY, server TEXT NOT NULL)"
_USES = "CREATE TABLE uses (id INTEGER PRIMARY KEY, run INTEGER NOT NULL);"
_TABLES = f"""
{_ANSWERS} {_USES}
CREATE TABLE models (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE runs (
    id INTEGER PRIMARY KEY, started REAL NOT NULL, version TEXT NOT NULL,
    hits INTEGER NOT NULL DEFAULT 0, answers INTEGER NOT NULL DEFAULT 0, finished INTEGER NOT NULL DEFAULT 0
);
"""
# In the order of runs, which is all that is left of when answers came.
_FROM_1 = f"""
ALTER TABLE answers RENAME TO before;
{_ANSWERS} {_USES}
INSERT INTO answers (key, model, run, answer) SELECT key, model, run, answer FROM before ORDER BY run;
INSERT INTO uses
    SELECT id, last_run FROM answers JOIN before ON before.key = answers.key WHERE last_run != answers.run;
DROP TABLE before;
"""  # noqa: S608 - our own words  # nosec B608 - our own words
_FROM_2 = f"""
ALTER TABLE answers RENAME TO before;
{_ANSWERS}
INSERT INTO answers SELECT id, key, model, run, answer FROM before ORDER BY id;
DROP TABLE before;
"""  # noqa: S608 - our own words  # nosec B608 - our own words


def connect(path: Path) -> sqlite3.Connection:
    """A connection to a store's file, made if there is none."""
    # The event loop's thread differs from the one that opens the store; never do two use it at once.
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False)


def opened(path: Path, *, create: bool = True) -> sqlite3.Connection:
    """A store to work with; one of an older version is brought up to this one.

    Args:
        create: make one where there is none.

    Raises:
        StoreVersion, StoreCorrupt, sqlite3.Error
    """
    db = connect(path)
    try:
        # First, for the journal mode is written into the file, which may be another program's.
        if create and _is_empty(db):
            _write(db, f"{_TABLES} PRAGMA application_id = {_APPLICATION_ID};")
        elif (schema := require_store(db, path)) < SCHEMA:
            _write(db, {1: _FROM_1, 2: _FROM_2}[schema])
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    except BaseException:
        db.close()
        raise
    return db


def forget_unreadable(db: sqlite3.Connection, *, of_others_than: str | None = None) -> int:
    """Delete the answers that nothing could be made of; returns how many.

    Args:
        of_others_than: leave those of this server.
    """
    # Not one of the tables of a version: where there is none, nothing was marked.
    db.execute(_UNREADABLE)
    which = "SELECT id FROM unreadable WHERE ? IS NULL OR server != ?"
    with transaction(db):
        deleted = db.execute(f"DELETE FROM answers WHERE id IN ({which})", (of_others_than,) * 2).rowcount  # noqa: S608 - our own words  # nosec B608 - our own words
        if deleted:
            for table in ("uses", "keys"):
                db.execute(f"DELETE FROM {table} WHERE id IN ({which})", (of_others_than,) * 2)  # noqa: S608 - our own words  # nosec B608 - our own words
        db.execute("DELETE FROM unreadable WHERE id NOT IN (SELECT id FROM answers)")
    return deleted


def require_store(db: sqlite3.Connection, path: Path) -> int:
    """The version of a store's tables.

    Raises:
        StoreCorrupt: it is another program's file.
        StoreVersion: made by a newer arhn.
    """
    application = db.execute("PRAGMA application_id").fetchone()[0]
    schema = int(db.execute("PRAGMA user_version").fetchone()[0])
    if application != _APPLICATION_ID:
        raise StoreCorrupt(f"{path}: a database, but not a response store. Choose another --store")
    if not 1 <= schema <= SCHEMA:
        raise StoreVersion(
            f"{path}: made by another version of arhn (store schema {schema}; arhn {__version__} reads "
            f"{SCHEMA}). Use that version, or choose a new --store"
        )
    return schema


def require_newest(db: sqlite3.Connection, path: Path) -> None:
    """As `require_store`, and raises StoreVersion where a store that is only to be read is of an older version."""
    if require_store(db, path) < SCHEMA:
        raise StoreVersion(
            f"{path}: made by an older version of arhn, which reading it doesn't change. 'arhn store {path}' brings it "
            "up to date"
        )


def require_file(path: Path) -> None:
    """Raises StoreError where there is no file."""
    if not path.is_file():
        raise StoreError(f"{path}: there is no response store. 'arhn clean' makes one beside its output")


@contextlib.contextmanager
def lock(path: Path, *, create: bool = False) -> Iterator[None]:
    """Keeps other processes out, by whatever name they open the file.

    Args:
        create: make an empty file where there is none.

    Raises:
        StoreLocked: another process is in.
        OutputNotWritable: no lock can be made beside it.
    """

    def busy() -> StoreLocked:
        return StoreLocked(
            f"{path}: another arhn process is using this response store. Wait for it to end, or give this "
            "run a store of its own with --store"
        )

    real = Path(os.path.realpath(path))
    with locked(real.with_name(f".{real.name}.lock"), busy), contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # SQLite says what is wrong with the file
            if create and not real.exists():
                real.touch()
            if real.is_file():
                # A hard link in another folder has another lock beside it. SQLite would have two journals of one file.
                found = real.stat()
                name = f"arhn-store-{found.st_dev:x}-{found.st_ino:x}.lock"
                stack.enter_context(locked(Path(tempfile.gettempdir()) / name, busy))
        yield


@contextlib.contextmanager
def typed_errors(path: Path) -> Iterator[None]:
    """SQLite's errors as arhn's own."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise _operational(path, error) from error
    except sqlite3.DatabaseError as error:
        raise _corrupt(path, error) from error
    except (TypeError, ValueError, OverflowError) as error:  # values of other types than arhn writes
        raise _corrupt(path, error) from error


def rows(db: sqlite3.Connection, statement: str, values: Sequence[Any]) -> Iterator[Any]:
    """The rows of a statement that asks for one column being IN ({}), for any number of values."""
    for some in (values[i : i + _VARIABLES] for i in range(0, len(values), _VARIABLES)):
        yield from db.execute(statement.format(",".join("?" * len(some))), some)


@contextlib.contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All that is written within, or nothing."""
    db.execute("BEGIN")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        # Answers put into an open transaction would be lost with it. Where the disk is full, SQLite may have ended it.
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _is_empty(db: sqlite3.Connection) -> bool:
    foreign = db.execute("PRAGMA application_id").fetchone()[0]
    return not foreign and not db.execute("SELECT 1 FROM sqlite_master").fetchone()


def _write(db: sqlite3.Connection, script: str) -> None:
    """All of it or nothing; closing the connection takes back what an error cut off."""
    db.executescript(f"BEGIN; {script} PRAGMA user_version = {SCHEMA}; COMMIT;")


def _corrupt(path: Path, error: Exception) -> StoreCorrupt:
    return StoreCorrupt(
        f"{path}: not a response store, or damaged ({error}). Move it away to start afresh, or choose another --store"
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
    # SQLITE_ERROR is a table that isn't there; Python itself finds text that isn't UTF-8, and then there is no name.
    return _corrupt(path, error) if name in ("SQLITE_ERROR", "") else StoreError(f"{path}: {error}")


__all__ = [
    "SCHEMA",
    "connect",
    "forget_unreadable",
    "lock",
    "opened",
    "require_file",
    "require_newest",
    "require_store",
    "rows",
    "transaction",
    "typed_errors",
]
