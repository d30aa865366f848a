"""A cluster in one thread: workers that clean when they are waited for, and break on demand."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from arhn.cleaning.config import CleanConfig
from arhn.cleaning.models import Models
from arhn.cleaning.run import Job, carry_out
from arhn.cluster.partitions import Partition
from arhn.cluster.run import Cluster, OnRay
from arhn.cluster.storage import LocalFolder
from arhn.cluster.work import Done, Failed, Serving, Worker
from arhn.cluster.work_folder import WorkFolder, digest_settings
from arhn.engines.fake import FakeEngine
from arhn.retrieval.similarity import Similarity
from tests.conftest import answer_by_marks

#: The LLM's own word decides: nothing is learnt from the input's first groups.
UNCALIBRATED = CleanConfig(calibrations=("none",))
#: What happens to a partition instead of being cleaned; None: nothing.
Fate = Callable[[Partition], Failed | None]


class Inline:
    """A pool of `workers`. `began`: (number of the partition, whether alone), in order; the last begun ends first."""

    def __init__(self, worker: Worker, workers: int = 1, fate: Fate = lambda _: None) -> None:
        self.serving: list[Serving] = []
        self.began: list[tuple[int, bool]] = []
        self.most = 0
        self._worker = worker
        self._room = 2 * workers
        self._fate = fate
        self._flying: deque[tuple[Partition, bytes | None]] = deque()

    def has_room(self, *, alone: bool) -> bool:
        return not self._flying if alone else len(self._flying) < self._room

    def begin(self, partition: Partition, answers: bytes | None, *, alone: bool) -> None:
        assert self.has_room(alone=alone)
        self.began.append((partition.number, alone))
        self._flying.append((partition, answers))
        self.most = max(self.most, len(self._flying))

    def wait(self) -> tuple[Partition, Done | Failed] | None:
        partition, answers = self._flying.pop()
        failed = self._fate(partition)
        return partition, failed or asyncio.run(self._worker.clean(partition, answers))


def opened(engine: FakeEngine, similarity: Similarity | None = None) -> Worker:
    worker = Worker(lambda _: Models(engine=engine, similarity=similarity))
    asyncio.run(worker.open())
    return worker


def work_folder_at(folder: Path, engine: FakeEngine, config: CleanConfig | None = None) -> WorkFolder:
    models = Models(engine=engine)
    return WorkFolder(LocalFolder(folder), digest_settings(config or UNCALIBRATED, models.record))


def run_inline(
    job: Job,
    work: Path,
    *,
    engine: FakeEngine | None = None,
    similarity: Similarity | None = None,
    size: int = 3,
    workers: int = 1,
    fate: Fate = lambda _: None,
) -> dict[str, Any]:
    """A run on such a cluster."""
    engine = engine or FakeEngine(answer_by_marks)
    models = Models(engine=engine, similarity=similarity).record
    cluster = Cluster(address="local", workers=workers, partition=size)

    def open_cleaner(job: Job, _: ExitStack) -> OnRay:
        pool = Inline(opened(engine, similarity), workers, fate)
        return OnRay(job.config, cluster, pool, LocalFolder(work), models, str(work))

    return carry_out(job, open_cleaner)


def numbers(partitions: Iterable[tuple[Partition, Any]]) -> list[int]:
    return [partition.number for partition, _ in partitions]
