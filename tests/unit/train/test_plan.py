"""Batches and turns: every query once an epoch, evenly, the same for the same seed, whatever the devices."""

from __future__ import annotations

from collections import Counter
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arhn.errors import NothingToTrain, TrainingError
from arhn.train.groups import gather
from arhn.train.plan import Examples, Plan, Schedule
from arhn.train.recipe import Recipe, load
from tests.unit.train import tiny


def recipe(**changes: object) -> Recipe:
    return load("tiny").model_copy(update=changes)


def queries(plan: Plan) -> list[int]:
    return [index for batch in plan for index, _ in batch]


@given(st.integers(2, 200), st.integers(2, 64), st.integers(1, 3), st.integers(0, 2**32 - 1), st.integers(0, 3))
def test_every_query_is_seen_once_an_epoch_in_even_batches(
    groups: int, contrast: int, accumulation: int, seed: int, epoch: int
) -> None:
    batch = contrast * accumulation
    if groups < batch:
        return
    schedule = Schedule.for_groups(groups, recipe(batch=batch, contrast=contrast))
    plan = Plan(schedule, groups, seed)
    plan.epoch = epoch
    sizes = [len(each) for each in plan]
    assert sorted(queries(plan)) == list(range(groups))
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= min(contrast, schedule.largest)
    assert len(sizes) == len(plan) == schedule.steps * accumulation
    assert schedule.steps == -(-groups // batch)


@given(st.integers(40, 200), st.sampled_from([1, 2, 4]), st.integers(0, 9))
def test_devices_share_what_one_would_do(groups: int, world: int, epoch: int) -> None:
    schedule = Schedule.for_groups(groups, recipe(batch=16, contrast=8), world)
    plans = [Plan(schedule, groups, 7, rank) for rank in range(world)]
    for plan in plans:
        plan.epoch = epoch
    batches = [[each for each, _ in zip(plan, range(99), strict=False)] for plan in plans]
    seen = [index for each in chain.from_iterable(batches) for index, _ in each]
    assert len(seen) == len(set(seen)) == schedule.queries
    assert groups - schedule.queries < schedule.losses * world
    if world > 1:
        assert len({len(each) for each in chain.from_iterable(batches)}) == 1


def test_seed_and_epoch_decide_the_order() -> None:
    schedule = Schedule.for_groups(50, recipe(batch=10))

    def order(seed: int, epoch: int) -> list[int]:
        plan = Plan(schedule, 50, seed)
        plan.epoch = epoch
        return queries(plan)

    assert order(1, 2) == order(1, 2)
    assert order(1, 2) != order(1, 3)
    assert order(1, 2) != order(2, 2)


@pytest.mark.parametrize("groups", [20, 50, 70, 130])
def test_groups_that_replace_others_make_as_many_batches(groups: int) -> None:
    plan = Plan(Schedule.for_groups(50, recipe(batch=10)), 50, 1)
    before = [len(batch) for batch in plan]
    plan.groups = groups
    assert [len(batch) for batch in plan] == before
    seen = Counter(queries(plan))
    assert max(seen.values()) - min(seen.values() if groups <= 50 else [0]) <= 1


def test_a_batch_larger_than_the_data_is_an_error() -> None:
    with pytest.raises(NothingToTrain, match=r"batch of 2,048 queries, but only 60 groups .* --set batch=8, or"):
        Schedule.for_groups(60, load("e5-base"))


def test_devices_that_contrast_does_not_fit() -> None:
    with pytest.raises(TrainingError, match=r"contrast: 10 queries can't be spread evenly over 4 devices"):
        Schedule.for_groups(100, recipe(batch=10), 4)


def chosen(examples: Examples, index: int, epoch: int) -> tuple[list[str], list[str]]:
    example = examples[index, epoch]
    shown = [passage.text for passage in example.passages]
    return shown[: example.positives], shown[example.positives :]


@given(st.integers(1, 5), st.integers(1, 9), st.integers(1, 4), st.integers(0, 99))
def test_positives_and_negatives_take_turns(positives: int, negatives: int, wanted: int, seed: int) -> None:
    store = gather(tiny.groups(3, positives=positives, negatives=negatives))
    examples = Examples(store, recipe(negatives=wanted, seed=seed))
    epochs = positives * negatives
    seen = [chosen(examples, 1, epoch) for epoch in range(epochs)]
    counts = Counter(chain.from_iterable(p for p, _ in seen)), Counter(chain.from_iterable(n for _, n in seen))
    assert len(counts[0]) == positives
    assert set(counts[0].values()) == {epochs // positives}
    assert len(counts[1]) == negatives
    assert set(counts[1].values()) == {epochs * min(wanted, negatives) // negatives}
    assert all(len(p) == 1 and len(set(n)) == min(wanted, negatives) for p, n in seen)


def test_the_next_positive_follows_the_one_before() -> None:
    store = gather(tiny.groups(2, positives=3))
    examples = Examples(store, recipe())
    order = [store.passage(i).text for i in store[0].positives]
    first = order.index(chosen(examples, 0, 0)[0][0])
    assert [chosen(examples, 0, epoch)[0][0] for epoch in range(4)] == [order[(first + e) % 3] for e in range(4)]


def test_a_run_of_one_epoch_sees_later_positives_too() -> None:
    store = gather(tiny.groups(60, positives=3))
    examples = Examples(store, recipe())
    firsts = {
        [store.passage(m).text for m in store[i].positives].index(chosen(examples, i, 0)[0][0]) for i in range(60)
    }
    assert firsts == {0, 1, 2}


def test_all_positives_at_once_up_to_a_limit() -> None:
    examples = Examples(gather(tiny.groups(1, positives=5)), recipe(positives="all", max_positives=3))
    sets = [frozenset(chosen(examples, 0, epoch)[0]) for epoch in range(5)]
    assert {len(each) for each in sets} == {3}
    assert len(set(sets)) == 5


def test_what_is_chosen_hangs_on_the_query_not_on_its_place() -> None:
    made = tiny.groups(6, positives=3, negatives=9)
    one, other = Examples(gather(made), recipe()), Examples(gather(made[::-1]), recipe())
    assert chosen(one, 1, 2) == chosen(other, 4, 2)
