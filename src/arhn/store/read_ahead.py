"""Answers read before they are asked for.

A run that is resumed asks for answers about in the order in which they came, which is that of the file. Where it does,
the answers that follow are read in one go and found by key, without the tree of keys, whose pages would be read in
random order (as the locality-preserved cache of Zhu, Li and Patterson, FAST 2008).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

#: Answers read at once.
_WINDOW = 512
#: Answers that wait to be asked for, about a KB each.
_MOST = 8 * _WINDOW


class Row(NamedTuple):
    """A stored answer, still encoded; its number; and the last run that used it."""

    key: bytes
    answer: bytes
    id: int
    run: int


class ReadAhead:
    """The answers that follow those asked for last.

    Args:
        read: the rows after one number, up to and with another.
    """

    def __init__(self, read: Callable[[int, int], Iterable[Row]]) -> None:
        self._read = read
        self._rows: dict[bytes, Row] = {}
        self._asked = self._end = 0

    def take(self, keys: Iterable[bytes]) -> list[Row]:
        """Those of `keys` that were read, each once."""
        return [self._rows.pop(key) for key in keys if key in self._rows]

    def forget(self, key: bytes) -> None:
        """Drop an answer that is replaced."""
        self._rows.pop(key, None)

    def follow(self, found: Sequence[Row]) -> None:
        """Read on if these come soon after those before."""
        if not found:
            return
        before, self._asked = self._asked, max(row.id for row in found)
        if abs(self._asked - before) > _WINDOW:
            return
        if not self._asked <= self._end <= self._asked + 2 * _WINDOW:
            self._end = self._asked
        if self._end - self._asked <= _WINDOW // 2:
            self._rows.update((row.key, row) for row in self._read(self._end, self._end + _WINDOW))
            self._end += _WINDOW
            for key in list(self._rows)[: max(0, len(self._rows) - _MOST)]:
                del self._rows[key]


__all__ = ["ReadAhead", "Row"]
