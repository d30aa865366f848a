"""Looking into a store, deleting what is no longer used, and checking it before a run."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from arhn.errors import StoreError
from arhn.store import tables
from arhn.store.keys import KeyIndex
from arhn.store.tables import transaction, typed_errors

#: Of Unix times: the year 9999.
_LATEST = 253_000_000_000
Prune = Literal["unused", "all"]
# A run that was killed used answers without noting it, so only finished runs show which ones are unused.
_UNUSED = """
MAX(run, IFNULL((SELECT uses.run FROM uses WHERE uses.id = answers.id), 0))
    < (SELECT IFNULL(MAX(id), 0) FROM runs WHERE finished)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelAnswers:
    """`answers` stored for one model, and their size in bytes."""

    model: str
    answers: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCounts:
    """One run on the store: look-ups it answered and new answers it stored. `started` is a Unix time."""

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
        unused = db.execute(f"SELECT COUNT(*) FROM answers WHERE {_UNUSED}").fetchone()[0]  # noqa: S608 - our own words  # nosec B608 - our own words
        counts = [(float(s), str(v), int(h), int(a)) for s, v, h, a in runs]
        names = [(str(m), int(n), int(size)) for m, n, size in models]
        if any(not 0 <= started < _LATEST for started, *_ in counts):
            raise ValueError("a run that was started at no time")
    return StoreInfo(
        bytes=sum(p.stat().st_size for p in _files(path)),
        answers=sum(count for _, count, _ in names),
        unused=unused,
        models=tuple(ModelAnswers(model=m, answers=n, bytes=size) for m, n, size in names),
        runs=tuple(RunCounts(started=s, version=v, hits=h, answers=a) for s, v, h, a in counts),
    )


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
        with transaction(db):
            deleted = db.execute(f"DELETE FROM answers WHERE {where}", values).rowcount  # noqa: S608 - our own words  # nosec B608 - our own words
            db.execute("DELETE FROM uses WHERE id NOT IN (SELECT id FROM answers)")
            db.execute("DELETE FROM keys WHERE id NOT IN (SELECT id FROM answers)")
        db.execute("VACUUM")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return deleted


def forget_unreadable(path: Path) -> int:
    """Delete the answers that nothing could be made of: the next run asks again.

    Returns:
        How many were deleted.

    Raises:
        StoreError: as `prune`.
    """
    with _existing(path) as db:
        return tables.forget_unreadable(db)


def check(path: Path) -> None:
    """Find out whether a run could use `path` as its store; nothing is made or changed.

    Raises:
        StoreError, OutputNotWritable: as `SqliteStore` does.
    """
    with tables.lock(path), typed_errors(path):
        if path.exists() and path.stat().st_size:  # a process killed early leaves an empty file
            with contextlib.closing(tables.connect(path)) as db:
                tables.require_store(db, path)


def _known_model(db: sqlite3.Connection, path: Path, model: str) -> int:
    names = dict(db.execute("SELECT name, id FROM models").fetchall())
    if model not in names:
        raise StoreError(f"{path}: no answers of model {model!r}. It holds answers of: {', '.join(names) or 'none'}")
    return int(names[model])


@contextlib.contextmanager
def _existing(path: Path) -> Iterator[sqlite3.Connection]:
    tables.require_file(path)
    with tables.lock(path), typed_errors(path), contextlib.closing(tables.opened(path, create=False)) as db:
        damage = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if damage != "ok":
            raise sqlite3.DatabaseError(damage.splitlines()[-1])
        KeyIndex(db)  # puts the keys of an older version's store into their tree
        yield db


def _files(path: Path) -> list[Path]:
    return [p for suffix in ("", "-wal", "-shm") if (p := path.with_name(path.name + suffix)).exists()]


__all__ = ["ModelAnswers", "Prune", "RunCounts", "StoreInfo", "check", "forget_unreadable", "info", "prune"]
