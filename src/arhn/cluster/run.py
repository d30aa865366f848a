"""A cleaning run whose groups are cleaned by workers on a Ray cluster."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

from arhn.cleaning.models import ModelsRecord
from arhn.cleaning.run import Cleaner, Files, Job, OnGroup, carry_out
from arhn.cleaning.run.tally import Progress
from arhn.cleaning.stats import OnFailure, Stats
from arhn.cluster.connect import connect
from arhn.cluster.partitions import cut
from arhn.cluster.pool import EACH, RayPool
from arhn.cluster.schedule import Pool, Schedule
from arhn.cluster.settings import Cluster
from arhn.cluster.storage import open_folder
from arhn.cluster.work import OpenModels, Serving
from arhn.cluster.work_folder import WorkFolder, digest_settings
from arhn.files.names import strip_suffixes
from arhn.types import CleanedGroup, Group

logger = logging.getLogger(__name__)

#: What engines count of how they answered.
_COUNTED = ("servers", "spent", "answered")
#: Partitions that are held in memory for each that is in work.
_AHEAD = 4


def run(
    job: Job,
    cluster: Cluster,
    open_models: OpenModels,
    *,
    progress: Progress | None = None,
    on_group: OnGroup | None = None,
) -> dict[str, Any]:
    """`arhn.cleaning.run.job` on a cluster: the same files with the same content, whatever the number of workers.

    Args:
        open_models: called by each worker, so it is pickled; as for `arhn.cleaning.run.job`.

    Returns:
        The content of summary.json.

    Raises:
        ClusterUnreachable, ClusterError: there is no cluster, or no worker is left.
        PartitionsFailed: parts of the input could not be cleaned; everything else is kept.
        ArhnError: as `arhn.cleaning.run.job` does.
    """
    opened = partial(_open_on_ray, cluster, open_models)
    return carry_out(job, opened, progress=progress, on_group=on_group)


class OnRay:
    """Cleans with a pool of workers."""

    def __init__(self, cluster: Cluster, pool: Pool, folder: WorkFolder, models: ModelsRecord, work: str) -> None:
        self._cluster = cluster
        self._pool = pool
        self._folder = folder
        self._models = models
        self._work = work

    def clean(self, groups: Iterator[Group], stats: Stats, on_failure: OnFailure) -> Generator[CleanedGroup]:
        """The groups cleaned, in their order; raises as `Schedule.run` does."""
        window = EACH * _AHEAD * self._cluster.workers
        schedule = Schedule(self._pool, self._folder, stats, window=window)
        for partition, part in schedule.run(cut(groups, self._cluster.partition)):
            for failure in part.failures:
                on_failure(failure)
            yield from part.join(partition.groups)
        logger.info(
            "%d partitions cleaned, %d found complete, %d tried again", schedule.done, schedule.found, schedule.again
        )

    @property
    def models(self) -> ModelsRecord:
        """The workers' models, with what all of them report added up."""
        return replace(self._models, serving=add_up_serving(self._pool.serving))

    @property
    def answers(self) -> Mapping[str, str]:
        """The work folder, which holds the LLM's answers."""
        return {"work": self._work}


def add_up_serving(reports: Iterable[Serving]) -> dict[str, dict[str, Any]]:
    """What the engines of several workers report, by role: the first one's report, with its counts added up."""
    roles: dict[str, dict[str, Any]] = {}
    for each in reports:
        for role, report in each.items():
            first = roles.setdefault(role, {})
            counted = {name: _sum(first[name], report[name]) for name in _COUNTED if name in first and name in report}
            roles[role] = {**report, **first, **counted}
    return roles


def _sum(one: Any, other: Any) -> Any:
    """Numbers added up, also those inside mappings."""
    if not isinstance(one, Mapping):
        return one + other
    both = {name: _sum(one[name], other[name]) for name in one if name in other}
    return {**one, **other, **both}


def _open_on_ray(cluster: Cluster, open_models: OpenModels, job: Job, stack: ExitStack) -> Cleaner:
    # The folder first: a place that can't be written is found out before a cluster is waited for.
    folder = open_folder(work := _find_work_folder(cluster, job.files))
    assert cluster.address is not None
    ray = stack.enter_context(connect(cluster.address, cluster.workers * cluster.cpus))
    options = {"num_cpus": cluster.cpus, "num_gpus": cluster.gpus}
    pool = RayPool(ray, cluster.workers, options, open_models, job.config)
    stack.callback(pool.close)
    models = pool.open()
    return OnRay(cluster, pool, WorkFolder(folder, digest_settings(job.config, models)), models, work)


def _find_work_folder(cluster: Cluster, files: Files) -> str:
    """Where complete partitions are stored."""
    if cluster.work is not None:
        return cluster.work
    place, slash, name = files.locate("output").rpartition("/")
    return f"{place}{slash}{strip_suffixes(name)}.work"


__all__ = ["Cluster", "run"]
