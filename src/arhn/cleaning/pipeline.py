"""Groups in, cleaned groups out, in input order.

A bounded window of groups is cleaned at once; every answer goes through the store.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterable, Sequence
from contextlib import aclosing
from itertools import chain
from typing import Any, TypeVar

from arhn.cleaning.asking import Asker, GroupRequests, InFlight, current_group
from arhn.cleaning.auto_calibration import make_assumptions, needs_assumptions, take_first
from arhn.cleaning.config import CleanConfig
from arhn.cleaning.extract.stage import Evidence
from arhn.cleaning.first_groups import open_groups
from arhn.cleaning.methods.arhn import Arhn
from arhn.cleaning.methods.method import find_method
from arhn.cleaning.models import Models
from arhn.cleaning.setup import require_fitting
from arhn.cleaning.stats import OnFailure, Stats
from arhn.engines import Engine
from arhn.engines.loops import LoopThread
from arhn.store import MemoryStore, ResponseStore
from arhn.types import CleanedGroup, Group

T = TypeVar("T")


async def aclean_groups(
    groups: Iterable[Group],
    models: Models | Engine,
    *,
    config: CleanConfig | None = None,
    store: ResponseStore | None = None,
    stats: Stats | None = None,
    on_failure: OnFailure | None = None,
) -> AsyncGenerator[CleanedGroup]:
    """Clean groups as they are read; yields in input order, holding only a window of them in memory.

    Args:
        groups: read lazily, once their first ones have settled the families of queries (`open_groups`).
        models: what decisions are made with, or the LLM alone. LLMs are asked for every answer that the store doesn't
            hold, and not closed.
        config: the settings; the usual ones unless given.
        store: where answers are put and looked up; in memory unless given, which then grows with the run.
        stats: filled while the run goes on.
        on_failure: called with every request that failed for good; its passages' labels stay, and the next run asks
            again.

    Raises:
        EngineError: the engine is gone; what it answered is in the store.
        BudgetSpent: what the engine may spend is spent; likewise.
        UsageError, CalibrationError: the configuration asks for what these models don't have.
        ArhnError: any error of reading `groups`.
    """
    models = Models.of(models)
    askers = _Askers(store or MemoryStore(), stats or Stats(), on_failure)
    config, groups = open_groups(groups, config or CleanConfig())
    if _assumes(config, models):
        first = take_first(groups, config)
        config = await assume(first, models, config=config, store=askers.store, stats=askers.stats)
        groups = chain(first, groups)
    method = find_method(config)(config, models, askers.get)
    async with aclosing(_clean_in_order(groups, method.clean, models, askers)) as cleaned:
        async for each in cleaned:
            yield each


async def aevidence(
    groups: Iterable[Group],
    models: Models,
    *,
    config: CleanConfig,
    store: ResponseStore,
    stats: Stats,
    on_failure: OnFailure | None = None,
    gathers: bool = False,
) -> AsyncGenerator[Evidence]:
    """What confidences are made from, group by group in input order: extraction without the negatives' snippets.

    No calibration is needed. Raises as `aclean_groups` does.

    Args:
        gathers: the same groups are cleaned afterwards: what is asked isn't counted again then.
    """
    askers = _Askers(store, stats, on_failure, gathers=gathers)
    config, groups = open_groups(groups, config)
    arhn = Arhn(config, models, askers.get, calibrated=False)
    async with aclosing(_clean_in_order(groups, arhn.gather_evidence, models, askers)) as found:
        async for each in found:
            yield each


async def assume(
    first: Sequence[Group], models: Models, *, config: CleanConfig, store: ResponseStore, stats: Stats
) -> CleanConfig:
    """The settings with calibrations made from the input's first groups; the same ones if none are to be made.

    What is asked for it is stored: cleaning these groups asks nothing twice. Raises as `aclean_groups` does.

    Args:
        first: of the input (`take_first`).
    """
    if not _assumes(config, models):
        return config
    require_fitting(config, models.record)
    evidence = [each async for each in aevidence(first, models, config=config, store=store, stats=stats, gathers=True)]
    return make_assumptions(first, evidence, config, models.record)


def _assumes(config: CleanConfig, models: Models) -> bool:
    return needs_assumptions(config, models.engine.capabilities if models.engine else None)


class _Askers:
    """One asker per engine."""

    def __init__(
        self, store: ResponseStore, stats: Stats, on_failure: OnFailure | None = None, *, gathers: bool = False
    ) -> None:
        self._gathers = gathers
        self.store = store
        self.stats = stats
        self._on_failure = on_failure
        self._made: dict[int, Asker] = {}
        self._sent = InFlight()

    def get(self, engine: Engine) -> Asker:
        return self._made.setdefault(
            id(engine),
            Asker(engine, self.store, self.stats, self._on_failure, gathers=self._gathers, sent=self._sent),
        )

    async def abandon(self) -> None:
        for asker in self._made.values():
            await asker.abandon()


async def _clean_in_order(
    groups: Iterable[Group], work: Callable[[Group], Coroutine[Any, Any, T]], models: Models, askers: _Askers
) -> AsyncGenerator[T]:
    # A group's ranking waits for its extractions, so several groups keep an engine busy.
    busy = 2 + max((e.capabilities.concurrency for e in models.engines), default=0) // 2
    window = max([busy, *(e.capabilities.lookahead for e in models.engines)])
    in_flight: deque[asyncio.Task[T]] = deque()
    try:
        for group in groups:
            in_flight.append(asyncio.create_task(_work_on(work, group)))
            if len(in_flight) >= window:
                yield await in_flight.popleft()
        while in_flight:
            yield await in_flight.popleft()
    finally:
        for task in in_flight:
            task.cancel()
        await asyncio.gather(*in_flight, return_exceptions=True)
        await askers.abandon()


async def _work_on(work: Callable[[Group], Coroutine[Any, Any, T]], group: Group) -> T:
    # A task has a context of its own.
    current_group.set(GroupRequests(group.query_id))
    return await work(group)


def clean_groups(
    groups: Iterable[Group],
    models: Models | Engine,
    *,
    config: CleanConfig | None = None,
    store: ResponseStore | None = None,
    stats: Stats | None = None,
    on_failure: OnFailure | None = None,
) -> Generator[CleanedGroup]:
    """`aclean_groups` for code that isn't asynchronous; also works where an event loop runs already (notebooks).

    The engine works while the next group is asked for, not while the caller is busy with the last one.
    """
    stream = aclean_groups(groups, models, config=config, store=store, stats=stats, on_failure=on_failure)
    with LoopThread() as loop:
        try:
            while (cleaned := loop.run(lambda: anext(stream, None))) is not None:
                yield cleaned
        finally:
            loop.run(stream.aclose)


__all__ = ["aclean_groups", "aevidence", "assume", "clean_groups"]
