"""The flags of a run on a Ray cluster."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from arhn.cli.shared import flag_of, number, positive
from arhn.cluster import USUAL_PARTITION
from arhn.errors import UsageError

if TYPE_CHECKING:
    from arhn.cluster.run import Cluster

#: Flags that do nothing without --ray.
_ONLY = ("ray_workers", "ray_partition", "ray_gpus", "ray_cpus", "work")
_amount = number(f"a number from 0, below {2**16}", lambda x: 0 <= x < 2**16)


def add_cluster(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("--ray", "On a Ray cluster (docs/cluster.md).")
    add = group.add_argument
    add("--ray", metavar="ADDRESS", help="clean on a Ray cluster: host:port, auto, or local to start one for this run")
    add("--ray-workers", type=positive, metavar="N", help="workers, each with the models of its own; default: 1")
    add("--ray-partition", type=positive, metavar="N", help=f"groups handed out at once; default: {USUAL_PARTITION}")
    add("--ray-gpus", type=_amount, metavar="X", help="GPUs that a worker takes; default: 0")
    add("--ray-cpus", type=_amount, metavar="X", help="CPUs that a worker takes; default: 1")
    add("--work", metavar="FOLDER", help="where finished partitions are kept; beside the output unless given")


def cluster_of(a: argparse.Namespace) -> Cluster | None:
    """The cluster to clean on; None for this process.

    Raises:
        UsageError: flags that do nothing.
    """
    from arhn.cluster.run import Cluster

    if a.ray is None:
        for name in _ONLY:
            if getattr(a, name) is not None:
                raise UsageError(f"{flag_of(name)}: does nothing without --ray")
        return None
    if a.store is not None:
        raise UsageError("--store: on a cluster the answers are kept by partition. Give a folder with --work")
    if a.budget is not None:
        raise UsageError("--budget: isn't kept to on a cluster, whose workers don't know what the others spend")
    return Cluster(
        address=a.ray,
        workers=a.ray_workers or 1,
        partition=a.ray_partition or USUAL_PARTITION,
        cpus=1.0 if a.ray_cpus is None else a.ray_cpus,
        gpus=a.ray_gpus or 0.0,
        work=a.work,
    )
