"""Workers that don't open, break, or aren't what the others are, with a stand-in for Ray."""

import asyncio
import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from arhn.cleaning.config import CleanConfig
from arhn.cleaning.models import Models
from arhn.cluster import pool as pools
from arhn.cluster.partitions import Partition, cut
from arhn.cluster.pool import RayPool
from arhn.cluster.work import Done, Failed, Ready, Worker
from arhn.engines import Request
from arhn.engines.fake import FakeEngine
from arhn.errors import ArhnError, ClusterError, EngineError, KeyRefused, ServerGone
from tests.conftest import answer_by_marks, many


class RayError(Exception):
    pass


class RayTaskError(RayError):
    pass


class StandIn:
    """As much of the module `ray` as a pool uses. `lose`: how many calls fail as if their worker had died."""

    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)

    def __init__(self, lose: int = 0) -> None:
        self.lose = lose
        self.options: dict[str, Any] = {}
        self.killed = 0

    def remote(self, kind: type) -> Any:
        def options(**given: Any) -> Any:
            self.options = given
            return SimpleNamespace(remote=lambda *arguments: Actor(kind(*arguments)))

        return SimpleNamespace(options=options)

    def wait(self, refs: list[Any], timeout: float, num_returns: int = 1) -> tuple[list[Any], list[Any]]:
        return refs[:num_returns], refs[num_returns:]

    def get(self, ref: Any) -> Any:
        if self.lose:
            self.lose -= 1
            raise RayError("The actor died.\nAnd more.")
        return asyncio.run(ref())

    def kill(self, actor: Any) -> None:
        self.killed += 1

    def available_resources(self) -> dict[str, float]:
        return {"CPU": 2.0}


class Actor:
    """Its methods give what is awaited later."""

    def __init__(self, worker: Any) -> None:
        self._worker = worker

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=lambda *given: lambda: getattr(self._worker, name)(*given))


def pool_of(ray: StandIn, opens: Callable[[], Models], workers: int = 2) -> RayPool:
    options = {"num_cpus": 1.0, "num_gpus": 0.0}
    return RayPool(ray, workers, options, lambda _: opens())


def sound() -> Models:
    return Models(engine=FakeEngine(answer_by_marks))


def partition() -> Partition:
    return next(cut(iter(many(1)), 1, CleanConfig(calibrations=("none",))))


def after(failures: int, error: ArhnError) -> Callable[[], Models]:
    tried = 0

    def opens() -> Models:
        nonlocal tried
        tried += 1
        if tried <= failures:
            raise error
        return sound()

    return opens


def test_partitions_are_spread_and_those_alone_are_alone() -> None:
    ray = StandIn()
    pool = pool_of(ray, sound)
    assert pool.open().names == {"model": "fake"}
    assert pool.wait() is None  # the second worker
    assert ray.options | {"num_cpus": 1.0, "max_restarts": 0} == ray.options
    pool.begin(partition(), None, alone=True)
    for _ in range(2):
        assert pool.has_room(alone=False)
        pool.begin(partition(), None, alone=False)
    assert not pool.has_room(alone=True)
    assert not pool.has_room(alone=False)
    for _ in range(3):
        ended = pool.wait()
        assert ended is not None
        assert isinstance(ended[1], Done)
    assert pool.has_room(alone=True)
    pool.close()
    assert ray.killed == 2


def test_a_wrong_address_of_a_server_is_said_when_all_have_tried_once() -> None:
    ray = StandIn()
    with pytest.raises(ServerGone, match="gone"):
        pool_of(ray, after(99, ServerGone("gone"))).open()
    assert ray.killed == 2


def test_what_is_wrong_with_all_is_said_at_once() -> None:
    ray = StandIn()
    with pytest.raises(KeyRefused):
        pool_of(ray, after(1, KeyRefused("no"))).open()


def test_a_worker_that_does_not_open_is_replaced_and_at_last_left_out(caplog: pytest.LogCaptureFixture) -> None:
    pool = pool_of(StandIn(), sound)
    pool.open()
    opens = after(99, EngineError("broken"))
    pool._open_models = lambda _: opens()
    seat = pool._seats[1]
    pool._start(seat)
    while seat.actor is not None:
        pool.wait()
    assert pool.has_room(alone=False)
    assert pool.lost == 3
    assert "broken; it is not replaced" in caplog.text


def test_a_lost_worker_is_replaced_however_often_its_partitions_bring_it_down() -> None:
    ray = StandIn()
    pool = pool_of(ray, sound, workers=1)
    pool.open()
    for _ in range(5):
        pool.begin(partition(), None, alone=False)
        ray.lose = 1
        ended = pool.wait()
        assert ended is not None
        assert isinstance(ended[1], Failed)
        assert isinstance(ended[1].error, ClusterError)
        assert not pool.has_room(alone=False)
        assert pool.wait() is None  # its successor has opened
        assert pool.has_room(alone=False)
    assert pool.lost == 5


def test_the_last_worker_with_a_broken_engine_ends_the_run() -> None:
    def broken(request: Request) -> str:
        raise EngineError("engine broken")

    pool = pool_of(StandIn(), lambda: Models(engine=FakeEngine(broken)), workers=1)
    pool.open()

    def use() -> None:
        while True:
            if pool.has_room(alone=False):
                pool.begin(partition(), None, alone=False)
            pool.wait()

    with pytest.raises(EngineError, match="engine broken"):
        use()
    assert pool.lost == 3


def test_workers_must_be_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    models = iter([sound(), Models(engine=FakeEngine(answer_by_marks, model="other"))])
    pool = pool_of(StandIn(), lambda: next(models))
    pool.open()
    with pytest.raises(EngineError, match=r"fake.*other"):
        pool.wait()
    monkeypatch.setattr(pools, "__version__", "99")
    with pytest.raises(ClusterError, match=r"a worker has arhn .*this machine 99"):
        pool_of(StandIn(), sound).open()


def test_arhn_is_not_installed_there() -> None:
    class Without(StandIn):
        def get(self, ref: Any) -> Any:
            raise RayTaskError("Traceback:\nModuleNotFoundError: No module named 'arhn'")

    with pytest.raises(ClusterError, match=r"No module named 'arhn'\. Install the same version"):
        pool_of(Without(), sound).open()


def test_waiting_for_workers_is_said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    class Full(StandIn):
        looks = 0

        def wait(self, refs: list[Any], timeout: float, num_returns: int = 1) -> tuple[list[Any], list[Any]]:
            self.looks += 1
            return ([], refs) if self.looks < 3 else super().wait(refs, timeout, num_returns)

    monkeypatch.setattr(pools, "_SAY", 0.0)
    caplog.set_level(logging.INFO)
    pool_of(Full(), sound).open()
    assert "each takes 1 cpus, 0 gpus, and the cluster has 2 cpus, 0 gpus" in caplog.text


def test_what_a_worker_says_when_ready() -> None:
    ready = asyncio.run(Worker(lambda _: sound()).open())
    assert isinstance(ready, Ready)
    assert ready.models.names == {"model": "fake"}
