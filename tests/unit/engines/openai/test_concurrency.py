"""How many requests a server gets at once, played without waiting: the clock is a number."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

import pytest

from arhn.engines.openai.concurrency import DECREASE, FIRST, Controller

#: Seconds that an answer takes, and whether it is a 429 instead, by how many are in flight and the time.
Load = Callable[[int, float], tuple[float, bool]]


def played(
    controller: Controller,
    load: Load,
    *,
    until: float,
    since: float = 0.0,
    kinds: int = 1,
    refused: float = 0.01,
) -> list[float]:
    """The limit after every answer, while there is always more to ask; a refusal takes `refused` seconds."""
    rng = random.Random(7)
    now = since
    flying: list[tuple[float, int, float, int, bool]] = []
    limits: list[float] = []
    sent = 0
    while now < until:
        while controller.room > 0:
            controller.begin()
            seconds, busy = load(len(flying) + 1, now)
            kind = sent % kinds
            sent += 1
            lasting = refused if busy else seconds * (1 + 4 * kind) * rng.uniform(0.8, 1.2)
            heapq.heappush(flying, (now + lasting, sent, now, kind, busy))
        now, _, started, kind, busy = heapq.heappop(flying)
        controller.end()
        if busy:
            controller.record_congestion(started, now)
            now += 0.01
        else:
            controller.record_answer(kind, started, now)
        limits.append(controller.limit)
    for (*_,) in flying:
        controller.end()
    return limits


def steady(_: int, __: float) -> tuple[float, bool]:
    return 0.2, False


def test_it_reaches_what_it_may_on_a_server_that_takes_everything() -> None:
    controller = Controller(64)
    assert controller.limit == FIRST
    limits = played(controller, steady, until=2.0)
    assert limits[-1] == 64
    assert min(limits[200:]) == 64


@pytest.mark.parametrize("most", [1, 3])
def test_small_limits_are_kept(most: int) -> None:
    assert set(played(Controller(most), steady, until=10.0)) == {most}


def test_never_more_in_flight_than_the_limit() -> None:
    controller = Controller(8)
    for _ in range(8):
        controller.begin()
    assert controller.room == 0


def test_it_backs_off_from_a_busy_server_and_grows_again() -> None:
    def busy_for_a_while(_: int, now: float) -> tuple[float, bool]:
        return 0.2, 3 < now < 3.3

    controller = Controller(64)
    played(controller, steady, until=3.0)
    assert controller.limit == 64
    assert min(played(controller, busy_for_a_while, since=3.0, until=4.0)) < 40
    assert played(controller, steady, since=4.0, until=40.0)[-1] == 64


def test_requests_that_were_sent_together_count_once() -> None:
    controller = Controller(64, first=64)
    for _ in range(9):
        controller.record_congestion(started=1.0, now=1.2)
    assert controller.limit == 64
    for _ in range(30):
        controller.record_congestion(started=1.0, now=1.2)
    assert controller.limit == pytest.approx(64 * DECREASE)
    for _ in range(7):
        controller.record_congestion(started=1.3, now=1.4)
    assert controller.limit == pytest.approx(64 * DECREASE**2)


@pytest.mark.parametrize("seconds", [0.01, 6.0])
def test_faults_that_come_by_chance_are_no_reason_to_back_off(seconds: float) -> None:
    """One in twenty is refused, or hangs until it is given up, however few are sent."""
    rng = random.Random(3)
    limits = played(Controller(64), lambda *_: (0.2, rng.random() < 0.05), until=60.0, refused=seconds)
    settled = limits[len(limits) // 2 :]
    assert sum(settled) / len(settled) > 50


def test_it_backs_off_however_few_are_in_flight() -> None:
    """A server that refuses everything."""
    assert played(Controller(64), lambda *_: (0.2, True), until=3.0)[-1] == 1


def test_it_stays_below_what_a_server_refuses() -> None:
    """A server that takes 20 at once and answers 429 to more."""
    limits = played(Controller(256), lambda n, _: (0.2, n > 20), until=60.0)
    settled = limits[len(limits) // 2 :]
    assert 10 < sum(settled) / len(settled) < 22


def test_it_stays_where_more_at_once_gains_nothing() -> None:
    """A server that works on 32 at once and queues the others: more of them only wait."""
    limits = played(Controller(512), lambda n, _: (0.2 * max(1.0, n / 32), False), until=60.0)
    settled = limits[len(limits) // 2 :]
    assert min(settled) >= 28
    assert max(settled) < 110


def test_latency_that_rises_with_batching_is_no_reason_to_back_off() -> None:
    """Twice as many at once take 1.3 times as long: the rate still grows."""
    limits = played(Controller(256), lambda n, _: (0.1 * n**0.38, False), until=60.0)
    assert limits[-1] > 200


def test_it_backs_off_when_the_server_becomes_slower() -> None:
    controller = Controller(64)
    played(controller, steady, until=5.0)
    limits = played(controller, lambda n, _: (0.05 * n, False), since=5.0, until=60.0)
    assert min(limits) < 50
    assert played(controller, steady, since=60.0, until=200.0)[-1] == 64


def test_kinds_of_requests_are_not_mistaken_for_slowness() -> None:
    """A run that turns from short answers to long ones."""
    controller = Controller(64)
    played(controller, steady, until=3.0)
    assert min(played(controller, steady, since=3.0, until=30.0, kinds=3)) == 64


def test_what_does_not_fill_the_limit_does_not_raise_it() -> None:
    controller = Controller(64)
    for i in range(200):
        controller.begin()
        controller.end()
        controller.record_answer(0, float(i), i + 0.1)
    assert controller.limit == FIRST


def test_a_server_that_was_away_begins_anew() -> None:
    controller = Controller(64)
    played(controller, steady, until=3.0)
    controller.restart(3.0)
    assert controller.limit == FIRST
    assert played(controller, steady, since=3.0, until=6.0)[-1] == 64
