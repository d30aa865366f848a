"""Where the answer to a key is: the latest keys in memory, all others in a tree, and filters before the tree.

Keys are hashes: a tree of them is read and written all over, and with millions every new answer would have a page of it
read from the disk and another written. So the keys of the latest answers are held in memory only, read again from
the answers on opening, and go into the tree many at a time, in its order; and Bloom filters say of nearly every unknown
key that the tree doesn't hold it. A log-structured merge tree (O'Neil et al. 1996) of two levels.
"""

from __future__ import annotations

import sqlite3
import struct
from array import array
from collections.abc import Collection, Iterable

from arhn.store.tables import rows, transaction

#: Keys held in memory, at most about 50 MB, before they go into the tree.
RECENT = 2**18
#: Keys of one transaction while they do, so that the journal stays small.
_PIECE = 2**14
_WORDS = struct.Struct("<QQ")


class KeyIndex:
    """The number of the answer to each key of a store.

    Args:
        db: the store; not in a transaction.
        writable: False for a store that is only read, perhaps while a run writes to it.
    """

    def __init__(self, db: sqlite3.Connection, *, writable: bool = True) -> None:
        self._db = db
        self._recent: dict[bytes, int] = {}
        self._filters = _Filters(db)
        self._last = self._filters.up_to
        # Not all at once: a store that an older version made has none of its keys in the tree.
        for key, answer_id in db.execute("SELECT key, id FROM answers WHERE id > ? ORDER BY id", (self._last,)):
            self._recent[key] = self._last = answer_id
            if writable and len(self._recent) >= RECENT:
                self._merge()

    def find(self, keys: Iterable[bytes]) -> dict[bytes, int]:
        """The numbers of those answers among `keys` that are there, by key."""
        found, perhaps = {}, []
        for key in keys:
            answer_id = self._recent.get(key)
            if answer_id is not None:
                found[key] = answer_id
            elif self._filters.may_hold(key):
                perhaps.append(key)
        if perhaps:
            found.update(rows(self._db, "SELECT key, id FROM keys WHERE key IN ({})", perhaps))
        return found

    def next_id(self) -> int:
        """A number that no answer has or had."""
        return self._last + 1

    def add(self, key: bytes, answer_id: int) -> None:
        """Say that an answer is there, whose row is written."""
        self._recent[key] = self._last = answer_id
        if len(self._recent) >= RECENT:
            self._merge()

    def _merge(self) -> None:
        """Put what is in memory into the tree. Where that is cut off, it is in memory again on opening."""
        merged = sorted(self._recent.items())
        for i in range(0, len(merged), _PIECE):
            with transaction(self._db):
                self._db.executemany("INSERT OR REPLACE INTO keys (key, id) VALUES (?, ?)", merged[i : i + _PIECE])
        with transaction(self._db):
            self._filters.add(self._recent, up_to=self._last)
        self._recent = {}


class _Filters:
    """Bloom filters of the keys in the tree.

    In layers, each twice as large as the one before, so that none is ever made anew (Almeida et al. 2007); a key's bits
    are all in one block of 64 (Putze, Sanders and Singler 2007). 16 bits a key.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._layers: list[array[int]] = []
        self._keys = 0  # in the last layer
        self.up_to = 0
        for keys, up_to, blocks in db.execute("SELECT keys, up_to, blocks FROM filters ORDER BY layer"):
            self._layers.append(array("Q", blocks))
            self._keys, self.up_to = keys, up_to

    def may_hold(self, key: bytes) -> bool:
        if not self._layers:
            return False
        place, mask = _bits(key)
        for blocks in self._layers:  # noqa: SIM110 - a generator takes twice as long
            if blocks[place % len(blocks)] & mask == mask:
                return True
        return False

    def add(self, keys: Collection[bytes], *, up_to: int) -> None:
        """Note `keys` and that the answers up to a number are in the tree; in the caller's transaction."""
        if not self._layers or self._keys + len(keys) > 4 * len(self._layers[-1]):
            self._layers.append(array("Q", bytes(2 * RECENT << len(self._layers))))
            self._keys = 0
        blocks = self._layers[-1]
        for place, mask in map(_bits, keys):
            blocks[place % len(blocks)] |= mask
        self._keys += len(keys)
        self._db.execute(
            "INSERT OR REPLACE INTO filters (layer, keys, up_to, blocks) VALUES (?, ?, ?, ?)",
            (len(self._layers) - 1, self._keys, up_to, blocks.tobytes()),
        )
        self.up_to = up_to


def _bits(key: bytes) -> tuple[int, int]:
    """Which block a key is in, before its layer's size is known, and its four bits there."""
    place, drawn = _WORDS.unpack(key)
    return place, 1 << (drawn & 63) | 1 << (drawn >> 6 & 63) | 1 << (drawn >> 12 & 63) | 1 << (drawn >> 18 & 63)


__all__ = ["KeyIndex"]
