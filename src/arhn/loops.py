"""Asynchronous code for callers that aren't."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class LoopThread:
    """An event loop on a thread of its own that runs one coroutine at a time."""

    def __enter__(self) -> LoopThread:
        self._loop = asyncio.new_event_loop()
        self._pool = ThreadPoolExecutor(1, "arhn")
        # A thread that is interrupted while it starts another one loses sight of it, and nobody waits for its end.
        self._pool.submit(lambda: None).result()
        return self

    def run(self, make: Callable[[], Awaitable[Any]]) -> Any:
        """Run `make()` to its end; an interrupt in the calling thread cancels it first."""
        future: Future[Any] = self._pool.submit(self._run, make)
        try:
            return future.result()
        except BaseException:
            if not future.done():
                self._loop.call_soon_threadsafe(self._cancel, future)
            raise

    def _run(self, make: Callable[[], Awaitable[Any]]) -> Any:
        async def awaited() -> Any:
            return await make()

        return self._loop.run_until_complete(awaited())

    def _cancel(self, future: Future[Any]) -> None:
        # Done, it is the next coroutine that runs by now.
        if not future.done():
            for task in asyncio.all_tasks(self._loop):
                task.cancel()

    def __exit__(self, *_: object) -> None:
        # What engines keep open in this loop are asynchronous generators, as asyncio.run closes them too.
        self._pool.submit(self._loop.run_until_complete, self._loop.shutdown_asyncgens()).result()
        self._pool.shutdown(wait=True)
        self._loop.close()
