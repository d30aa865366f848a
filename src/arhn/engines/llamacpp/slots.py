"""llama.cpp's slots, each of which keeps the last prompt that it computed: who gets which, and in what order."""

from __future__ import annotations

import asyncio
from collections import Counter

from arhn.engines.llamacpp.queue import Prefix, Queue
from arhn.engines.protocol import Request


class Slots:
    """Hands out slots so that a prompt's shared beginning is computed once per slot, not once per request.

    At most `limit` are out at a time. A request takes a slot that holds its prefix, else an unused one; while
    there is one prefix only, the last unused slot is left to the second. Else it takes over the slot used
    longest ago, but not the only one of a prefix, nor one that somebody waits for, unless it has none itself.

    Args:
        nearest: a request that shares most with what a slot was last used for comes before the oldest, and one that
            needs no other prefix there before those that do.
    """

    def __init__(self, count: int, limit: int, *, nearest: bool = False) -> None:
        self._last: list[Request | None] = [None] * count
        self._free = list(range(count))  # the longest unused first
        self._limit = limit
        self._nearest = nearest
        self._out = 0
        self._queue: Queue[asyncio.Future[int]] = Queue()

    async def acquire(self, request: Request) -> int:
        """Wait for a slot for `request`; returns its number."""
        waiting: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._queue.add(request, waiting)
        self._assign()
        try:
            return await waiting
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled():
                self.release(waiting.result())
            raise

    @property
    def _held(self) -> list[Prefix | None]:
        return [None if request is None else request.prefix for request in self._last]

    def release(self, slot: int) -> None:
        """Give a slot to the request that is next."""
        self._out -= 1
        self._free.append(slot)
        self._assign()

    def _assign(self) -> None:
        while self._out < self._limit and (match := self._match()) is not None:
            number, slot = match
            request, waiting = self._queue.leave(number)
            if waiting.done():
                continue  # cancelled; its task hasn't run since
            self._free.remove(slot)
            self._last[slot] = request
            self._out += 1
            waiting.set_result(slot)

    def _match(self) -> tuple[int, int] | None:
        if self._nearest and (match := self._near()) is not None:
            return match
        wanted = self._queue.prefixes
        for number, request, _ in self._queue:
            slot = self._slot_for(request.prefix, wanted)
            if slot is not None:
                return number, slot
        return None

    def _near(self) -> tuple[int, int] | None:
        for slot in reversed(self._free):
            last = self._last[slot]
            number = None if last is None else self._queue.nearest(last)
            if number is not None:
                return number, slot
        prefixes = self._held
        held = {prefixes[slot]: slot for slot in self._free}
        return next(((number, held[r.prefix]) for number, r, _ in self._queue if r.prefix in held), None)

    def _slot_for(self, prefix: Prefix, wanted: frozenset[Prefix]) -> int | None:
        prefixes = self._held
        same = [slot for slot in self._free if prefixes[slot] == prefix]
        if same:
            return same[-1]
        held = Counter(p for p in prefixes if p is not None)
        unused = [slot for slot in self._free if prefixes[slot] is None]
        if unused and (prefix not in held or len(unused) > 1 or len(held) > 1):
            return unused[0]
        spare = [s for s in self._free if (p := prefixes[s]) is not None and held[p] > 1]
        if prefix not in held:
            return next(iter(spare or self._free), None)
        return next((s for s in spare if prefixes[s] not in wanted), None)


__all__ = ["Slots"]
