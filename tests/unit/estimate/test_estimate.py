import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from arhn.cleaning.config import CleanConfig
from arhn.cleaning.models import Models
from arhn.cleaning.pipeline import clean_groups
from arhn.cleaning.stats import Stats
from arhn.engines import Capabilities, Request
from arhn.engines.fake import FakeEngine
from arhn.engines.openai.budget import Prices
from arhn.errors import StoreError, UsageError
from arhn.estimate import (
    BlockReuse,
    Characters,
    Cost,
    Counting,
    Pilot,
    Planned,
    SlotReuse,
    Speed,
    Tariff,
    estimate,
    spread,
)
from arhn.estimate.assumptions import find_interval
from arhn.estimate.estimate import Estimate, count_answering
from arhn.store import SqliteStore, StoredAnswers
from arhn.types import Group
from tests.conftest import answer_by_marks, many

UNCALIBRATED = CleanConfig(calibrations=("none",))
ABLE = Capabilities(constraints=True, logprobs=True, concurrency=4, context=4096)
COUNTING = Counting(tokenizer=Characters(4.0), reuse=lambda: BlockReuse(64), described="blocks")


def passages(group: Group) -> int:
    return len(group.passages)


def estimated(
    groups: Sequence[Group],
    *,
    size: int = 100,
    model: str = "planned",
    pilot: Pilot | None = None,
    stored: StoredAnswers | None = None,
    **settings: object,
) -> Estimate:
    return estimate(
        spread(groups, size, passages),
        config=CleanConfig(**settings),  # type: ignore[arg-type]
        models=Models(engine=Planned(model, ABLE)),
        counting=COUNTING,
        pilot=pilot,
        stored=stored,
    )


def real(groups: Sequence[Group]) -> tuple[Stats, Pilot]:
    """A real run's counts, and what it says of answers."""
    stats = Stats()
    hits, of = count_answering(
        list(clean_groups(groups, FakeEngine(answer_by_marks), config=UNCALIBRATED, stats=stats))
    )
    return stats, Pilot.measured(hits, of, words=1, source="test")


def test_a_sample_is_spread_evenly_and_knows_the_whole() -> None:
    sample = spread(many(1000, negatives=3), 10, passages)
    places = [int(g.query_id[1:]) for g in sample.groups]
    assert (len(places), sample.total, sample.passages) == (10, 1000, 4000)
    assert places == sorted(set(places))
    gaps = [b - a for a, b in pairwise(places)]
    assert max(gaps) <= 2 * min(gaps)
    assert places[-1] > 800
    assert sample.factor == pytest.approx(100)


def test_a_small_file_is_sampled_whole() -> None:
    sample = spread(many(7), 10, passages)
    assert len(sample.groups) == sample.total == 7
    assert sample.factor == 1


def test_nothing_in_nothing_out() -> None:
    found = estimated([])
    assert (found.groups, found.middle, found.high) == (0, Cost(), Cost())


def test_it_counts_what_a_run_asks() -> None:
    groups = list(many(40))
    stats, pilot = real(groups)
    found = estimated(groups, pilot=pilot)
    assert found.stages["extract"].calls == pytest.approx(stats.of("extract").asked, rel=0.1)
    assert found.low.calls <= stats.total.asked <= found.high.calls


def test_a_sample_of_a_run_tells_of_all_of_it() -> None:
    groups = list(many(400))
    stats, pilot = real(groups)
    found = estimated(groups, pilot=pilot, size=20)
    assert found.middle.calls == pytest.approx(stats.total.asked, rel=0.15)
    assert found.low.calls < found.middle.calls < found.high.calls


def test_what_all_prompts_share_is_computed_once_in_a_run_and_not_in_every_sample() -> None:
    groups = list(many(100))
    pilot = Pilot.measured(400, 1000, words=5, source="test")
    whole, sampled = (estimated(groups, size=size, pilot=pilot).middle for size in (100, 20))
    assert sampled.computed == pytest.approx(whole.computed, rel=0.15)
    assert whole.computed < whole.prompt / 3


