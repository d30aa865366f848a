"""Event loops of code that isn't asynchronous."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import AsyncGenerator
from concurrent.futures import CancelledError

import pytest

from arhn.engines.loops import BackgroundLoop, LoopThread, run_outside_loops


@pytest.fixture
def loop() -> BackgroundLoop:
    return BackgroundLoop("test")


async def named(seconds: float = 0.0) -> str:
    await asyncio.sleep(seconds)
    return threading.current_thread().name


def test_a_background_loop_runs_several_at_once(loop: BackgroundLoop) -> None:
    barrier = asyncio.Barrier(3)

    async def met() -> str:
        async with asyncio.timeout(10):
            await barrier.wait()
        return await named()

    assert [future.result() for future in [loop.submit(met()) for _ in range(3)]] == ["test"] * 3
    loop.stop()


def test_cancelling_reaches_the_coroutine(loop: BackgroundLoop) -> None:
    ended = threading.Event()

    async def waits() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    future = loop.submit(waits())
    loop.submit(named()).result()
    future.cancel()
    assert ended.wait(10)
    loop.stop()


def test_a_stopped_loop_cancels_what_runs_and_takes_nothing(loop: BackgroundLoop) -> None:
    future = loop.submit(named(60))
    loop.stop()
    with pytest.raises(CancelledError):
        future.result()
    with pytest.raises(RuntimeError):
        loop.submit(named())
    loop.stop()
    assert "test" not in [thread.name for thread in threading.enumerate()]


def test_outside_loops() -> None:
    def no_loop() -> str:
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        return threading.current_thread().name

    async def inside() -> str:
        return run_outside_loops(no_loop)

    here = threading.current_thread().name
    assert run_outside_loops(no_loop) == here
    assert asyncio.run(inside()) != here


def test_a_loop_thread_stands_still_between_calls() -> None:
    """What a run's callbacks and its store rely on."""
    steps: list[int] = []

    async def goes_on() -> None:
        while True:
            steps.append(len(steps))
            await asyncio.sleep(0)

    async def start() -> asyncio.Task[None]:
        return asyncio.create_task(goes_on())

    async def wait(task: asyncio.Task[None]) -> None:
        await asyncio.wait([task], timeout=0.01)

    with LoopThread() as loop:
        task = loop.run(start)
        loop.run(lambda: wait(task))
        done = len(steps)
        threading.Event().wait(0.05)
        assert len(steps) == done > 1
        loop.run(lambda: wait(task))
        assert len(steps) > done
        task.cancel()


def test_a_generator_that_was_interrupted_can_be_closed() -> None:
    closed: list[str] = []

    async def numbers() -> AsyncGenerator[int]:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(60)
            yield 1
        finally:
            await asyncio.sleep(0.05)
            closed.append("yes")

    stream = numbers()
    with LoopThread() as loop:
        with pytest.raises(KeyboardInterrupt):
            loop.run(lambda: anext(stream))
        loop.run(stream.aclose)
        assert closed == ["yes"]
