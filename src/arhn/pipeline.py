"""Groups in, cleaned groups out, in input order.

A bounded window of groups is in work; every answer goes through the store.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from arhn import prompts
from arhn.config import CleanConfig
from arhn.engines import Completion, Engine, Request, RequestFailed
from arhn.extract import (
    MAX_SNIPPET_TOKENS,
    Answer,
    calibration_for,
    extraction_request,
    mean_log_odds,
    read_answer,
    settle,
    shorter,
)
from arhn.rank import ranking_request, read_ranking, shown_order
from arhn.relabel import candidates, decide
from arhn.spans import align
from arhn.store import MemoryStore, ResponseStore
from arhn.types import CleanedGroup, Decision, Extraction, Group, Passage, Ranking, Reason

Stage = Literal["extract", "rank"]
#: Tokens to leave for what stands around a snippet when a passage is cut to fit.
MARKUP_TOKENS = 16


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

    def count(self, completion: Completion | None, *, asked: bool) -> None:
        """Count one request and its outcome; `asked`: it was this request that went to the engine."""
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
    """What a run has done so far; safe to read while it runs."""

    extract: StageStats = field(default_factory=StageStats)
    rank: StageStats = field(default_factory=StageStats)

    def of(self, stage: Stage) -> StageStats:
        return self.extract if stage == "extract" else self.rank


class Asker:
    """Answers requests from the store, else from the engine; equal requests in flight are asked once."""

    def __init__(self, engine: Engine, store: ResponseStore, stats: Stats) -> None:
        self._engine = engine
        self._store = store
        self._stats = stats
        self._flying: dict[bytes, asyncio.Task[Completion | None]] = {}

    async def ask(self, stage: Stage, requests: Sequence[Request]) -> list[Completion | None]:
        """One completion per request, in order; None for a request that failed."""
        keys = [request.key(self._engine.model) for request in requests]
        answers: dict[bytes, Completion | None] = dict(self._store.get_many(keys))
        mine = {key for key in keys if key not in answers and key not in self._flying}
        missing = {k: self._fly(stage, k, r) for k, r in zip(keys, requests, strict=True) if k not in answers}
        for key, task in missing.items():
            # Shielded: a task may be shared, and another group must not lose it with this one.
            answers[key] = await asyncio.shield(task)
        stats = self._stats.of(stage)
        for key in keys:
            stats.count(answers[key], asked=key in mine)
            mine.discard(key)
        return [answers[key] for key in keys]

    def _fly(self, stage: Stage, key: bytes, request: Request) -> asyncio.Task[Completion | None]:
        task = self._flying.get(key)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._asked(stage, key, request))
            self._flying[key] = task
            task.add_done_callback(lambda done: self._landed(key, done))
        return task

    def _landed(self, key: bytes, task: asyncio.Task[Completion | None]) -> None:
        self._flying.pop(key, None)
        # Looked at here, for whoever waited for it may be gone: the first error ends the run.
        if not task.cancelled():
            task.exception()

    async def _asked(self, stage: Stage, key: bytes, request: Request) -> Completion | None:
        stats = self._stats.of(stage)
        stats.begin()
        try:
            completion = await self._engine.complete(request)
        except RequestFailed:
            return None
        finally:
            stats.end()
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


@dataclass(slots=True)
class _Parts:
    """A group taken apart: what is asked about, what isn't and why."""

    used: list[Passage]
    asked: list[Passage]
    unused: list[Passage]
    copies: dict[str, str]


def _parts(group: Group, limit: int | None) -> _Parts:
    negatives = len(group.negatives) if limit is None else limit
    used = [*group.positives, *group.negatives[:negatives]]
    firsts: dict[Content, Passage] = {}
    for passage in used:
        firsts.setdefault(_content(passage), passage)
    return _Parts(
        used=used,
        asked=list(firsts.values()),
        unused=list(group.negatives[negatives:]),
        copies={p.doc_id: first.doc_id for p in used if (first := firsts[_content(p)]) is not p},
    )


Content = tuple[str, str]


