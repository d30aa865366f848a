"""How many requests a server gets at once. Pure: the caller passes the time.

Additive increase, multiplicative decrease, as TCP does it, by two signs. A server that says it is busy (429, 503) or
answers nothing in time, to more requests than chance would explain, gets fewer at once. A server whose latency rises is
looked at more closely, for on a server that batches, latency rises with every request although more of them get done:
by Little's law the rate is requests in flight over latency, so only where latency rises as fast as the number in flight
is nothing gained.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

#: Requests at once to begin with, and answers that a measurement takes at least.
FIRST = 32
LEAST_ANSWERS = 8
#: What a busy server's limit is multiplied with.
DECREASE = 0.7
#: Of the requests of a round, the share (and the least number) that must find the server busy. Fewer are chance: asking
#: less at once wouldn't help them.
CONGESTED, LEAST_CONGESTED = 0.15, 4
#: How much slower an answer may become than a longer queue explains.
SLOWER = 1.5
#: Growth of the limit from which on its gain is judged, and the share of it that must be gained.
JUDGED, GAIN = 1.25, 0.1
#: Measurements for which the best limit stays before a higher one is tried again.
HOLD = 10
#: What the limit grows by: this share of it, once it was too high.
STEP = 1 / 16

Latencies = Mapping[int, float]


@dataclass(slots=True)
class _Round:
    """What became of requests since the limit last changed, and the latencies of answers by kind: count and seconds."""

    sent: int = 0
    answers: int = 0
    congested: int = 0
    counts: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))
    seconds: defaultdict[int, float] = field(default_factory=lambda: defaultdict(float))
    full: bool = False

    def means(self) -> dict[int, float]:
        """Mean seconds of a request, by kind."""
        return {kind: self.seconds[kind] / count for kind, count in self.counts.items()}


@dataclass(frozen=True, slots=True)
class _Reference:
    """The latencies at a limit that was worth it."""

    limit: float
    means: Latencies


class Controller:
    """The limit of one server.

    Args:
        most: never more than this many at once.
        first: to begin with.
    """

    def __init__(self, most: int, *, first: int = FIRST) -> None:
        self.most = most
        self.limit = float(min(first, most))
        self.in_flight = 0
        self._doubling = True
        self._changed = -1.0
        self._held = 0
        self._round = _Round()
        self._reference: _Reference | None = None

    @property
    def room(self) -> int:
        """Requests that may be sent now."""
        return int(self.limit) - self.in_flight

    def begin(self) -> None:
        """A request is sent."""
        self.in_flight += 1
        self._round.sent += 1
        if self.room <= 0:
            self._round.full = True

    def end(self) -> None:
        """A request is over, however it ended."""
        self.in_flight -= 1

    def record_answer(self, kind: int, started: float, now: float) -> None:
        """A sound answer came.

        Args:
            kind: requests of a kind take about as long as each other.
            started: when its request was sent.
        """
        if started < self._changed:
            return  # sent under another limit
        current = self._round
        current.answers += 1
        current.counts[kind] += 1
        current.seconds[kind] += now - started
        if current.answers >= max(LEAST_ANSWERS, self.limit):
            self._judge(current, now)

    def record_congestion(self, started: float, now: float) -> None:
        """The server was busy, or didn't answer in time. Requests that were sent together count once."""
        if started < self._changed:
            return
        self._round.congested += 1
        if self._round.congested >= max(LEAST_CONGESTED, CONGESTED * max(self.limit, self._round.sent)):
            self._decrease(now)

    def restart(self, now: float) -> None:
        """The server was away: start over."""
        self._doubling = True
        self._set(min(FIRST, self.most), now)
        self._reference = None

    def _judge(self, measured: _Round, now: float) -> None:
        self._round = _Round()
        if not measured.full:
            return  # it wasn't the limit that set the pace
        means, reference = measured.means(), self._reference
        slower = _slower(measured, reference.means) if reference else None
        if reference is None or slower is None:
            self._worth(means, now)
            return
        larger = self.limit / reference.limit
        if slower > SLOWER * max(1.0, larger):
            self._decrease(now)
        elif larger < JUDGED:
            # Too small a step to show what it gained. What is usual at this limit may have changed meanwhile.
            if slower < 1 or self._held:
                self._reference = _Reference(self.limit, means)
            self._grow(now)
        elif larger / slower < 1 + GAIN * (larger - 1):
            self._return_to(reference, now)
        else:
            self._worth(means, now)

    def _worth(self, means: Latencies, now: float) -> None:
        self._reference = _Reference(self.limit, means)
        self._grow(now)

    def _return_to(self, reference: _Reference, now: float) -> None:
        self._doubling = False
        self._held = HOLD
        self._set(reference.limit, now)

    def _grow(self, now: float) -> None:
        if self._held:
            self._held -= 1
            return
        step = self.limit if self._doubling else max(1.0, self.limit * STEP)
        self._set(min(float(self.most), self.limit + step), now)

    def _decrease(self, now: float) -> None:
        self._doubling = False
        self._held = 0
        self._reference = None
        self._set(max(1.0, self.limit * DECREASE), now)

    def _set(self, limit: float, now: float) -> None:
        if limit == self.limit:
            return
        self.limit = limit
        self._changed = now
        self._round = _Round()


def _slower(measured: _Round, before: Latencies) -> float | None:
    """How many times as long answers take, over the kinds that were seen both times; None where there is none."""
    both = [kind for kind in measured.counts if before.get(kind)]
    expected = sum(before[kind] * measured.counts[kind] for kind in both)
    return sum(measured.seconds[kind] for kind in both) / expected if expected else None
