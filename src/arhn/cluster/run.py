"""A cleaning run whose groups are cleaned by workers on a Ray cluster."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

from arhn.cleaning.models import Described
from arhn.cleaning.run import Cleaner, Files, Job, OnGroup, carry_out
from arhn.cleaning.run.tally import Progress
from arhn.cleaning.stats import OnFailure, Stats
from arhn.cluster.connect import connected
from arhn.cluster.folders import folder_at
from arhn.cluster.partitions import cut
from arhn.cluster.pool import EACH, RayPool
from arhn.cluster.schedule import Pool, Schedule
from arhn.cluster.settings import Cluster
from arhn.cluster.work import OpenModels, Serving
from arhn.cluster.work_folder import Kept, settings_digest
from arhn.files.names import stem_of
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
    opened = partial(_on_ray, job, cluster, open_models)
    return carry_out(job, opened, progress=progress, on_group=on_group)


class OnRay:
    """Cleans with a pool of workers."""

    def __init__(self, cluster: Cluster, pool: Pool, kept: Kept, described: Described, work: str) -> None:
        self._cluster = cluster
        self._pool = pool
        self._kept = kept
        self._described = described
        self._work = work

    def clean(self, groups: Iterator[Group], stats: Stats, on_failure: OnFailure) -> Generator[CleanedGroup]:
        window = EACH * _AHEAD * self._cluster.workers
        schedule = Schedule(self._pool, self._kept, stats, window=window)
        for partition, part in schedule.run(cut(groups, self._cluster.partition)):
            for failure in part.failures:
                on_failure(failure)
            yield from part.joined(partition.groups)
        logger.info(
            "%d partitions cleaned, %d found complete, %d tried again", schedule.done, schedule.found, schedule.again
        )

    @property
    def described(self) -> Described:
        return replace(self._described, serving=together(self._pool.serving))

    @property
    def kept(self) -> Mapping[str, str]:
        return {"work": self._work}


def together(said: Iterable[Serving]) -> dict[str, dict[str, Any]]:
    """What engines of several workers say, by role: the first one's words, with what they count added up."""
    roles: dict[str, dict[str, Any]] = {}
    for reports in said:
        for role, report in reports.items():
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


def _on_ray(job: Job, cluster: Cluster, open_models: OpenModels, stack: ExitStack) -> Cleaner:
    # The folder first: a place that can't be written is found out before a cluster is waited for.
    folder = folder_at(work := _work(cluster, job.files))
    assert cluster.address is not None
    ray = stack.enter_context(connected(cluster.address, cluster.workers * cluster.cpus))
    options = {"num_cpus": cluster.cpus, "num_gpus": cluster.gpus}
    pool = RayPool(ray, cluster.workers, options, open_models, job.config)
    stack.callback(pool.close)
    described = pool.open()
    return OnRay(cluster, pool, Kept(folder, settings_digest(job.config, described)), described, work)


def _work(cluster: Cluster, files: Files) -> str:
    """Where complete partitions are kept."""
    if cluster.work is not None:
        return cluster.work
    place, slash, name = files.said("output").rpartition("/")
    return f"{place}{slash}{stem_of(name)}.work"


__all__ = ["Cluster", "run"]
