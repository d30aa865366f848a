"""The response store: every answer of an LLM, under a key made of its question.

SQLite in WAL mode. Each answer is committed before anything is made of it, so a killed process loses no
answer it has received; `synchronous=NORMAL` leaves the last few to a power cut, after which they are asked
again. One process at a time: a lock file beside the store says who has it.
"""

from arhn.store.answers import Marking, MemoryStore, ResponseStore, SqliteStore, StoredAnswers
from arhn.store.maintenance import ModelAnswers, Prune, RunCounts, StoreInfo, check, forget_unreadable, info, prune

__all__ = [
    "Marking",
    "MemoryStore",
    "ModelAnswers",
    "Prune",
    "ResponseStore",
    "RunCounts",
    "SqliteStore",
    "StoreInfo",
    "StoredAnswers",
    "check",
    "forget_unreadable",
    "info",
    "prune",
]
