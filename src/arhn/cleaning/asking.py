"""Asking an LLM: from the store where it holds the answer, once where two groups ask the same, and always counted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Generic, TypeVar

from arhn.cleaning.stats import Failure, OnFailure, Stage, Stats
from arhn.engines import Capabilities, Completion, Engine, Request, RequestFailed
from arhn.errors import ArhnError
from arhn.store import Marking, ResponseStore
from arhn.texts.foreign import make_line

T = TypeVar("T")
#: Characters of an unreadable answer that are shown.
_SHOWN = 60


@dataclass(slots=True)
class GroupRequests:
    """The requests about one group: its query, how many were made, and how many are expected by now."""

    query_id: str
    made: int = 0
    expected: int = 0


#: Those about the group that is being cleaned; the pipeline sets it.
current_group: ContextVar[GroupRequests | None] = ContextVar("current_group", default=None)


def find_current_query() -> str | None:
    """The id of the query whose group is being cleaned; None outside of that."""
    group = current_group.get()
    return None if group is None else group.query_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted(Generic[T]):
    """What was asked about at last, and the answers. `fits`: they are answers, and no prompt was too long for them."""

    shown: T
    answers: Sequence[Completion | None]
    fits: bool


class InFlight:
    """The requests of a run that are with engines. After the first answer that can't be stored, none is sent."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self._tasks: set[asyncio.Task[Completion | RequestFailed]] = set()

    def add(self, task: asyncio.Task[Completion | RequestFailed]) -> None:
        """Follow a request to its end."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def stop(self, error: Exception) -> None:
        """Send nothing any more, and give up what was sent: its answers would be lost."""
        self.error = self.error or error
        for task in self._tasks - {asyncio.current_task()}:
            task.cancel()


class Asker:
    """Answers requests from the store, else by the engine; equal requests in flight are asked once.

    Args:
        store: where answers are looked up and put.
        stats: counts every request.
        on_failure: called with every request that failed for good.
        gathers: the same is asked once more afterwards, and isn't counted again then.
        sent: what all engines of the run were sent.
    """

    def __init__(
        self,
        engine: Engine,
        store: ResponseStore,
        stats: Stats,
        on_failure: OnFailure | None = None,
        *,
        gathers: bool = False,
        sent: InFlight | None = None,
    ) -> None:
        self._engine = engine
        self._sent = sent or InFlight()
        self._gathers = gathers
        self._store = store
        self._stats = stats
        self._on_failure = on_failure
        self._in_flight: dict[bytes, asyncio.Task[Completion | RequestFailed]] = {}

    @property
    def model(self) -> str:
        """The identity of the LLM that is asked."""
        return self._engine.model

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""
        return self._engine.capabilities

    async def ask(
        self, stage: Stage, requests: Sequence[Request], doc_ids: Sequence[str | None] = ()
    ) -> list[Completion | None]:
        """One completion per request, in order; None for a request that failed for good.

        Args:
            stage: what they are counted as.
            doc_ids: the passage that each request is about, if it is a single one, for the record of failures.

        Raises:
            EngineError: the engine is gone.
        """
        if (group := current_group.get()) is not None:
            group.made += len(requests)
            self.expect_requests(group.made)
        keys = [request.key(self._engine.model) for request in requests]
        answers: dict[bytes, Completion | RequestFailed] = dict(self._store.get_many(keys))
        mine = {key for key in keys if key not in answers and key not in self._in_flight}
        missing = {k: self._send(stage, k, r) for k, r in zip(keys, requests, strict=True) if k not in answers}
        for key, task in missing.items():
            # Shielded: a task may be shared, and another group must not lose it with this one.
            answers[key] = await self._wait_for(task)
        stats = self._stats.of(stage)
        completions: list[Completion | None] = []
        for i, key in enumerate(keys):
            answer = answers[key]
            if isinstance(answer, RequestFailed):
                self._report_failure(stage, answer, doc_ids[i] if doc_ids else None)
            completions.append(None if isinstance(answer, RequestFailed) else answer)
            if key.hex() in self._stats.gathered.keys and not self._gathers:
                self._stats.gathered.keys.discard(key.hex())
            elif key not in mine:
                stats.count(completions[-1], asked=False)
            mine.discard(key)
        if self._gathers:
            self._stats.gathered.keys |= {
                key.hex() for key, answer in answers.items() if isinstance(answer, Completion)
            }
        return completions

    async def ask_fitting(
        self,
        stage: Stage,
        shown: T,
        requests: Callable[[T], Sequence[Request]],
        less: Callable[[T, Completion], T | None],
        *,
        doc_id: str | None = None,
        answers: Sequence[Completion | None] | None = None,
    ) -> Fitted[T]:
        """Ask about something, and about less of it as long as a prompt doesn't fit the engine's context.

        Args:
            shown: what to ask about first.
            requests: asks about it; one question or several.
            less: what to ask about instead, from the answer that says how long its prompt was; None where nothing is
                left to take away.
            doc_id: the passage that it is about, if it is a single one, for the record of failures.
            answers: those to the first requests, where they were asked already.
        """
        while True:
            if answers is None:
                asked = requests(shown)
                answers = await self.ask(stage, asked, [doc_id] * len(asked))
            too_long = next((a for a in answers if a is not None and a.finish == "context"), None)
            smaller = None if too_long is None else less(shown, too_long)
            if smaller is None:
                return Fitted(shown=shown, answers=answers, fits=too_long is None)
            shown, answers = smaller, None

    def record_too_long(self) -> None:
        """Note that the current group's query leaves no room for a passage."""
        if (query_id := find_current_query()) is not None and not self._gathers:
            self._stats.too_long.add(query_id)

    def record_unreadable(self, requests: Sequence[Request], answers: Sequence[Completion | None]) -> None:
        """Note whole answers that nothing could be made of: they are counted, and the store can forget them."""
        if self._gathers:
            return
        for request, answer in zip(requests, answers, strict=True):
            if answer is None or answer.finish not in ("stop", "length"):
                continue
            self._stats.count_unreadable(make_line(answer.text, _SHOWN))
            if isinstance(self._store, Marking):
                self._store.mark_unreadable(request.key(self._engine.model))

    def expect_requests(self, requests: int) -> None:
        """Say that the current group will take at least so many requests, for the time left."""
        group = current_group.get()
        if group is None:
            return
        if not group.expected:
            group.expected = self._stats.gathered.groups.pop(group.query_id, 0)
        if requests > group.expected:
            self._stats.begun += not group.expected
            self._stats.expected += requests - group.expected
            group.expected = requests
        if self._gathers:
            self._stats.gathered.groups[group.query_id] = group.expected

    def _report_failure(self, stage: Stage, error: RequestFailed, doc_id: str | None) -> None:
        if self._on_failure is not None:
            self._on_failure(
                Failure(
                    stage=stage,
                    query_id=find_current_query(),
                    doc_id=doc_id,
                    reason=str(error),
                    attempts=error.attempts,
                    model=self._engine.model,
                )
            )

    async def _wait_for(self, task: asyncio.Task[Completion | RequestFailed]) -> Completion | RequestFailed:
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if self._sent.error is not None and task.cancelled():
                raise self._sent.error from None
            raise

    def _send(self, stage: Stage, key: bytes, request: Request) -> asyncio.Task[Completion | RequestFailed]:
        task = self._in_flight.get(key)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._complete(stage, key, request))
            self._in_flight[key] = task
            self._sent.add(task)
            task.add_done_callback(lambda done: self._settle(key, done))
        return task

    def _settle(self, key: bytes, task: asyncio.Task[Completion | RequestFailed]) -> None:
        self._in_flight.pop(key, None)
        # The first error ends the run, so nobody may be waiting for this one any more; Python would complain of that.
        if not task.cancelled():
            task.exception()

    async def _complete(self, stage: Stage, key: bytes, request: Request) -> Completion | RequestFailed:
        if self._sent.error is not None:
            raise self._sent.error
        stats = self._stats.of(stage)
        stats.begin()
        try:
            completion = await self._engine.complete(request)
        except RequestFailed as error:
            stats.count(None, asked=True)
            return error
        finally:
            stats.end()
        # Now, not when the last one of its group has come: with a lookahead that takes long.
        stats.count(completion, asked=True)
        # That a prompt doesn't fit says something of this engine's settings, not of the question.
        if completion.finish != "context":
            try:
                self._store.put(key, completion)
            except ArhnError as error:
                self._sent.stop(error)
                raise
        return completion

    async def abandon(self) -> None:
        """Give up what is in flight."""
        in_flight = list(self._in_flight.values())
        for task in in_flight:
            task.cancel()
        await asyncio.gather(*in_flight, return_exceptions=True)
