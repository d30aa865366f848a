"""Workers as Ray actors: started, given work, and replaced when they or their machines die."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from arhn import __version__
from arhn.cleaning.models import ModelsRecord
from arhn.cluster.partitions import Partition
from arhn.cluster.schedule import may_succeed_elsewhere
from arhn.cluster.work import Done, Failed, OpenModels, Ready, Serving, Worker
from arhn.errors import ClusterError, EngineError

logger = logging.getLogger(__name__)

#: Partitions that a worker has at once: while one ends, with fewer and fewer requests in flight, the next has begun.
EACH = 2
#: Workers that a seat loses, one after the other, until it is given up.
_LOSSES = 3
#: Seconds: between two looks, between two lines about workers that don't come, and for a worker to close its models.
_LOOK, _SAY, _CLOSE = 1.0, 30.0, 10.0


@dataclass(slots=True)
class _Seat:
    """Where a worker is; another one takes its place when it is lost. `serving`: what each of them reported last."""

    actor: Any = None
    ready: bool = False
    alone: bool = False
    tasks: int = 0
    losses: int = 0
    serving: list[Serving] = field(default_factory=list)


class RayPool:
    """Workers on a Ray cluster that this process is connected to.

    Args:
        ray: the module.
        options: what a worker takes of its machine, as Ray calls it.
    """

    def __init__(self, ray: Any, workers: int, options: Mapping[str, float], open_models: OpenModels) -> None:
        self._ray = ray
        self._options = dict(options)
        self._open_models = open_models
        self._seats = [_Seat() for _ in range(workers)]
        #: What is under way: whose, and which partition, None while a worker opens.
        self._running: dict[Any, tuple[_Seat, Any, Partition | None]] = {}
        self._models: ModelsRecord | None = None
        self._logged = time.monotonic()
        self.lost = 0

    def open(self) -> ModelsRecord:
        """Start all workers and wait for the first one.

        Raises:
            ArhnError: none of them can open its models.
        """
        for seat in self._seats:
            self._start(seat)
        while self._models is None:
            self.wait()
        return self._models

    @property
    def serving(self) -> list[Serving]:
        """Those of lost workers too."""
        return [report for seat in self._seats for report in seat.serving]

    def has_room(self, *, alone: bool) -> bool:
        """Whether some worker can take a partition now; `alone`: one that has no other."""
        return self._find_seat(alone=alone) is not None

    def begin(self, partition: Partition, answers: bytes | None, *, alone: bool) -> None:
        """Give a partition to the worker with the fewest; `alone`: it gets no other beside it."""
        seat = self._find_seat(alone=alone)
        assert seat is not None  # nosec B101 - narrows a type
        seat.tasks += 1
        seat.alone = alone
        self._running[seat.actor.clean.remote(partition, answers)] = (seat, seat.actor, partition)

    def wait(self) -> tuple[Partition, Done | Failed] | None:
        """Wait for something to happen; a partition that ended, or None.

        Raises:
            ArhnError: no worker is left, or one found out what is wrong with all of them.
        """
        done, _ = self._ray.wait(list(self._running), timeout=_LOOK)
        if not done:
            self._log_what_is_missing()
            return None
        seat, actor, partition = self._running.pop(done[0])
        outcome = self._read_outcome(done[0])
        if isinstance(outcome, Ready):
            self._admit(seat, outcome)
            return None
        if seat.actor is actor:
            self._record_outcome(seat, outcome, opening=partition is None)
        return (partition, outcome) if partition is not None else None

    def close(self) -> None:
        """End all workers."""
        actors = [seat.actor for seat in self._seats if seat.actor is not None]
        closing = [seat.actor.close.remote() for seat in self._seats if seat.ready]
        if closing:
            self._ray.wait(closing, num_returns=len(closing), timeout=_CLOSE)
        for actor in actors:
            self._ray.kill(actor)

    def _find_seat(self, *, alone: bool) -> _Seat | None:
        most = 0 if alone else EACH - 1
        able = [s for s in self._seats if s.ready and s.tasks <= most and not (s.alone and s.tasks)]
        return min(able, key=lambda s: s.tasks, default=None)

    def _start(self, seat: _Seat) -> None:
        kind = self._ray.remote(Worker).options(
            max_concurrency=EACH + 2, max_restarts=0, scheduling_strategy="SPREAD", **self._options
        )
        seat.actor, seat.ready, seat.tasks = kind.remote(self._open_models), False, 0
        self._running[seat.actor.open.remote()] = (seat, seat.actor, None)

    def _read_outcome(self, ref: Any) -> Ready | Done | Failed:
        try:
            found: Ready | Done | Failed = self._ray.get(ref)
        except self._ray.exceptions.RayTaskError as error:  # not even our own code could be run there
            return Failed(
                error=ClusterError(
                    f"a worker can't run arhn {__version__}: {_last_line(error)}. Install the same version, with the "
                    "same extras, on every machine"
                )
            )
        except self._ray.exceptions.RayError as error:
            return Failed(error=ClusterError(f"a worker was lost ({_first_line(error)})"))
        return found

    def _admit(self, seat: _Seat, ready: Ready) -> None:
        if ready.version != __version__:
            raise ClusterError(
                f"a worker has arhn {ready.version}, this machine {__version__}. Install the same on all"
            )
        models = ready.models
        if self._models is None:
            self._models = models
        elif _identify(models) != _identify(self._models):
            raise EngineError(
                f"the workers' models don't answer in the same way: {_identify(self._models)}; "
                f"{_identify(models)}. Give all of them the same"
            )
        seat.ready = True
        seat.serving.append(models.serving)

    def _record_outcome(self, seat: _Seat, outcome: Done | Failed, *, opening: bool) -> None:
        """Note what an outcome shows of the worker: whether it has to be replaced."""
        if not opening:
            seat.tasks -= 1
            seat.alone = seat.alone and seat.tasks > 0
        if isinstance(outcome, Done):
            seat.losses = 0
            seat.serving[-1] = outcome.serving
            return
        if opening or isinstance(outcome.error, (ClusterError, EngineError)):
            self._replace(seat, outcome, opening=opening)

    def _replace(self, seat: _Seat, failed: Failed, *, opening: bool) -> None:
        if not may_succeed_elsewhere(failed):
            raise failed.error
        self.lost += 1
        # A partition that brings its worker down isn't the worker's fault; its tries are counted elsewhere.
        seat.losses += opening or isinstance(failed.error, EngineError)
        self._ray.kill(seat.actor)
        seat.ready = False
        never = self._models is None and all(s.losses for s in self._seats)
        if seat.losses < _LOSSES and not never:
            logger.warning("%s; another worker takes its place", failed.error)
            self._start(seat)
            return
        seat.actor = None
        logger.warning("%s; it is not replaced", failed.error)
        if never or all(s.actor is None for s in self._seats):
            raise failed.error

    def _log_what_is_missing(self) -> None:
        if any(s.ready for s in self._seats) or time.monotonic() - self._logged < _SAY:
            return
        self._logged = time.monotonic()
        logger.info(
            "no worker has started yet; each takes %s, and the cluster has %s",
            _list_amounts(self._options),
            _list_amounts(_list_resources(self._ray)),
        )


def _list_resources(ray: Any) -> dict[str, float]:
    found: dict[str, float] = ray.available_resources()
    return {f"num_{name.lower()}s": found.get(name, 0.0) for name in ("CPU", "GPU")}


def _list_amounts(options: Mapping[str, float]) -> str:
    return ", ".join(f"{amount:g} {name.removeprefix('num_')}" for name, amount in options.items())


def _identify(models: ModelsRecord) -> str:
    can = models.capabilities
    able = f", constraints {can.constraints}, log-probabilities {can.logprobs}, context {can.context}" if can else ""
    return ", ".join(models.names.values()) + able


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".")


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1].rstrip(".")


__all__ = ["EACH", "RayPool"]