def test_whole_answers_are_counted_as_well() -> None:
    groups = list(many(20))
    found = estimate(
        spread(groups, 100, passages),
        config=CleanConfig(),
        models=Models(engine=Planned("planned", replace(ABLE, logprobs=False))),
        counting=COUNTING,
        pilot=Pilot.measured(300, 1000, words=1, source="test"),
    )
    assert found.answering == pytest.approx(0.3, abs=0.12)


def test_fewer_negatives_fewer_calls() -> None:
    groups = list(many(20))
    assert estimated(groups, negatives=2).middle.calls < estimated(groups).middle.calls / 2


def test_more_answers_cost_more_calls() -> None:
    groups = list(many(20))
    rare, frequent = (estimated(groups, pilot=Pilot.measured(hits, 1000, words=5, source="test")) for hits in (10, 400))
    assert rare.middle.calls < frequent.middle.calls
    assert rare.answering < 0.1 < frequent.answering


def test_methods_and_rankers_are_counted_each_in_its_way() -> None:
    groups = list(many(10))
    assert set(estimated(groups, method="rlhn").stages) == {"flag", "judge"}
    pilot = Pilot.measured(500, 1000, words=5, source="test")
    orders = estimated(groups, pilot=pilot, ranker={"name": "consistent", "shuffles": 4}).stages["rank"].calls
    assert orders == 4 * estimated(groups, pilot=pilot).stages["rank"].calls
    assert estimated(groups, pilot=pilot, ranker={"name": "pivot"}).stages["rank"].calls > 0


def test_without_log_probabilities_whole_answers_are_counted() -> None:
    groups = list(many(10))
    sampled = estimated(groups, samples=3, show_answer=False)
    assert sampled.stages["extract"].calls == 3 * 8 * 10


def test_a_method_without_an_llm_is_refused() -> None:
    with pytest.raises(UsageError, match="asks no LLM"):
        estimate(spread(many(3), 3, passages), config=CleanConfig(method="none"), models=Models(), counting=COUNTING)


def stored_run(path: Path, groups: Sequence[Group]) -> Path:
    with SqliteStore(path, model="fake") as store:
        list(clean_groups(groups, FakeEngine(answer_by_marks), config=UNCALIBRATED, store=store))
    return path


def test_what_an_earlier_run_answered_costs_nothing(tmp_path: Path) -> None:
    groups = list(many(40))
    path = stored_run(tmp_path / "s.sqlite", groups[:20])
    before = path.read_bytes()
    stored = StoredAnswers(path)
    resumed = estimated(groups, model="fake", stored=stored)
    stored.close()
    assert resumed.known == 20
    assert resumed.pilot.source.startswith("the store")
    hits, of = count_answering(list(clean_groups(groups[:20], FakeEngine(answer_by_marks), config=UNCALIBRATED)))
    assert resumed.pilot.answering.middle == pytest.approx(hits / of)
    fresh = estimated(groups[20:], pilot=resumed.pilot)
    assert resumed.middle.calls == pytest.approx(fresh.middle.calls)
    assert path.read_bytes() == before


def test_a_whole_stored_run_leaves_nothing_to_ask(tmp_path: Path) -> None:
    groups = list(many(10))
    stored = StoredAnswers(stored_run(tmp_path / "s.sqlite", groups))
    assert estimated(groups, model="fake", stored=stored).high.calls == 0
    assert estimated(groups, model="another", stored=stored).known == 0
    stored.close()


def test_a_store_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no response store"):
        StoredAnswers(tmp_path / "none.sqlite")
    assert not list(tmp_path.iterdir())


ASKED = Request(messages=(), max_tokens=1)


