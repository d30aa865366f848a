"""The requests that wait for an engine, by age and by the beginning of their prompts. Pure."""

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


class Queue(Generic[T]):
    """Requests that wait, each with its waiter: the future that its caller waits for."""

    def __init__(self) -> None:
        self._numbers = count()
        self._waiting: dict[int, tuple[Request, T]] = {}  # the oldest first
        self._sorted: dict[Prefix, list[tuple[str, int]]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[tuple[int, Request, T]]:
        """Number, request and its waiter, the oldest first."""
        return ((number, request, waiter) for number, (request, waiter) in self._waiting.items())

    @property
    def prefixes(self) -> frozenset[Prefix]:
        """The kinds of request that wait."""
        return frozenset(self._sorted)

    def add(self, request: Request, waiter: T) -> int:
        """Join; returns a number to leave with."""
        number = next(self._numbers)
        self._waiting[number] = (request, waiter)
        insort(self._sorted.setdefault(request.prefix, []), (_text(request), number))
        return number

    def leave(self, number: int) -> tuple[Request, T]:
        """Take one out."""
        request, waiter = self._waiting.pop(number)
        same = self._sorted[request.prefix]
        del same[bisect_left(same, (_text(request), number))]
        if not same:
            del self._sorted[request.prefix]
        return request, waiter

    def nearest(self, request: Request) -> int | None:
        """The one that shares the longest beginning with `request`; None where none shares enough of it."""
        same = self._sorted.get(request.prefix, [])
        text = _text(request)
        place = bisect_left(same, (text, -1))
        # In this order its neighbours share most with it.
        beside = [(_count_shared(text, other), -number) for other, number in same[max(0, place - 1) : place + 1]]
        shared, number = max(beside, default=(0, 0))
        return -number if shared >= LEAST_SHARED else None


def _count_shared(one: str, other: str) -> int:
    """How many characters at their beginning are the same."""
    return sum(1 for _ in takewhile(bool, map(eq, one, other)))


def _text(request: Request) -> str:
    return request.messages[-1].content


__all__ = ["LEAST_SHARED", "Prefix", "Queue"]
