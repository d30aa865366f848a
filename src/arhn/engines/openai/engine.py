"""Any OpenAI-compatible server: vLLM, SGLang, llama.cpp's server, Ollama, hosted APIs.

`connect` asks the servers what they can do (engines/openai/probe.py). The engine it gives sends no more requests
at once than a server handles well, repeats those that got lost, and raises `RequestFailed` where no answer comes.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING, Any

from arhn.engines.loops import LoopThread
from arhn.engines.openai.budget import Budget
from arhn.engines.openai.concurrency import Controller
from arhn.engines.openai.faults import Fault, choose_wait
from arhn.engines.openai.features import Encoded, Encoder
from arhn.engines.openai.listing import has_model
from arhn.engines.openai.outcome import Late, NoConnection, Outcome, ask_once, find_fatal_error, is_about_prompt
from arhn.engines.openai.probe import Found, probe
from arhn.engines.openai.servers import Server, Servers
from arhn.engines.openai.wire import Wire
from arhn.engines.probes import PROBE_MESSAGES, THOUGHT_TOKENS, USUAL_CONTEXT
from arhn.engines.protocol import FAILURES_IN_A_ROW, Capabilities, Completion, Request, RequestFailed, hash_extra
from arhn.errors import ArhnError, EngineError, ServerGone, UsageError

if TYPE_CHECKING:
    # Settings open their engine. So that this isn't a circle, it imports them for annotations only.
    from arhn.engines.openai.settings import Settings

logger = logging.getLogger(__name__)


def connect(settings: Settings, budget: Budget | None = None) -> OpenAIEngine:
    """`open_engine` for code that isn't asynchronous."""
    with LoopThread() as loop:
        engine: OpenAIEngine = loop.run(lambda: open_engine(settings, budget))
    return engine


async def open_engine(settings: Settings, budget: Budget | None = None) -> OpenAIEngine:
    """Ask the servers what they have and can do, and make an engine of them.

    Servers that aren't there are left out until they come, as long as one is.

    Args:
        budget: what may be spent; without a limit unless given.

    Raises:
        ServerGone, KeyRefused, UnknownModel, OtherApi, ContextTooShort: see errors.py.
        EngineError: the servers don't serve the same model in the same way.
        UsageError: a URL that isn't one.
    """
    servers = [Server(base, Controller(settings.concurrency)) for base in settings.bases]
    if not servers:
        raise UsageError("engine.urls: none given. Give one such as http://localhost:8000/v1")
    answers = await asyncio.gather(*(_probe_server(server, settings) for server in servers), return_exceptions=True)
    found: list[Found] = []
    for server, answer in zip(servers, answers, strict=True):
        if isinstance(answer, ServerGone) and any(isinstance(a, Found) for a in answers):
            logger.warning("%s", answer)
            server.away = asyncio.get_running_loop().time()
        elif isinstance(answer, BaseException):
            raise answer
        else:
            found.append(answer)
    _require_equal(servers, answers)
    return OpenAIEngine(settings, servers, found, budget or Budget())


async def _probe_server(server: Server, settings: Settings) -> Found:
    wire = Wire(server.base, settings.key, settings.timeouts)
    try:
        return await probe(wire, server.name, settings, random.Random())  # noqa: S311 - no secret depends on it  # nosec B311 - no secret depends on it
    finally:
        await wire.aclose()


def _require_equal(servers: Sequence[Server], answers: Sequence[Found | BaseException]) -> None:
    """Answers of different servers go into the same output, so they must be made in the same way."""
    ways = {
        server.name: f"{answer.model} {answer.features.identity}"
        for server, answer in zip(servers, answers, strict=True)
        if isinstance(answer, Found)
    }
    if len(set(ways.values())) > 1:
        listed = "; ".join(f"{name}: {what}" for name, what in ways.items())
        raise EngineError(f"these servers don't answer in the same way: {listed}. Give servers of one kind and model")


