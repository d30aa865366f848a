"""Where the answer to a key is: the latest keys in memory, all others in a tree, and filters before the tree.

Keys are hashes: a tree of them is read and written all over, and with millions every new answer would have a page of it
read from the disk and another written. So the keys of the latest answers are held in memory only, read again from
the answers on opening, and go into the tree many at a time, in its order; and Bloom filters say of nearly every unknown
key that the tree doesn't hold it. A log-structured merge tree (O'Neil et al. 1996) of two levels.
"""

from __future__ import annotations

import sqlite3
import struct
import zlib
from array import array
from collections.abc import Collection, Iterable
from typing import NamedTuple

from arhn.store.tables import rows, transaction

#: Keys held in memory, at most about 50 MB, before they go into the tree.
RECENT = 2**18
#: Keys of one transaction while they do, so that the journal stays small; and keys read at once on opening.
_PIECE = 2**14
_LATEST = "SELECT key, id FROM answers WHERE id > ? ORDER BY id LIMIT ?"
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
        # In pieces: the journal grows as long as a statement is open, and a store that an older version made has none
        # of its keys in the tree.
        while latest := db.execute(_LATEST, (self._last, _PIECE)).fetchall():
            if not isinstance(latest[-1][1], int) or latest[-1][1] <= self._last:
                raise sqlite3.DatabaseError("the numbers of its answers don't grow")  # reading on would never end
            self._recent.update(latest)
            self._last = latest[-1][1]
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
        """Add the key of an answer whose row is written."""
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
            layer = self._filters.write(self._recent, up_to=self._last)
        self._filters.keep(layer)
        self._recent = {}


class _Layer(NamedTuple):
    """A filter of so many `keys`, whose answers have numbers up to `up_to`."""

    number: int
    keys: int
    up_to: int
    blocks: array[int]


class _Filters:
    """Bloom filters of the keys in the tree.

    In layers, each twice as large as the one before, so that none is ever rebuilt (Almeida et al. 2007); a key's bits
    are all in one block of 64 (Putze, Sanders and Singler 2007). 16 bits a key.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._layers: list[array[int]] = []
        self._keys = 0  # in the last layer
        self.up_to = 0
        for number, keys, up_to, crc, blocks in db.execute(
            "SELECT layer, keys, up_to, crc, blocks FROM filters ORDER BY layer"
        ):
            if number != len(self._layers) or not isinstance(blocks, bytes) or zlib.crc32(blocks) != crc:
                raise sqlite3.DatabaseError("a filter of its keys is damaged")
            self.keep(_Layer(number, keys, up_to, array("Q", blocks)))

    def may_hold(self, key: bytes) -> bool:
        """False where the tree surely lacks the key."""
        if not self._layers:
            return False
        place, mask = _bits(key)
        for blocks in self._layers:  # noqa: SIM110 - a generator takes twice as long
            if blocks[place % len(blocks)] & mask == mask:
                return True
        return False

    def write(self, keys: Collection[bytes], *, up_to: int) -> _Layer:
        """Write down that `keys` and all answers up to a number are in the tree; in the caller's transaction.

        Returns:
            The layer, for `keep` once the transaction is committed.
        """
        number, held = len(self._layers) - 1, self._keys + len(keys)
        if number >= 0 and held <= 4 * len(self._layers[number]):
            blocks = self._layers[number]
        else:
            number, held = number + 1, len(keys)
            blocks = array("Q", bytes(2 * RECENT << number))
        for place, mask in map(_bits, keys):
            blocks[place % len(blocks)] |= mask
        content = blocks.tobytes()
        self._db.execute(
            "INSERT OR REPLACE INTO filters (layer, keys, up_to, crc, blocks) VALUES (?, ?, ?, ?, ?)",
            (number, held, up_to, zlib.crc32(content), content),
        )
        return _Layer(number, held, up_to, blocks)

    def keep(self, layer: _Layer) -> None:
        """Search this layer from now on, too."""
        self._layers[layer.number :] = [layer.blocks]
        self._keys, self.up_to = layer.keys, layer.up_to


def _bits(key: bytes) -> tuple[int, int]:
    """Which block a key is in, before its layer's size is known, and its four bits there."""
    place, drawn = _WORDS.unpack(key)
    return place, 1 << (drawn & 63) | 1 << (drawn >> 6 & 63) | 1 << (drawn >> 12 & 63) | 1 << (drawn >> 18 & 63)


__all__ = ["KeyIndex"]
