"""Who waits for an engine, by age and by what their prompts begin with. Pure."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from itertools import count, takewhile
from operator import eq
from typing import Generic, TypeVar

from arhn.engines.protocol import Message, Request

T = TypeVar("T")
Prefix = tuple[Message, ...]
#: Characters that prompts must share, beyond their kind's common messages, to be worth asking in a row.
LEAST_SHARED = 64


class Line(Generic[T]):
    """Requests that wait, each with the future that its caller waits for."""

    def __init__(self) -> None:
        self._numbers = count()
        self._waiting: dict[int, tuple[Request, T]] = {}  # the oldest first
        self._sorted: dict[Prefix, list[tuple[str, int]]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[tuple[int, Request, T]]:
        """Number, request and who waits for it, the oldest first."""
        return ((number, request, who) for number, (request, who) in self._waiting.items())

    @property
    def prefixes(self) -> frozenset[Prefix]:
        """The kinds of request that wait."""
        return frozenset(self._sorted)

    def add(self, request: Request, who: T) -> int:
        """Join; returns a number to leave with."""
        number = next(self._numbers)
        self._waiting[number] = (request, who)
        insort(self._sorted.setdefault(request.prefix, []), (_text(request), number))
        return number

    def leave(self, number: int) -> tuple[Request, T]:
        """Take one out."""
        request, who = self._waiting.pop(number)
        same = self._sorted[request.prefix]
        del same[bisect_left(same, (_text(request), number))]
        if not same:
            del self._sorted[request.prefix]
        return request, who

    def nearest(self, request: Request) -> int | None:
        """The one that shares the longest beginning with `request`; None where none shares enough of it."""
        same = self._sorted.get(request.prefix, [])
        text = _text(request)
        place = bisect_left(same, (text, -1))
        # In this order the requests that share most with it stand beside it.
        beside = [(_shared(text, other), -number) for other, number in same[max(0, place - 1) : place + 1]]
        shared, number = max(beside, default=(0, 0))
        return -number if shared >= LEAST_SHARED else None


def _shared(one: str, other: str) -> int:
    """Characters that both begin with."""
    return sum(1 for _ in takewhile(bool, map(eq, one, other)))


def _text(request: Request) -> str:
    return request.messages[-1].content


__all__ = ["LEAST_SHARED", "Line", "Prefix"]
