"""What is tried again, what ends a run, and in which order results come."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from arhn.cleaning.config import CleanConfig
from arhn.cleaning.models import Models
from arhn.cleaning.stats import Stats
from arhn.cluster.partitions import Partition, cut
from arhn.cluster.run import add_up_serving
from arhn.cluster.schedule import TRIES, Schedule
from arhn.cluster.work import Done, Failed, Worker
from arhn.cluster.work_folder import WorkFolder, digest_settings
from arhn.engines import Request
from arhn.engines.fake import FakeEngine
from arhn.errors import (
    ArhnError,
    BudgetSpent,
    CalibrationError,
    ClusterError,
    EngineError,
    KeyRefused,
    PartitionsFailed,
    StoreCorrupt,
    UsageError,
)
from tests.conftest import answer_by_marks, many
from tests.unit.cluster.inline import UNCALIBRATED, Fate, Inline, numbers, opened, work_folder_at

LOST = Failed(error=ClusterError("a worker was lost"))


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(answer_by_marks)


@pytest.fixture
def kept(tmp_path: Path, engine: FakeEngine) -> WorkFolder:
    return work_folder_at(tmp_path / "work", engine)


def partitions(count: int, config: CleanConfig = UNCALIBRATED) -> Iterator[Partition]:
    return cut(iter(many(2 * count, negatives=2)), 2, config)


def first_time(*which: int, failed: Failed = LOST, times: int = 1) -> Fate:
    seen: Counter[int] = Counter()

    def fate(partition: Partition) -> Failed | None:
        seen[partition.number] += 1
        return failed if partition.number in which and seen[partition.number] <= times else None

    return fate


def test_results_come_in_order_within_the_window(engine: FakeEngine, kept: WorkFolder) -> None:
    pool = Inline(opened(engine), workers=2)
    drawn: list[int] = []

    def counted() -> Iterator[Partition]:
        for partition in partitions(20):
            drawn.append(partition.number)
            yield partition

    schedule = Schedule(pool, kept, Stats(), window=6)
    for number, (partition, part) in enumerate(schedule.run(counted())):
        assert partition.number == number
        assert len(part.outcomes) == 2
        assert drawn[-1] < number + 6
    assert (schedule.done, schedule.found, pool.most) == (20, 0, 4)


def test_a_stored_partition_is_not_cleaned_again(engine: FakeEngine, kept: WorkFolder) -> None:
    first = Schedule(Inline(opened(engine), workers=1), kept, Stats(), window=4)
    for partition, _ in first.run(partitions(6)):
        if partition.number == 2:
            break
    asked, stats = len(engine.asked), Stats()
    pool = Inline(opened(engine), workers=1)
    again = Schedule(pool, kept, stats, window=4)
    assert numbers(again.run(partitions(6))) == list(range(6))
    assert again.found == first.done
    assert again.found + again.done == 6
    assert len(pool.began) == again.done
    assert stats.total.reused >= asked
    assert stats.total.asked == len(engine.asked) - asked


def test_with_other_settings_answers_are_used_again_but_not_results(tmp_path: Path, engine: FakeEngine) -> None:
    plain, floor = UNCALIBRATED, CleanConfig(calibrations=("none",), floor=2)
    for config, asks in ((plain, True), (floor, False), (plain, False)):
        before = len(engine.asked)
        pool = Inline(opened(engine))
        schedule = Schedule(pool, work_folder_at(tmp_path / "work", engine, config), Stats(), window=4)
        assert numbers(schedule.run(partitions(3, config))) == [0, 1, 2]
        assert (len(engine.asked) > before) == asks
    assert schedule.found == 3


def test_a_damaged_partition_is_cleaned_again(tmp_path: Path, engine: FakeEngine, kept: WorkFolder) -> None:
    def run() -> Schedule:
        schedule = Schedule(Inline(opened(engine)), kept, Stats(), window=4)
        list(schedule.run(partitions(2)))
        return schedule

    run()
    file = min((tmp_path / "work").glob("*.part"))
    whole = file.read_bytes()
    file.write_bytes(whole[:-9])
    assert (run().found, file.read_bytes() != whole[:-9]) == (1, True)


def test_a_lost_partition_is_tried_again_by_itself(engine: FakeEngine, kept: WorkFolder) -> None:
    pool = Inline(opened(engine), workers=2, fate=first_time(1, 3))
    schedule = Schedule(pool, kept, Stats(), window=8)
    assert numbers(schedule.run(partitions(8))) == list(range(8))
    assert schedule.again == 2
    assert sorted(number for number, alone in pool.began if alone) == [1, 3]


@pytest.mark.parametrize(
    "error", [LOST, Failed(error=EngineError("gone")), Failed(error=ArhnError("x"), expected=False)]
)
def test_a_partition_that_always_fails_is_reported_after_the_others_are_stored(
    engine: FakeEngine, kept: WorkFolder, error: Failed
) -> None:
    pool = Inline(opened(engine), workers=2, fate=first_time(2, failed=error, times=99))
    schedule = Schedule(pool, kept, Stats(), window=6)
    got: list[int] = []
    with pytest.raises(PartitionsFailed, match=f"1 of 9 partitions were tried {TRIES} times.*q4 to q5.*{error.error}"):
        got.extend(partition.number for partition, _ in schedule.run(partitions(9)))
    assert got == [0, 1]
    assert Counter(number for number, _ in pool.began)[2] == TRIES
    again = Schedule(pool := Inline(opened(engine)), kept, Stats(), window=6)
    assert numbers(again.run(partitions(9))) == list(range(9))
    assert pool.began == [(2, False)]


def test_a_run_ends_when_no_partition_succeeds(engine: FakeEngine, kept: WorkFolder) -> None:
    pool = Inline(opened(engine), fate=lambda _: LOST)
    with pytest.raises(PartitionsFailed, match="in vain"):
        list(Schedule(pool, kept, Stats(), window=8).run(partitions(1000)))
    assert len(pool.began) < 30


@pytest.mark.parametrize("error", [KeyRefused("k"), BudgetSpent("b"), UsageError("u"), StoreCorrupt("s")])
def test_an_error_that_no_worker_can_avoid_ends_the_run(engine: FakeEngine, kept: WorkFolder, error: ArhnError) -> None:
    pool = Inline(opened(engine), fate=first_time(1, failed=Failed(error=error), times=9))
    with pytest.raises(type(error)):
        list(Schedule(pool, kept, Stats(), window=8).run(partitions(5)))
    assert [number for number, _ in pool.began].count(1) == 1


def test_a_worker_returns_its_error() -> None:
    def script(request: Request) -> str:
        raise EngineError("gone")

    def broken(request: Request) -> str:
        raise ZeroDivisionError("x / 0")

    [partition] = partitions(1)
    for wrong, expected in ((script, EngineError), (broken, ArhnError)):
        outcome = asyncio.run(opened(FakeEngine(wrong)).clean(partition, None))
        assert isinstance(outcome, Failed)
        assert type(outcome.error) is expected
        assert outcome.expected == (wrong is script)

    def fail(_: object) -> Models:
        raise KeyRefused("no key")

    opening = asyncio.run(Worker(fail).open())
    assert isinstance(opening, Failed)
    assert isinstance(opening.error, KeyRefused)


def test_a_worker_uses_the_answers_of_an_earlier_try(engine: FakeEngine) -> None:
    [partition] = partitions(1)
    worker = opened(engine)
    first = asyncio.run(worker.clean(partition, None))
    assert isinstance(first, Done)
    asked = len(engine.asked)
    second = asyncio.run(worker.clean(partition, first.answers))
    assert isinstance(second, Done)
    assert len(engine.asked) == asked > 0
    damaged = asyncio.run(worker.clean(partition, b"no store at all, but some other file of a certain length" * 9))
    assert isinstance(damaged, Failed)
    assert isinstance(damaged.error, StoreCorrupt)


def test_the_digest_of_a_run_depends_on_settings_that_change_decisions(engine: FakeEngine) -> None:
    described = Models(engine=engine).record
    digests = {
        digest_settings(CleanConfig(), described),
        digest_settings(CleanConfig(floor=2), described),
        digest_settings(CleanConfig(method="rlhn"), described),
        digest_settings(CleanConfig(), Models(engine=FakeEngine(answer_by_marks, model="other")).record),
    }
    assert len(digests) == 4
    with pytest.raises(CalibrationError):
        digest_settings(CleanConfig(precision=0.99, calibrations=("shipped",)), described)


def test_counts_of_all_workers_are_added_up() -> None:
    def report(answered: int, **servers: dict[str, int]) -> dict[str, dict[str, object]]:
        return {"model": {"context": 4096, "servers": servers, "spent": {"calls": answered, "money": 0.5}}}

    said = [report(3, a={"answered": 3}), {}, report(4, a={"answered": 2, "late": 1}, b={"answered": 2})]
    assert add_up_serving(said) == {
        "model": {
            "context": 4096,
            "servers": {"a": {"answered": 5, "late": 1}, "b": {"answered": 2}},
            "spent": {"calls": 7, "money": 1.0},
        }
    }
    assert add_up_serving([]) == {}
