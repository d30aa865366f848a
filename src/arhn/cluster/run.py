"""A cleaning run whose groups are cleaned by workers on a Ray cluster."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from typing import Any

from arhn.cleaning.auto_calibration import make_assumptions, needs_assumptions, take_first
from arhn.cleaning.config import CleanConfig
from arhn.cleaning.extract.stage import Evidence
from arhn.cleaning.models import ModelsRecord
from arhn.cleaning.run import Cleaner, Files, Job, OnGroup, carry_out
from arhn.cleaning.run.tally import Progress
from arhn.cleaning.setup import require_fitting
from arhn.cleaning.stats import Gathered, OnFailure, Stats
from arhn.cluster.connect import connect
from arhn.cluster.partitions import cut
from arhn.cluster.pool import EACH, RayPool
from arhn.cluster.schedule import Pool, Schedule
from arhn.cluster.settings import Cluster
from arhn.cluster.storage import Folder, open_folder
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

    def __init__(
        self, config: CleanConfig, cluster: Cluster, pool: Pool, folder: Folder, models: ModelsRecord, work: str
    ) -> None:
        self.config = config
        self._cluster = cluster
        self._pool = pool
        self._folder = folder
        self._models = models
        self._work = work

    def clean(self, groups: Iterator[Group], stats: Stats, on_failure: OnFailure) -> Generator[CleanedGroup]:
        """The groups cleaned, in their order; raises as `Schedule.run` does."""
        first = self._take_first(groups)
        gathered = self._assume(first, stats) if first else {}
        schedule = self._plan(digest_settings(self.config, self._models), stats)
        partitions = (
            replace(p, gathered=gathered.get(p.digest, Gathered())) if gathered else p
            for p in cut(chain(first, groups), self._cluster.partition, self.config)
        )
        for partition, part in schedule.run(partitions):
            for failure in part.failures:
                on_failure(failure)
            yield from part.join(partition.groups)
        logger.info(
            "%d partitions cleaned, %d found complete, %d tried again", schedule.done, schedule.found, schedule.again
        )

    def _take_first(self, groups: Iterator[Group]) -> list[Group]:
        """Groups that calibrations are to be made from, as whole partitions: their answers are found again so."""
        if not needs_assumptions(self.config, self._models.capabilities):
            return []
        first = take_first(groups, self.config)
        return [*first, *islice(groups, -len(first) % self._cluster.partition)]

    def _assume(self, first: Sequence[Group], stats: Stats) -> dict[str, Gathered]:
        """Add calibrations to the settings, from the first groups and the same as without a cluster.

        Returns:
            what was counted, by digest of the partition.
        """
        require_fitting(self.config, self._models)
        schedule = self._plan(f"{digest_settings(self.config, self._models)}.signals", stats)
        partitions = cut(iter(first), self._cluster.partition, self.config, gathers=True)
        evidence: list[Evidence] = []
        gathered = {}
        for partition, part in schedule.run(partitions):
            evidence += part.evidence
            gathered[partition.digest] = part.gathered
        # Without those that only fill up the last partition.
        count = len(take_first(first, self.config))
        self.config = make_assumptions(first[:count], evidence[:count], self.config, self._models)
        return gathered

    def _plan(self, settings: str, stats: Stats) -> Schedule:
        window = EACH * _AHEAD * self._cluster.workers
        return Schedule(self._pool, WorkFolder(self._folder, settings), stats, window=window)

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
    assert cluster.address is not None  # nosec B101 - narrows a type
    ray = stack.enter_context(connect(cluster.address, cluster.workers * cluster.cpus))
    options = {"num_cpus": cluster.cpus, "num_gpus": cluster.gpus}
    pool = RayPool(ray, cluster.workers, options, open_models)
    stack.callback(pool.close)
    models = pool.open()
    return OnRay(job.config, cluster, pool, folder, models, work)


def _find_work_folder(cluster: Cluster, files: Files) -> str:
    """Where complete partitions are stored."""
    if cluster.work is not None:
        return cluster.work
    place, slash, name = files.locate("output").rpartition("/")
    return f"{place}{slash}{strip_suffixes(name)}.work"


__all__ = ["Cluster", "run"]
