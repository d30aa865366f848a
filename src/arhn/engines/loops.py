"""Asynchronous code for callers that aren't."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")


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


class BackgroundLoop:
    """An event loop that runs on a thread of its own until it is stopped, for what outlives its users' loops.

    The thread doesn't keep the process from ending.
    """

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine; cancelling the future cancels it.

        Raises:
            RuntimeError: the loop was stopped.
        """
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError:
            coroutine.close()
            raise

    def stop(self) -> None:
        """Cancel what runs, and end. May be called again."""
        if not self._loop.is_closed():
            asyncio.run_coroutine_threadsafe(_abandoned(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()


async def _abandoned() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def outside_loops(make: Callable[[], T]) -> T:
    """`make()` where no event loop runs: on another thread, if one runs in this."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return make()
    with ThreadPoolExecutor(1, "arhn") as pool:
        return pool.submit(make).result()
