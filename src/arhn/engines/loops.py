"""Asynchronous code for callers that aren't.

Not `anyio.from_thread.start_blocking_portal`, which fits but for this (seen with anyio 4.16):
- Its loop goes on while the caller is busy. Ours stands still between calls, so that a store and the callbacks of a
  run are never used by two threads at once, and one `anext` is one step.
- Cancelling a call returns before the call has ended: an asynchronous generator that was interrupted is then "already
  running" and can't be closed. `LoopThread.run` leaves the loop to the next call only when the one before has ended.
- A Ctrl-C while it starts waits for its thread, which nothing stops, and hangs.
- A portal that is left open is closed by the garbage collector, which waits for its thread. A `BackgroundLoop` that is
  never stopped keeps no process from ending.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """An event loop on a thread of its own that runs one coroutine at a time, also where a loop runs already.

    Leaving the `with` closes the loop's asynchronous generators and ends the thread.
    """

    def __enter__(self) -> LoopThread:
        self._loop = asyncio.new_event_loop()
        self._pool = ThreadPoolExecutor(1, "arhn")
        # Started now: a Ctrl-C while a thread starts would leave one that `__exit__` doesn't wait for.
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
        # Where it is done, the next coroutine runs by now, which must go on.
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
        """Start a coroutine, beside those that run already; cancelling the future cancels it.

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
            asyncio.run_coroutine_threadsafe(_cancel_others(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def run_outside_loops(make: Callable[[], T]) -> T:
    """`make()` where no event loop runs: on another thread, if one runs in this."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return make()
    with ThreadPoolExecutor(1, "arhn") as pool:
        return pool.submit(make).result()