def test_blocks_are_found_by_all_that_stands_before_them() -> None:
    async def asked() -> list[int]:
        reuse = BlockReuse(4)
        prompts = ("aaaabbbbcc", "aaaabbbbdd", "aaaabbbbcccc", "xxxxbbbbcc", "aaaabbbb")
        return [await reuse.cached(ASKED, p) for p in prompts]

    # The last one is known whole: its last block is computed again.
    assert asyncio.run(asked()) == [0, 8, 8, 0, 4]


class OneSlot:
    async def acquire(self, request: object) -> int:
        return 0

    def release(self, slot: int) -> None:
        return None


def test_a_slot_knows_its_last_prompt_only() -> None:
    async def asked() -> list[int]:
        reuse = SlotReuse(OneSlot())
        return [await reuse.cached(ASKED, p) for p in ("abcde", "abxyz", "abcde", "abcde")]

    assert asyncio.run(asked()) == [0, 2, 2, 4]


def test_prompts_that_do_not_fit_are_cut_as_in_a_run() -> None:
    tight = Capabilities(constraints=True, logprobs=True, concurrency=1, context=700)
    texts = " ".join(f"word{i}." for i in range(600))
    groups = [
        Group(
            query_id=g.query_id,
            query=g.query,
            positives=g.positives,
            negatives=tuple(type(p)(doc_id=p.doc_id, text=f"{i} {texts}") for i, p in enumerate(g.negatives)),
            extra={},
        )
        for g in many(3)
    ]
    found = estimate(
        spread(groups, 10, passages),
        config=CleanConfig(),
        models=Models(engine=Planned("p", tight)),
        counting=COUNTING,
    )
    assert found.middle.prompt / found.middle.calls < 700


def test_time_gpu_hours_and_money() -> None:
    cost = Cost(calls=100, prompt=1_000_000, computed=360_000, completion=7_200)
    tariff = Tariff(
        speed=Speed(prompt=100, completion=2, gpus=4, price=3.0), prices=Prices(prompt=1.0, completion=2.0, cached=0.5)
    )
    bill = tariff.bill(cost)
    assert (bill.seconds, bill.gpu_hours, bill.gpu_money) == (1800, 2.0, 6.0)
    assert bill.token_money == pytest.approx(0.36 + 0.32 + 0.0144)
    assert Tariff(speed=Speed(calls=10)).bill(cost).seconds == 10
    assert Tariff().bill(cost).seconds is None


@pytest.mark.parametrize(("hits", "of"), [(0, 10), (5, 10), (10, 10), (61, 714)])
def test_an_interval_holds_the_share(hits: int, of: int) -> None:
    low, high = find_interval(hits, of)
    assert 0 <= low <= hits / of <= high <= 1
    assert high - low < 0.55


def test_estimates_are_the_same_every_time() -> None:
    groups = list(many(30))
    assert estimated(groups, size=7) == estimated(groups, size=7)


def test_answers_are_read_by_the_pipeline_as_meant() -> None:
    found = estimated(list(many(20)), pilot=Pilot.measured(300, 1000, words=4, source="test"))
    assert found.answering == pytest.approx(0.3, abs=0.12)


def test_a_pilot_with_triage_speaks_of_what_was_asked_about(tmp_path: Path) -> None:
    summary = {
        "positives": {"status": {"answer": 10}},
        "negatives": {"status": {"answer": 4, "no_answer": 15, "unknown": 1, "spared": 80}},
        "llm": {"extract": {"asked": 44, "reused": 0, "completion_tokens": 142}, "flag": {"asked": 100}},
        "settings": {},
        "seconds": 72.0,
    }
    (tmp_path / "summary.json").write_text(json.dumps(summary), "utf-8")
    pilot = Pilot.of_summary(tmp_path / "summary.json")
    assert pilot.answering.middle == pytest.approx(4 / 19)
    assert pilot.words == 5  # 14 snippets of 8 tokens, beside 30 verdicts
    assert pilot.seconds == 0.5