class OpenAIEngine:
    """Servers that were probed. Made by `open_engine` or `connect`.

    What is open belongs to the event loop that it was opened in, and is closed with it (`asyncio.run` and `LoopThread`
    close asynchronous generators).
    """

    def __init__(self, settings: Settings, servers: Sequence[Server], found: Sequence[Found], budget: Budget) -> None:
        features = found[0].features
        self.model = f"{found[0].model} {features.identity}{hash_extra(settings.body)}"
        self.features = features
        self.servers = tuple(servers)
        self.budget = budget
        self.capabilities = Capabilities(
            constraints=features.way is not None,
            logprobs=features.top > 0,
            concurrency=settings.concurrency * len(servers),
            context=_choose_context(settings, found),
        )
        self._settings = settings
        self._name = found[0].model
        self._encoder = Encoder(found[0].model, features, thinking_tokens=settings.thinking_tokens, extra=settings.body)
        self._rng = random.Random()  # noqa: S311 - no secret depends on it  # nosec B311 - no secret depends on it
        self._failures = 0
        self._open = 0
        self._idle = asyncio.Event()
        self._generator: AsyncGenerator[Servers] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._session: Servers | None = None

    async def complete(self, request: Request) -> Completion:
        """The answer to one request; raises as `Engine.complete` does."""
        servers = self._session if self._loop is asyncio.get_running_loop() else await self._open_connections()
        assert servers is not None  # nosec B101 - narrows a type
        encoded = self._encoder.encode(request)
        guess = encoded.guess, encoded.most
        await self._reserve(guess)
        self._open += 1
        try:
            completion = await self._ask_until_answered(servers, encoded, request.alternatives)
        except RequestFailed as error:
            self._failures += 1
            if self._failures >= FAILURES_IN_A_ROW:
                raise EngineError(f"{self._failures} requests in a row failed, at last with: {error}") from error
            raise
        finally:
            self._open -= 1
            self.budget.release(*guess)
            if not self._open:
                self._idle.set()
        self._failures = 0
        return completion

    async def aclose(self) -> None:
        """Close what is open in the running event loop."""
        # In another loop than it was opened in there is nothing to close: that loop has done it at its end.
        if self._generator is not None and self._loop is asyncio.get_running_loop():
            await self._generator.aclose()
        self._forget()

    @property
    def served_model(self) -> str:
        """The model, as the servers call it."""
        return self._name

    @property
    def described(self) -> str:
        """What was found out, in a line."""
        return f"{self._name}: {self.features.described}; context {self.capabilities.context}"

    def report(self) -> dict[str, Any]:
        """What was found and used, for the summary. No key, and no address with a password, is in it."""
        features = self.features
        return {
            "model": self._name,
            "constraints": {"way": features.way, "kinds": sorted(features.kinds)},
            "top_logprobs": features.top,
            "continues": features.continues,
            "thinking": "on" if features.thinks else "off",
            "context": self.capabilities.context,
            "servers": {server.name: dict(sorted(server.counts.items())) for server in self.servers},
            "spent": dict(self.budget.report()),
        }

    async def _open_connections(self) -> Servers:
        """Connections for this event loop."""
        self._loop = asyncio.get_running_loop()
        self._idle = asyncio.Event()
        self._generator = self._open_session()
        self._session = await anext(self._generator)
        return self._session

    async def _open_session(self) -> AsyncGenerator[Servers]:
        settings = self._settings
        wires = {s.name: Wire(s.base, settings.key, settings.timeouts) for s in self.servers}
        session = Servers(self.servers, wires, self._is_back, patience=settings.timeouts.patience)
        try:
            yield session
        finally:
            await session.aclose()
            self._forget()

    def _forget(self) -> None:
        self._loop = self._session = self._generator = None

    async def _is_back(self, server: Server, wire: Wire) -> bool:
        return await has_model(wire, server.name, self._name, self._settings)

    async def _reserve(self, guess: tuple[int, int]) -> None:
        try:
            self.budget.reserve(*guess)
        except ArhnError:
            # What is under way is paid for: its answers come first.
            while self._open:
                self._idle.clear()
                await self._idle.wait()
            raise

    async def _ask_until_answered(self, servers: Servers, encoded: Encoded, alternatives: int) -> Completion:
        attempts = tries = 0
        loop = asyncio.get_running_loop()
        until = loop.time() + self._settings.timeouts.total
        while True:
            server = await servers.acquire()
            started = loop.time()
            try:
                found = await self._ask(servers, server, encoded, alternatives)
                self._record(servers, server, found, encoded.kind, started, loop.time())
            finally:
                servers.release(server)
            if isinstance(found, Completion):
                self.budget.record_answer(found, encoded.guess)
                return found
            if isinstance(found, Fault) and found.kind == "context":
                return Completion(text="", finish="context", prompt_tokens=found.needed)
            tries += 1
            attempts += counts_as_attempt(found)
            over = attempts >= self._settings.attempts or loop.time() > until
            await self._raise_hopeless(servers, server, found, tries, over=over)
            if attempts or isinstance(found, Fault):
                await asyncio.sleep(choose_wait(tries, found.wait if isinstance(found, Fault) else None, self._rng))

    async def _raise_hopeless(
        self, servers: Servers, server: Server, found: Fault | NoConnection | Late, tries: int, *, over: bool
    ) -> None:
        """Raise where asking again can't help, or has been done often enough."""
        if isinstance(found, Fault):
            error = find_fatal_error(found, server.name, self._name, self._settings.key)
            # A server that has answered before may say anything while it starts again.
            answered = server.counts.get("answered")
            if error is not None and (over or tries > 1 or not answered):
                if is_about_prompt(found) and await self._answers_others(servers, server):
                    over = True
                elif over or not answered:
                    raise error
            over = over or found.kind == "refused"
        if over or not self.budget.count_retry():
            raise RequestFailed(found.reason, attempts=tries)

    async def _answers_others(self, servers: Servers, server: Server) -> bool:
        """Whether a server answers the question that it was probed with: then a refusal was about its prompt."""
        if not self.budget.count_retry():
            return False
        encoded = self._encoder.encode(Request(messages=PROBE_MESSAGES, max_tokens=THOUGHT_TOKENS))
        return isinstance(await self._ask(servers, server, encoded, 0), Completion)

    async def _ask(self, servers: Servers, server: Server, encoded: Encoded, alternatives: int) -> Outcome:
        wire = servers.wires[server.name]
        return await ask_once(
            lambda: wire.ask(encoded.body),
            encoded,
            thinks=self.features.thinks,
            alternatives=alternatives if self.features.top else 0,
            key=self._settings.key,
        )

    def _record(self, servers: Servers, server: Server, found: Outcome, kind: int, started: float, now: float) -> None:
        """Note what an outcome shows of the server."""
        controller = server.controller
        match found:
            case Completion():
                server.count("answered")
                servers.record_reply(server)
                controller.record_answer(kind, started, now)
            case NoConnection():
                server.count("dropped")
                servers.record_drop(server, refused=found.refused)
            case Late():
                server.count("late")
                controller.record_congestion(started, now)
            case Fault():
                server.count(found.kind)
                servers.record_reply(server)
                if found.kind == "busy":
                    controller.record_congestion(started, now)
                    if found.wait:
                        servers.pause(server, found.wait)


def counts_as_attempt(found: Outcome) -> bool:
    """Whether a try counts as one of those that a request has: not where it wasn't sent, or the server was busy."""
    if isinstance(found, Fault):
        return found.kind != "busy"
    return not (isinstance(found, NoConnection) and found.refused)


def _choose_context(settings: Settings, found: Sequence[Found]) -> int:
    served = min((f.context for f in found if f.context is not None), default=None)
    if served is not None and settings.context is not None and settings.context > served:
        logger.warning(
            "engine.context %d: the server has %d, which is used; longer passages are cut", settings.context, served
        )
    return min(filter(None, (served, settings.context)), default=USUAL_CONTEXT)


__all__ = ["OpenAIEngine", "connect", "open_engine"]