def _content(passage: Passage) -> Content:
    """What makes two passages the same: title and text, but for whitespace."""
    return " ".join(passage.title.split()), " ".join(passage.text.split())


class Cleaner:
    """Cleans one group at a time with an engine; everything it asks goes through `asker`."""

    def __init__(self, engine: Engine, asker: Asker, config: CleanConfig) -> None:
        self._asker = asker
        self._config = config
        self._room = engine.capabilities.context - MAX_SNIPPET_TOKENS - MARKUP_TOKENS
        self._extract = prompts.load(config.extract_prompt)
        self._rank = prompts.load(config.rank_prompt)
        self._calibration = calibration_for(engine.model, self._extract)

    async def clean(self, group: Group) -> CleanedGroup:
        """Both stages and the decisions of one group."""
        parts = _parts(group, self._config.negatives)
        answers = await self._answers(group.query, parts.asked)
        mean = mean_log_odds(answers)
        asked = settle(answers, parts.asked, self._calibration, mean=mean)
        extractions = _with_copies({e.doc_id: e for e in asked}, parts)
        ranking = await self._ranking(group, extractions, parts.copies)
        decisions = decide(
            group,
            extractions,
            ranking,
            mode=self._config.mode,
            copies=parts.copies,
            unused=frozenset(p.doc_id for p in parts.unused),
        )
        left = sum(d.action == "keep" for d in decisions) - len(group.positives)
        if self._config.floor_policy == "backfill" and left < self._config.floor:
            taken = await self._backfill(group, parts, extractions, mean, self._config.floor - left)
            decisions = tuple(_taken_in(d) if d.doc_id in taken else d for d in decisions)
            left += len(taken)
        return CleanedGroup(
            group=group,
            decisions=decisions,
            extractions=tuple(extractions[p.doc_id] for p in group.passages if p.doc_id in extractions),
            ranking=ranking,
            below_floor=left < self._config.floor,
            dropped=left < self._config.floor and self._config.floor_policy == "drop",
        )

    async def _answers(self, query: str, passages: Sequence[Passage]) -> list[Answer]:
        requests = [extraction_request(query, p, self._extract, self._calibration) for p in passages]
        completions = await self._asker.ask("extract", requests)
        return [
            read_answer(completion, passage, self._extract)
            if completion is None or completion.finish != "context"
            else await self._cut_answer(query, passage, completion)
            for passage, completion in zip(passages, completions, strict=True)
        ]

    async def _cut_answer(self, query: str, passage: Passage, completion: Completion) -> Answer:
        """Ask again about a shorter passage until the prompt fits, or nothing of it is left."""
        refused: Completion | None = completion
        shown: Passage | None = passage
        while refused is not None and refused.finish == "context" and shown is not None:
            shown = shorter(shown, refused.prompt_tokens, self._room)
            if shown is not None:
                request = extraction_request(query, shown, self._extract, self._calibration)
                [refused] = await self._asker.ask("extract", [request])
        return read_answer(refused, shown or passage, self._extract, was_cut=True)

    async def _ranking(
        self, group: Group, extractions: dict[str, Extraction], copies: dict[str, str]
    ) -> Ranking | None:
        ranked = shown_order(group.query, candidates(group, extractions, copies))
        if not ranked:
            return None
        [completion] = await self._asker.ask("rank", [ranking_request(group.query, ranked, extractions, self._rank)])
        return read_ranking(completion, ranked)

    async def _backfill(
        self, group: Group, parts: _Parts, extractions: dict[str, Extraction], mean: float, wanted: int
    ) -> frozenset[str]:
        """Ask unused negatives in their order until enough of them don't answer; returns those."""
        taken: list[str] = []
        seen = {_content(p) for p in parts.used}
        for passage in parts.unused:
            if len(taken) == wanted:
                break
            if _content(passage) in seen:
                continue
            seen.add(_content(passage))
            answers = await self._answers(group.query, [passage])
            [extraction] = settle(answers, [passage], self._calibration, mean=mean)
            extractions[passage.doc_id] = extraction
            if extraction.status == "no_answer":
                taken.append(passage.doc_id)
        return frozenset(taken)


