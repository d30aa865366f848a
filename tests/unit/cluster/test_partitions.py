"""Cut and joined again, whatever the size of a partition: the same bytes as in one process."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arhn import formats
from arhn.cleaning.config import CleanConfig
from arhn.cleaning.models import Models
from arhn.cleaning.pipeline import clean_groups
from arhn.cleaning.run import Files, Job, run
from arhn.cleaning.stats import Failure, StageStats, Stats
from arhn.cluster.partitions import Outcome, Part, Partition, cut
from arhn.engines import Completion, Request, RequestFailed
from arhn.engines.fake import FakeEngine
from arhn.types import Group
from tests.conftest import answer_by_marks, group, many, shown
from tests.unit.cluster.inline import UNCALIBRATED, run_inline

OUTPUTS = ("", ".decisions")


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("groups")
    with formats.GroupWriter(folder / "train.jsonl", "tevatron") as writer:
        for each in many(17):
            writer.write(each)
    return folder


def job(folder: Path, name: str, **fields: Any) -> Job:
    files = Files.beside(str(folder / name))
    return Job(input=str(folder / "train.jsonl"), files=files, overwrite=True, **fields)


def one(job: Job, engine: FakeEngine | None = None) -> dict[str, Any]:
    return run(job, lambda _: Models(engine=engine or FakeEngine(answer_by_marks)))


def alike(content: dict[str, Any]) -> dict[str, Any]:
    """A summary without what says when and where a run was."""
    stages = {
        name: {what: n for what, n in stage.items() if what != "seconds"} for name, stage in content["llm"].items()
    }
    return {**content, "files": None, "seconds": None, "llm": stages}


def same_bytes(folder: Path, a: str, b: str, ending: str = ".jsonl") -> bool:
    first, second = ((folder / f"{name}{ending}").read_bytes() for name in (a, b))
    decisions = ((folder / f"{name}.decisions.jsonl").read_bytes() for name in (a, b))
    return first == second and len(set(decisions)) == 1


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(size=st.integers(1, 20), workers=st.integers(1, 3))
def test_any_partitions_and_workers_give_the_bytes_of_one_process(
    here: Path, tmp_path_factory: pytest.TempPathFactory, size: int, workers: int
) -> None:
    if not (here / "whole.jsonl").exists():
        one(job(here, "whole.jsonl"))
    whole = json.loads((here / "whole.summary.json").read_bytes())
    content = run_inline(job(here, "cut.jsonl"), tmp_path_factory.mktemp("work"), size=size, workers=workers)
    assert same_bytes(here, "whole", "cut")
    assert alike(content) == alike(whole)


@pytest.mark.parametrize("name", ["x.jsonl.zst", "x.parquet"])
def test_other_containers_and_formats(here: Path, tmp_path: Path, name: str) -> None:
    ending = name.removeprefix("x")
    for to in (None, "triplet"):
        one(job(here, f"whole{ending}", to=to))
        content = run_inline(job(here, f"cut{ending}", to=to), tmp_path / str(to), size=4)
        assert same_bytes(here, "whole", "cut", ending)
        assert bool(content["losses"]) == (to == "triplet")


def test_bad_rows_are_set_aside_once(here: Path, tmp_path: Path) -> None:
    lines = (here / "train.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "train.jsonl").write_bytes(b"".join([*lines[:5], b"{}\n", *lines[5:]]))
    for name, do in (("whole", one), ("cut", lambda j: run_inline(j, tmp_path / "work"))):
        content = do(job(tmp_path, f"{name}.jsonl", on_bad_row="skip"))
        assert content["groups"]["rejected_rows"] == 1
    assert same_bytes(tmp_path, "whole", "cut", ".rejects.jsonl")
    assert same_bytes(tmp_path, "whole", "cut")


def test_failures_are_written_and_only_they_are_asked_again(here: Path, tmp_path: Path) -> None:
    failing = True

    def script(request: Request) -> Completion | str:
        if failing and "passage 0 of group 7 " in shown(request):
            raise RequestFailed("no answer", attempts=6)
        return answer_by_marks(request)

    work = tmp_path / "work"
    first = run_inline(job(here, "cut.jsonl", config=UNCALIBRATED), work, engine=FakeEngine(script))
    failures = [json.loads(line) for line in (here / "cut.failures.jsonl").read_text().splitlines()]
    assert {(row["query_id"], row["doc_id"], row["attempts"]) for row in failures} == {("q7", "q7-n0", 6)}
    assert first["llm"]["extract"]["failed"] == len(failures)
    failing = False
    engine = FakeEngine(script)
    again = run_inline(job(here, "cut.jsonl", config=UNCALIBRATED), work, engine=engine)
    asked = [shown(request) for request in engine.asked]
    assert asked
    assert all("question 7?" in text for text in asked)
    assert again["llm"]["extract"]["asked"] < 5
    one(job(here, "whole.jsonl", config=UNCALIBRATED))
    assert same_bytes(here, "whole", "cut")
    assert not (here / "cut.failures.jsonl").exists()


def test_dropped_groups(here: Path, tmp_path: Path) -> None:
    config = CleanConfig(floor=6, floor_policy="drop", calibrations=("none",))
    one(job(here, "whole.jsonl", config=config))
    content = run_inline(job(here, "cut.jsonl", config=config), tmp_path / "work")
    assert content["groups"]["dropped"] > 0
    assert same_bytes(here, "whole", "cut")


def test_cut_is_lazy_and_leaves_nothing_out() -> None:
    drawn = 0

    def counted() -> Iterator[Group]:
        nonlocal drawn
        for each in many(10):
            drawn += 1
            yield each

    partitions = cut(counted(), 4, UNCALIBRATED)
    first = next(partitions)
    assert (first.number, len(first.groups), drawn) == (0, 4, 4)
    assert [(p.number, len(p.groups)) for p in partitions] == [(1, 4), (2, 2)]


def test_a_digest_stands_for_all_that_a_writer_puts_back(tmp_path: Path) -> None:
    def digest(line: str) -> str:
        (tmp_path / "x.jsonl").write_text(line)
        return Partition(number=0, groups=tuple(formats.read(tmp_path / "x.jsonl")), config=UNCALIBRATED).digest

    row = '{"query_id": "1", "query": "q", "positive_passages": [%s], "negative_passages": [%s]%s}'
    passages = ('{"docid": "a", "text": "x"}', '{"docid": "b", "text": "y"}')
    same = digest(row % (*passages, ""))
    assert digest(row % (*passages, "")) == same
    others = {
        digest(row % (*passages, ', "k": 1')),
        digest(row % (*passages, ', "k": 1.0')),
        digest(row.replace('"1"', "1") % (*passages, "")),
        digest(row % ('{"text": "x", "docid": "a"}', passages[1], "")),
        digest(row % (passages[0], passages[1].replace("y", "z"), "")),
    }
    assert len(others | {same}) == 6


def test_a_part_is_packed_without_loss_and_damage_is_noticed() -> None:
    groups = [*many(4), group("x", negatives=["nothing", "ANSWER1 too"])]
    cleaned = list(clean_groups(groups, FakeEngine(answer_by_marks)))
    failure = Failure(stage="rank", query_id="x", doc_id=None, reason="no", attempts=2, model="m")
    rank = StageStats(requests=3, asked=2, reused=1, prompt_tokens=5, seconds=0.1)
    stats = Stats(stages={"rank": rank}, begun=5, expected=3)
    part = Part(outcomes=tuple(map(Outcome.of, cleaned)), failures=(failure,), stats=stats)
    packed = part.pack()
    again = Part.unpack(packed)
    assert again == part
    assert again is not None
    assert list(again.join(groups)) == cleaned
    assert Part.unpack(packed[:-7]) is None
    assert Part.unpack(packed[:40] + bytes([packed[40] ^ 1]) + packed[41:]) is None
    assert (part.count_as_reused().stats.begun, part.count_as_reused().stats.expected) == (5, 3)
    [(name, counts)] = part.count_as_reused().stats.stages.items()
    assert (name, counts.requests, counts.asked, counts.reused, counts.prompt_tokens) == ("rank", 3, 0, 3, 0)
