"""The time that a run has left, by the questions that are answered."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from arhn.cleaning.pipeline import clean_groups
from arhn.cleaning.run.time_left import TimeLeft
from arhn.cleaning.stats import Stats
from arhn.engines import Completion, Request
from arhn.engines.fake import FakeEngine
from tests.conftest import answer_by_marks, many


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def begun(groups: int, *, expected: int, answered: int) -> Stats:
    """That many groups, the requests that they are expected to take by now, and how many are answered."""
    stats = Stats(begun=groups, expected=expected)
    stats.of("extract").requests = answered
    return stats


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_it_goes_by_the_requests_not_by_the_groups_that_are_done(clock: Clock) -> None:
    remaining = TimeLeft(100, clock=clock)
    assert remaining.estimate(Stats(), 0) is None
    assert remaining.estimate(begun(60, expected=600, answered=0), 0) is None
    clock.now = 5
    assert remaining.estimate(begun(60, expected=600, answered=2), 0) is None, "the first requests say little"
    clock.now = 50
    assert remaining.estimate(begun(60, expected=600, answered=20), 0) == pytest.approx(980 * 50 / 20)


def test_nobody_knows_without_a_total(clock: Clock) -> None:
    remaining = TimeLeft(None, clock=clock)
    remaining.estimate(Stats(), 0)
    clock.now = 50
    assert remaining.estimate(begun(3, expected=9, answered=9), 1) is None


def test_without_requests_groups_tell(clock: Clock) -> None:
    remaining = TimeLeft(40, clock=clock)
    remaining.estimate(Stats(), 0)
    clock.now = 50
    assert remaining.estimate(Stats(), 10) == pytest.approx(150)


def test_it_never_falls_below_nothing(clock: Clock) -> None:
    remaining = TimeLeft(2, clock=clock)
    remaining.estimate(Stats(), 0)
    clock.now = 50
    assert remaining.estimate(begun(1, expected=3, answered=20), 0) == 0


def test_a_store_that_answered_the_first_half_at_once_is_forgotten(clock: Clock) -> None:
    remaining = TimeLeft(1000, clock=clock)
    remaining.estimate(Stats(), 0)
    left = None
    for second in range(1, 101):
        clock.now = second
        groups = 500 + second
        left = remaining.estimate(begun(groups, expected=groups * 10, answered=groups * 10), groups)
    assert left == pytest.approx(400, rel=0.05)


@pytest.mark.parametrize("lookahead", [0, 60])
def test_it_is_near_the_truth_early_on(clock: Clock, lookahead: int) -> None:
    """One request is answered a second, the oldest first: those about all positives before the first negative's."""
    said: list[tuple[float, float | None]] = []
    stats, groups = Stats(), 60
    remaining = TimeLeft(groups, clock=clock)
    turn = asyncio.Lock()

    class OneByOne(FakeEngine):
        async def complete(self, request: Request) -> Completion:
            async with turn:
                said.append((clock.now, remaining.estimate(stats, 0)))
                clock.now += 1
                return await super().complete(request)

    engine = OneByOne(answer_by_marks)
    engine.capabilities = replace(engine.capabilities, concurrency=1, lookahead=lookahead)
    list(clean_groups(many(groups), engine, stats=stats))
    assert stats.begun == groups
    assert stats.expected == stats.total.requests == clock.now
    of = {now: now + left for now, left in said if left is not None}
    # A verdict on each passage, and what the positive says; what was found in negatives is asked later.
    assert min(of.values()) >= groups * 9
    assert max(of.values()) < 1.1 * clock.now
    assert of[clock.now * 3 // 4] == pytest.approx(clock.now, rel=0.25)
