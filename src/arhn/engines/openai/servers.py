"""Several servers of one model: who gets the next request, who is away, and when it is looked for again.

All of this runs in one event loop; `Controller`s and what is known of a server outlive it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import httpx

from arhn.engines.openai.concurrency import Controller
from arhn.engines.openai.wire import Wire
from arhn.errors import ServerGone

logger = logging.getLogger(__name__)

#: Connections that end without an answer, one after the other, until a server counts as away.
DROPS = 3
#: Seconds until a server that is away is looked for: at first, and at most.
LOOK_FIRST, LOOK_MOST = 0.25, 15.0


@dataclass(slots=True)
class Server:
    """One server. `paused`: when it may be asked again, where it named a time; `away`: since when it
    wasn't there; both in monotonic time. `drops`: connections lost in a row.
    """

    base: httpx.URL
    controller: Controller
    paused: float = 0.0
    away: float | None = None
    drops: int = 0
    looks: int = 0
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """How it is called in messages."""
        return str(self.base)

    def count(self, what: str) -> None:
        """Count one event, for the summary."""
        self.counts[what] = self.counts.get(what, 0) + 1


Look = Callable[[Server, Wire], Awaitable[bool]]


class Servers:
    """Hands out servers, each to as many requests as its controller allows; the one with the most room first.

    Args:
        look: whether a server that was away is back.
        patience: seconds without any server until it is given up.
    """

    def __init__(self, servers: Sequence[Server], wires: dict[str, Wire], look: Look, *, patience: float) -> None:
        self._servers = servers
        self.wires = wires
        self._look = look
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[asyncio.Future[Server]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        for server in servers:
            if server.away is not None:
                self._leave(server)

    async def acquire(self) -> Server:
        """A server with room; give it back with `release`.

        Raises:
            ServerGone: there has been none at all for too long.
        """
        server = self._best() if not self._waiting else None
        if server is None:
            server = await self._queue()
        return server

    def release(self, server: Server) -> None:
        """Say that a request to `server` has ended."""
        server.controller.end()
        self._assign()

    def pause(self, server: Server, seconds: float) -> None:
        """Leave a busy server alone for a while."""
        server.paused = max(server.paused, self._loop.time() + seconds)

    def record_drop(self, server: Server, *, refused: bool) -> None:
        """A connection failed: `refused`, none was made; else it ended without an answer."""
        server.drops += 1
        if (refused or server.drops >= DROPS) and server.away is None:
            logger.warning("%s doesn't answer; looking for it again until it is back", server.name)
            self._leave(server)

    def record_reply(self, server: Server) -> None:
        """It answered: it isn't away."""
        server.drops = 0

    async def aclose(self) -> None:
        """Close the connections, and end what looks after servers that are away."""
        if self._timer is not None:
            self._timer.cancel()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for wire in self.wires.values():
            await wire.aclose()

    async def _queue(self) -> Server:
        waiting: asyncio.Future[Server] = self._loop.create_future()
        self._waiting.append(waiting)
        self._assign()
        try:
            return await waiting
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled() and waiting.exception() is None:
                self.release(waiting.result())
            raise

    def _assign(self) -> None:
        while self._waiting:
            if self._waiting[0].done():  # cancelled; its task hasn't run since
                self._waiting.popleft()
                continue
            server = self._best()
            if server is None:
                self._wake_later()
                return
            self._waiting.popleft().set_result(server)

    def _best(self) -> Server | None:
        now = self._loop.time()
        able = [s for s in self._servers if s.away is None and s.paused <= now and s.controller.room > 0]
        if not able:
            return None
        server = max(able, key=lambda s: s.controller.room)
        server.controller.begin()
        return server

    def _wake_later(self) -> None:
        """Look again when the first pause is over."""
        paused = [s.paused for s in self._servers if s.away is None and s.paused > self._loop.time()]
        if not paused:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(min(paused) + 0.001, self._assign)

    def _leave(self, server: Server) -> None:
        server.away = self._loop.time()
        server.looks = 0
        task = self._loop.create_task(self._wait_until_back(server))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _wait_until_back(self, server: Server) -> None:
        while server.away is not None:
            await asyncio.sleep(min(LOOK_MOST, LOOK_FIRST * 2**server.looks))
            server.looks = min(server.looks + 1, 16)
            if await self._look(server, self.wires[server.name]):
                logger.warning("%s is back", server.name)
                server.away, server.drops = None, 0
                server.controller.restart(self._loop.time())
                self._assign()
            else:
                self._lose_patience()

    def _lose_patience(self) -> None:
        away = [s.away for s in self._servers if s.away is not None]
        if len(away) < len(self._servers) or self._loop.time() - max(away) < self._patience:
            return
        names = ", ".join(s.name for s in self._servers)
        error = ServerGone(
            f"{names}: not there for {self._patience:g} seconds. Every answer so far is kept: start the server again "
            "and run the same command"
        )
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_exception(error)
        self._waiting.clear()


__all__ = ["Server", "Servers"]
