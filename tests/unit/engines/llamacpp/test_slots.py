"""Which slot a request gets, without a model."""

import asyncio
import random

import pytest

from arhn.engines import Message, Request
from arhn.engines.llamacpp.slots import Slots


def asking(kind: str, text: str = "") -> Request:
    return Request(messages=(Message("system", kind), Message("user", text)), max_tokens=1)


EXTRACT, RANK = asking("extract"), asking("rank")


def test_each_prefix_is_computed_once_per_slot() -> None:
    """Whatever the arrivals, a slot changes its prefix only when it is first used."""

    async def scenario() -> int:
        slots = Slots(5, 4)
        changes = 0
        held: dict[int, object] = {}
        rng = random.Random(7)

        async def use(request: Request) -> None:
            nonlocal changes
            slot = await slots.acquire(request)
            changes += held.get(slot) is not request
            held[slot] = request
            await asyncio.sleep(rng.random() / 1000)
            slots.release(slot)

        await asyncio.gather(*(use(RANK if i % 9 == 8 else EXTRACT) for i in range(500)))
        return changes

    assert asyncio.run(scenario()) == 5


def test_at_most_the_limit_are_out() -> None:
    async def scenario() -> None:
        slots = Slots(3, 2)
        first, second = await slots.acquire(EXTRACT), await slots.acquire(RANK)
        assert first != second
        third = asyncio.ensure_future(slots.acquire(EXTRACT))
        await asyncio.sleep(0)
        assert not third.done()
        slots.release(second)
        assert await third not in (first, second)

    asyncio.run(scenario())


def test_a_third_prefix_takes_the_slot_unused_for_longest() -> None:
    async def scenario() -> None:
        slots = Slots(2, 1)
        for request in (EXTRACT, RANK):
            slots.release(await slots.acquire(request))
        third = asking("third")
        slot = await slots.acquire(third)
        assert slot == 0
        slots.release(slot)
        assert await slots.acquire(third) == 0

    asyncio.run(scenario())


def test_cancelling_waiters_and_holders_at_once_loses_no_slot() -> None:
    """What closing a run early does: everything is cancelled in the same turn of the loop."""

    async def scenario() -> None:
        slots = Slots(3, 2)

        async def use() -> None:
            slot = await slots.acquire(EXTRACT)
            try:
                await asyncio.sleep(60)
            finally:
                slots.release(slot)

        tasks = [asyncio.ensure_future(use()) for _ in range(6)]
        await asyncio.sleep(0)
        for task in reversed(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert len({await asyncio.wait_for(slots.acquire(EXTRACT), 60) for _ in range(2)}) == 2

    asyncio.run(scenario())


@pytest.mark.parametrize("first", [RANK, Request(messages=(Message("user", "alone"),), max_tokens=1)])
def test_a_prefix_that_comes_late_gets_all_slots_it_can_use(first: Request) -> None:
    """As when a resumed run begins with rankings, or one engine serves two kinds of run in turn."""

    async def scenario() -> int:
        slots = Slots(5, 4)
        for held in [await slots.acquire(first) for _ in range(4)]:
            slots.release(held)
        taken = [await asyncio.wait_for(slots.acquire(EXTRACT), 60) for _ in range(4)]
        return len(set(taken))

    assert asyncio.run(scenario()) == 4


def test_a_cancelled_request_gives_its_place_back() -> None:
    async def scenario() -> None:
        slots = Slots(2, 1)
        slot = await slots.acquire(EXTRACT)
        waiting = asyncio.ensure_future(slots.acquire(EXTRACT))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        slots.release(slot)
        assert await slots.acquire(EXTRACT) == slot

    asyncio.run(scenario())


PASSAGE = "Passage: The grey heron waits beside the weir until dusk, then flies up to the alders.\nQuestion: "


async def served(slots: Slots, waiting: list[Request]) -> list[Request]:
    """The order in which requests get their turn that all wait while another one is answered."""
    busy = await slots.acquire(asking("extract", "the first"))
    order: list[Request] = []

    async def use(request: Request) -> None:
        slot = await slots.acquire(request)
        order.append(request)
        slots.release(slot)

    tasks = [asyncio.ensure_future(use(request)) for request in waiting]
    await asyncio.sleep(0)
    slots.release(busy)
    await asyncio.gather(*tasks)
    return order


def test_equal_passages_are_asked_about_in_a_row() -> None:
    texts = [
        "Passage: Another one, of some other thing.\nQuestion: Who?",
        PASSAGE + "When?",
        "Passage: B",
        PASSAGE + "Who?",
    ]
    asked = [asking("extract", text) for text in texts]
    order = asyncio.run(served(Slots(2, 1, nearest=True), asked))
    assert order == [asked[0], asked[1], asked[3], asked[2]]
    assert asyncio.run(served(Slots(2, 1), asked)) == asked


def test_a_kind_of_prompt_that_is_held_comes_before_one_that_is_not() -> None:
    asked = [RANK, asking("third"), asking("extract", "a"), asking("rank", "b")]
    order = asyncio.run(served(Slots(2, 1, nearest=True), asked))
    assert order == [asked[2], asked[0], asked[3], asked[1]]


def test_whoever_gives_up_is_not_chosen() -> None:
    async def scenario() -> None:
        slots = Slots(2, 1, nearest=True)
        slot = await slots.acquire(asking("extract", PASSAGE + "Who?"))
        gone = asyncio.ensure_future(slots.acquire(asking("extract", PASSAGE + "When?")))
        other = asyncio.ensure_future(slots.acquire(asking("extract", "Passage: B")))
        await asyncio.sleep(0)
        gone.cancel()
        slots.release(slot)
        await asyncio.wait_for(other, 60)
        assert gone.cancelled()

    asyncio.run(scenario())