def _taken_in(decision: Decision) -> Decision:
    return replace(decision, action="keep", reason=Reason.BACKFILL)


def _with_copies(extractions: dict[str, Extraction], parts: _Parts) -> dict[str, Extraction]:
    for passage in parts.used:
        if passage.doc_id in parts.copies:
            extractions[passage.doc_id] = _copied(extractions[parts.copies[passage.doc_id]], passage)
    return extractions


def _copied(original: Extraction, passage: Passage) -> Extraction:
    copied = replace(original, doc_id=passage.doc_id)
    if original.snippet is None:
        return copied
    span = align(original.snippet, passage.text)
    if span is None:
        return replace(copied, status="unknown", snippet=None, start=None, end=None)
    start, end = span
    return replace(copied, snippet=passage.text[start:end], start=start, end=end)


async def aclean(
    groups: Iterable[Group],
    *,
    engine: Engine,
    config: CleanConfig | None = None,
    store: ResponseStore | None = None,
    stats: Stats | None = None,
) -> AsyncGenerator[CleanedGroup]:
    """Clean groups as they are read; yields in input order, holding only a window of them in memory.

    Args:
        groups: read lazily.
        engine: asked for every answer that the store doesn't hold. Not closed.
        store: where answers are kept; in memory unless given, which then grows with the run.
        stats: filled while the run goes on.

    Raises:
        EngineError: the engine is gone; what it answered is in the store.
        ArhnError: whatever reading `groups` raises.
    """
    asker = Asker(engine, store or MemoryStore(), stats or Stats())
    cleaner = Cleaner(engine, asker, config or CleanConfig())
    # A group's ranking waits for its extractions, so several groups keep an engine busy.
    window = 2 + engine.capabilities.concurrency // 2
    flying: deque[asyncio.Task[CleanedGroup]] = deque()
    try:
        for group in groups:
            flying.append(asyncio.create_task(cleaner.clean(group)))
            if len(flying) >= window:
                yield await flying.popleft()
        while flying:
            yield await flying.popleft()
    finally:
        for task in flying:
            task.cancel()
        await asyncio.gather(*flying, return_exceptions=True)
        await asker.abandon()


def clean(
    groups: Iterable[Group],
    *,
    engine: Engine,
    config: CleanConfig | None = None,
    store: ResponseStore | None = None,
    stats: Stats | None = None,
) -> Generator[CleanedGroup]:
    """`aclean` for code that isn't asynchronous; also works where an event loop runs already (notebooks).

    The engine works while the next group is asked for, not while the caller is busy with the last one.
    """
    stream = aclean(groups, engine=engine, config=config, store=store, stats=stats)
    with LoopThread() as loop:
        try:
            while (cleaned := loop.run(lambda: anext(stream, None))) is not None:
                yield cleaned
        finally:
            loop.run(stream.aclose)


class LoopThread:
    """An event loop on a thread of its own that runs one coroutine at a time."""

    def __enter__(self) -> LoopThread:
        self._loop = asyncio.new_event_loop()
        self._pool = ThreadPoolExecutor(1, "arhn")
        return self

    def run(self, make: Callable[[], Awaitable[Any]]) -> Any:
        """Run `make()` to its end; an interrupt in the calling thread cancels it first."""
        future: Future[Any] = self._pool.submit(self._run, make)
        try:
            return future.result()
        except BaseException:
            if not future.done():
                self._loop.call_soon_threadsafe(self._cancel)
            raise

    def _run(self, make: Callable[[], Awaitable[Any]]) -> Any:
        async def awaited() -> Any:
            return await make()

        return self._loop.run_until_complete(awaited())

    def _cancel(self) -> None:
        for task in asyncio.all_tasks(self._loop):
            task.cancel()

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True)
        self._loop.close()


__all__ = ["Asker", "Cleaner", "LoopThread", "StageStats", "Stats", "aclean", "clean"]
