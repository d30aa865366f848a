"""What a run has asked: requests, answers and tokens by stage, and the requests that failed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Annotated, Literal

from pydantic import Field

from arhn.engines import Completion

#: What an LLM is asked for; `flag` and `judge` are the two stages of the RLHN cascade.
Stage = Literal["extract", "rank", "fullness", "flag", "judge"]
#: Kinds of unreadable answers that are told apart.
_MOST_KINDS = 1000


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
        """Note that a request goes to the engine."""
        if self.in_flight == 0:
            self._since = time.monotonic()
        self.in_flight += 1

    def end(self) -> None:
        """Note that it came back."""
        self.in_flight -= 1
        if self.in_flight == 0:
            self.seconds += time.monotonic() - self._since

    def add(self, other: StageStats) -> None:
        """Add what another one has counted."""
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
class Gathered:
    """Requests about groups that are asked about twice: `keys` in hexadecimal digits, `groups` how many were expected
    of each, by query_id.
    """

    keys: set[str] = field(default_factory=set)
    groups: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Stats:
    """What a run has asked so far, by stage; safe to read while it runs.

    The `begun` groups, those asked about so far, are expected to take `expected` requests. Requests that follow from
    answers (snippets, rankings) are expected once they are made. `gathered`: what was counted when a run's first groups
    were looked at, and isn't counted again when these are cleaned. `too_long`: ids of queries that leave no room for
    any of their passages in the context. `unreadable`: whole answers that nothing could be made of, by their beginning.
    """

    stages: dict[Stage, StageStats] = field(default_factory=dict)
    begun: int = 0
    expected: int = 0
    gathered: Annotated[Gathered, Field(exclude=True)] = field(default_factory=lambda: Gathered())
    too_long: set[str] = field(default_factory=set)
    unreadable: dict[str, int] = field(default_factory=dict)

    def of(self, stage: Stage) -> StageStats:
        """What one stage has asked so far."""
        return self.stages.setdefault(stage, StageStats())

    @property
    def total(self) -> StageStats:
        """All stages together."""
        total = StageStats()
        # A copy: a display on another thread looks at it while stages are added.
        for stage in list(self.stages.values()):
            total.add(stage)
        return total

    def count_unreadable(self, shown: str, answers: int = 1) -> None:
        """Count answers that begin in this way; of too many kinds, the rarer ones have no beginning."""
        known = shown in self.unreadable or len(self.unreadable) < _MOST_KINDS
        kind = shown if known else ""
        self.unreadable[kind] = self.unreadable.get(kind, 0) + answers

    def add(self, other: Stats) -> None:
        """Add what another one has counted."""
        for name, stage in other.stages.items():
            self.of(name).add(stage)
        self.too_long |= other.too_long
        for shown, answers in other.unreadable.items():
            self.count_unreadable(shown, answers)
        self.begun += other.begun
        self.expected += other.expected
