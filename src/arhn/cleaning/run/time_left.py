"""How long a run will still take, by the requests that are answered."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock
from typing import NamedTuple

from arhn.cleaning.stats import Stats

#: Seconds before which the speed isn't known well enough: the first requests compute what all share. Then a mark is set
#: for the speed of late; the next ones come when twice as many have passed.
FIRST = 10.0


class _Mark(NamedTuple):
    seconds: float
    requests: int
    groups: int


class TimeLeft:
    """The time that a run over `total` groups has left, which begins with the first look.

    Groups that are done don't show it: with a lookahead, and with large groups, many are asked about before one is
    done. So requests count, where there are any: those answered against those expected by now of the groups begun, and
    as many for each further group. Requests that follow from answers (snippets, rankings) are expected only once they
    are made, so that the time is too short at first. The speed is that of the last half of the time or more: answers
    from a store, which come at once at the beginning of a run that goes on, are forgotten.
    """

    def __init__(self, total: int | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._total = total
        self._clock = clock
        self._marks: tuple[_Mark, ...] = ()
        self._lock = Lock()

    def estimate(self, stats: Stats, groups: int) -> float | None:
        """Seconds left; None as long as they can't be known.

        Args:
            groups: those that are done.
        """
        with self._lock:
            now = _Mark(self._clock(), stats.total.requests, groups)
            since = self._since(now)
        if self._total is None or now.seconds - self._marks[0].seconds < FIRST:
            return None
        if stats.begun:
            left = self._total * stats.expected / stats.begun - now.requests
            done = now.requests - since.requests
        else:
            left, done = self._total - now.groups, now.groups - since.groups
        return max(0.0, left) / done * (now.seconds - since.seconds) if done else None

    def describe(self, stats: Stats, groups: int) -> str:
        """As people read it; empty as long as it can't be known."""
        seconds = self.estimate(stats, groups)
        return "" if seconds is None else f"{format_time(seconds)} left"

    def _since(self, now: _Mark) -> _Mark:
        """The moment from which on the speed is taken."""
        start, older, newer = self._marks = self._marks or (now, now, now)
        if now.seconds - start.seconds >= 2 * (newer.seconds - start.seconds) + FIRST:
            self._marks = start, newer, now
            return newer
        return older


def format_time(seconds: float) -> str:
    """Hours, minutes and seconds: 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


__all__ = ["TimeLeft", "format_time"]
