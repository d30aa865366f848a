"""Asking an engine: from the store where the answer is kept, once where two ask the same, counted always."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, fields
from typing import Literal

from arhn.engines import Completion, Engine, Request, RequestFailed
from arhn.store import ResponseStore

#: What an LLM is asked for; `flag` and `judge` are the two stages of the RLHN cascade.
Stage = Literal["extract", "rank", "fullness", "flag", "judge"]


@dataclass(slots=True)
class Work:
    """A group in work: its query, how many requests about it were made, and how many are expected by now."""

    query_id: str
    made: int = 0
    expected: int = 0


#: The group that is asked about, set by whoever cleans it.
in_work: ContextVar[Work | None] = ContextVar("in_work", default=None)


def query_in_work() -> str | None:
    """The query that is asked about."""
    work = in_work.get()
    return None if work is None else work.query_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A request that failed for good: it got no answer in `attempts` tries. `doc_id` where it was about one passage."""

    stage: Stage
    query_id: str | None
    doc_id: str | None
    reason: str
    attempts: int
    model: str


OnFailure = Callable[[Failure], None]


@dataclass(slots=True)
class StageStats:
    """One stage's requests: `requests` = `asked` + `reused` + `failed` + `too_long`; tokens are those of `asked`.

    `reused` were answered by the store, or are equal to one that was asked at that moment; `too_long` don't
    fit the engine's context. `seconds` is wall time during which at least one of its requests was with the engine.
    """

    requests: int = 0
    asked: int = 0
    reused: int = 0
    failed: int = 0
    too_long: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    in_flight: int = 0
    _since: float = 0.0

    def begin(self) -> None:
        if self.in_flight == 0:
            self._since = time.monotonic()
        self.in_flight += 1

    def end(self) -> None:
        self.in_flight -= 1
        if self.in_flight == 0:
            self.seconds += time.monotonic() - self._since

    def add(self, other: StageStats) -> None:
        """Count what another one has counted, too."""
        for count in fields(StageStats):
            if not count.name.startswith("_"):
                setattr(self, count.name, getattr(self, count.name) + getattr(other, count.name))

    def count(self, completion: Completion | None, *, asked: bool) -> None:
        """Count one request and its outcome; `asked`: it is this request that went to the engine."""
        self.requests += 1
        if completion is None:
            self.failed += 1
        elif completion.finish == "context":
            self.too_long += 1
        elif not asked:
            self.reused += 1
        else:
            self.asked += 1
            self.prompt_tokens += completion.prompt_tokens
            self.cached_tokens += completion.cached_tokens
            self.completion_tokens += completion.completion_tokens


@dataclass(slots=True)
class Stats:
    """What a run has asked so far, by stage; safe to read while it runs.

    `begun` groups are expected to take `expected` requests; what hangs on answers is expected once it is asked for.
    """

    stages: dict[Stage, StageStats] = field(default_factory=dict)
    begun: int = 0
    expected: int = 0

    def of(self, stage: Stage) -> StageStats:
        return self.stages.setdefault(stage, StageStats())

    @property
    def total(self) -> StageStats:
        """All stages together."""
        total = StageStats()
        # A copy: a display on another thread looks at it while stages are added.
        for stage in list(self.stages.values()):
            total.add(stage)
        return total

    def add(self, other: Stats) -> None:
        """Count what another one has counted, too."""
        for name, stage in other.stages.items():
            self.of(name).add(stage)
        self.begun += other.begun
        self.expected += other.expected


class Asker:
    """Answers requests from the store, else from the engine; equal requests in flight are asked once."""

    def __init__(self, engine: Engine, store: ResponseStore, stats: Stats, on_failure: OnFailure | None = None) -> None:
        self._engine = engine
        self._store = store
        self._stats = stats
        self._on_failure = on_failure
        self._flying: dict[bytes, asyncio.Task[Completion | RequestFailed]] = {}

    @property
    def model(self) -> str:
        """Who is asked."""
        return self._engine.model

    async def ask(
        self, stage: Stage, requests: Sequence[Request], doc_ids: Sequence[str | None] = ()
    ) -> list[Completion | None]:
        """One completion per request, in order; None for a request that failed.

        Args:
            doc_ids: the passage that each request is about, if it is a single one, for the record of failures.
        """
        if (work := in_work.get()) is not None:
            work.made += len(requests)
            self.expect(work.made)
        keys = [request.key(self._engine.model) for request in requests]
        answers: dict[bytes, Completion | RequestFailed] = dict(self._store.get_many(keys))
        mine = {key for key in keys if key not in answers and key not in self._flying}
        missing = {k: self._fly(stage, k, r) for k, r in zip(keys, requests, strict=True) if k not in answers}
        for key, task in missing.items():
            # Shielded: a task may be shared, and another group must not lose it with this one.
            answers[key] = await asyncio.shield(task)
        stats = self._stats.of(stage)
        completions: list[Completion | None] = []
        for i, key in enumerate(keys):
            answer = answers[key]
            if isinstance(answer, RequestFailed):
                self._failed(stage, answer, doc_ids[i] if doc_ids else None)
            completions.append(None if isinstance(answer, RequestFailed) else answer)
            if key not in mine:
                stats.count(completions[-1], asked=False)
            mine.discard(key)
        return completions

    def expect(self, requests: int) -> None:
        """Say that the group in work will take at least so many requests."""
        work = in_work.get()
        if work is not None and requests > work.expected:
            self._stats.begun += not work.expected
            self._stats.expected += requests - work.expected
            work.expected = requests

    def _failed(self, stage: Stage, error: RequestFailed, doc_id: str | None) -> None:
        if self._on_failure is not None:
            self._on_failure(
                Failure(
                    stage=stage,
                    query_id=query_in_work(),
                    doc_id=doc_id,
                    reason=str(error),
                    attempts=error.attempts,
                    model=self._engine.model,
                )
            )

    def _fly(self, stage: Stage, key: bytes, request: Request) -> asyncio.Task[Completion | RequestFailed]:
        task = self._flying.get(key)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._asked(stage, key, request))
            self._flying[key] = task
            task.add_done_callback(lambda done: self._landed(key, done))
        return task

    def _landed(self, key: bytes, task: asyncio.Task[Completion | RequestFailed]) -> None:
        self._flying.pop(key, None)
        # Looked at here, for whoever waited for it may be gone: the first error ends the run.
        if not task.cancelled():
            task.exception()

    async def _asked(self, stage: Stage, key: bytes, request: Request) -> Completion | RequestFailed:
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
            self._store.put(key, completion)
        return completion

    async def abandon(self) -> None:
        """Give up what is in flight."""
        flying = list(self._flying.values())
        for task in flying:
            task.cancel()
        await asyncio.gather(*flying, return_exceptions=True)
