"""Which partition is cleaned when, what is tried again, and in which order the results come. Knows nothing of Ray."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from arhn.cleaning.stats import Stats
from arhn.cluster.partitions import Part, Partition
from arhn.cluster.work import Done, Failed, Serving
from arhn.cluster.work_folder import WorkFolder
from arhn.errors import (
    ArhnError,
    ClusterError,
    ContextTooShort,
    EngineError,
    KeyRefused,
    OtherApi,
    OutputError,
    PartitionsFailed,
    UnknownModel,
)

logger = logging.getLogger(__name__)

#: How often a partition is tried.
TRIES = 3
#: Tries that fail one after the other, until the cluster is taken for broken.
_MOST_FAILURES = 12

_WORTH_ANOTHER_TRY = (EngineError, ClusterError, OutputError)
_FINAL = (KeyRefused, UnknownModel, OtherApi, ContextTooShort)


class Pool(Protocol):
    """The workers."""

    @property
    def serving(self) -> Sequence[Serving]:
        """What the engines of each worker say of how they answered."""
        ...

    def has_room(self, *, alone: bool) -> bool:
        """Whether some worker can take a partition now; `alone`: one that has no other."""
        ...

    def begin(self, partition: Partition, answers: bytes | None, *, alone: bool) -> None:
        """Give a worker a partition; `alone`: it gets no other beside it."""
        ...

    def wait(self) -> tuple[Partition, Done | Failed] | None:
        """Wait for a partition to end; None where there is room that there wasn't before."""
        ...


@dataclass(slots=True)
class _Slot:
    partition: Partition
    tries: int = 0
    part: Part | None = None
    error: ArhnError | None = None

    @property
    def is_over(self) -> bool:
        return self.part is not None or self.error is not None


class Schedule:
    """Has partitions cleaned by a pool and stores them.

    Args:
        window: partitions between the first that isn't done and the last that is begun, at most.
        stats: what was asked is counted there as soon as it is known.
    """

    def __init__(self, pool: Pool, folder: WorkFolder, stats: Stats, *, window: int) -> None:
        self.found = self.done = self.again = 0
        self._pool = pool
        self._folder = folder
        self._stats = stats
        self._window = window
        self._open: deque[_Slot] = deque()
        self._waiting: deque[_Slot] = deque()
        self._running: dict[int, _Slot] = {}
        self._failed: list[_Slot] = []
        self._in_a_row = 0

    def run(self, partitions: Iterator[Partition]) -> Generator[tuple[Partition, Part]]:
        """Partitions and what came of them, in order.

        Raises:
            PartitionsFailed: some failed at every try, raised at the end, when all the others are stored; or as many
                in a row as show that the cluster is broken.
            ArhnError: what no other worker could do better.
        """
        more = True
        while more or self._open:
            more = self._begin(partitions)
            while self._open and self._open[0].is_over:
                slot = self._open.popleft()
                if slot.part is not None and not self._failed:
                    yield slot.partition, slot.part
            if self._running or self._waiting or (more and not self._pool.has_room(alone=False)):
                self._take()
        if self._failed:
            raise self._make_error()

    def _begin(self, partitions: Iterator[Partition]) -> bool:
        """Give the workers what they can take; whether there may be more partitions."""
        # What has failed may have brought its worker down, so it gets a worker without other partitions.
        while self._waiting:
            if not self._pool.has_room(alone=True):
                return True
            self._hand_out(self._waiting.popleft(), alone=True)
        while len(self._open) < self._window and self._pool.has_room(alone=False):
            partition = next(partitions, None)
            if partition is None:
                return False
            slot = _Slot(partition)
            self._open.append(slot)
            found = self._folder.find(partition)
            if found is None:
                self._hand_out(slot, alone=False)
            else:
                self.found += 1
                slot.part = found.count_as_reused()
                self._stats.add(slot.part.stats)
        return True

    def _hand_out(self, slot: _Slot, *, alone: bool) -> None:
        slot.tries += 1
        self._running[slot.partition.number] = slot
        self._pool.begin(slot.partition, self._folder.read_answers(slot.partition), alone=alone)

    def _take(self) -> None:
        ended = self._pool.wait()
        if ended is None:
            return
        partition, outcome = ended
        slot = self._running.pop(partition.number)
        if isinstance(outcome, Failed):
            self._put_back(slot, outcome)
            return
        self._folder.write(partition, outcome)
        slot.part = Part.unpack(outcome.part)
        assert slot.part is not None  # nosec B101 - narrows a type
        self._stats.add(slot.part.stats)
        self.done += 1
        self._in_a_row = 0

    def _put_back(self, slot: _Slot, failed: Failed) -> None:
        if not may_succeed_elsewhere(failed):
            raise failed.error
        self._in_a_row += 1
        if slot.tries < TRIES:
            logger.warning("partition %d: %s. It is tried again", slot.partition.number, failed.error)
            self.again += 1
            self._waiting.append(slot)
            return
        logger.warning("partition %d: %s. Tried %d times, given up", slot.partition.number, failed.error, slot.tries)
        slot.error = failed.error
        self._failed.append(slot)
        if self._in_a_row >= _MOST_FAILURES:
            raise self._make_error()

    def _make_error(self) -> PartitionsFailed:
        first = min(self._failed, key=lambda slot: slot.partition.number)
        groups = first.partition.groups
        total = self.found + self.done + len(self._failed)
        return PartitionsFailed(
            f"{len(self._failed)} of {total} partitions were tried {TRIES} times in vain; the first, groups "
            f"{groups[0].query_id} to {groups[-1].query_id}, ended with: {first.error}. "
            "The others are kept: the same command tries only these again"
        )


def may_succeed_elsewhere(failed: Failed) -> bool:
    """Whether another worker, or the same at another time, may do better."""
    return not failed.expected or (
        isinstance(failed.error, _WORTH_ANOTHER_TRY) and not isinstance(failed.error, _FINAL)
    )


__all__ = ["TRIES", "Pool", "Schedule", "may_succeed_elsewhere"]
