"""Calibrations that a run makes from its own first groups: when, for which families, and what stops them."""

from __future__ import annotations

import asyncio
import json
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest

from arhn import formats
from arhn.cleaning import prompts
from arhn.cleaning.auto_calibration import take_first
from arhn.cleaning.config import CleanConfig
from arhn.cleaning.evidence import assume as assumptions
from arhn.cleaning.evidence.assume import Transfer
from arhn.cleaning.evidence.calibration import Calibration
from arhn.cleaning.evidence.signals import SIMILARITIES, VERDICT
from arhn.cleaning.models import Models
from arhn.cleaning.pipeline import assume, clean_groups
from arhn.cleaning.run import Files, Job, run
from arhn.cleaning.run.calibration_notes import describe_calibrations
from arhn.cleaning.stats import Stats
from arhn.cluster.partitions import Partition
from arhn.cluster.work import Failed
from arhn.engines import Completion, Request
from arhn.engines.fake import FakeEngine
from arhn.errors import ClusterError, EngineError, PartitionsFailed
from arhn.retrieval.similarity import Similarity
from arhn.store import MemoryStore
from arhn.types import Group, Passage, Reason
from tests.conftest import FakeSimilarity, answer_by_marks, calibrated, kind_of, many, shown
from tests.unit.cluster.inline import run_inline

#: Fewer than in earnest: what is tested doesn't depend on it.
FIRST_GROUPS = 16
COUNT = FIRST_GROUPS + 5


@pytest.fixture(autouse=True)
def few_first_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arhn.cleaning.auto_calibration.FIRST_GROUPS", FIRST_GROUPS)


def weights(**changes: Any) -> tuple[Transfer, ...]:
    """Weights by which what the LLM says yes to is acted on; those that are shipped may change."""
    usual: dict[str, Any] = {"intercept": -1.0, "threshold": 0.5, "lower": 0.2, "relabel": 0.7}
    return tuple(
        Transfer.model_validate({"weights": dict.fromkeys(names, 2.0), **usual, **changes})
        for names in ((VERDICT,), (VERDICT, *SIMILARITIES))
    )


Weigh = Callable[..., None]


@pytest.fixture(autouse=True)
def weigh(monkeypatch: pytest.MonkeyPatch) -> Weigh:
    def use(**changes: Any) -> None:
        monkeypatch.setattr(assumptions, "load_transfer", lambda: weights(**changes))

    use()
    return use


@dataclass
class Marks(FakeSimilarity):
    """What holds a mark is alike, more or less."""

    identity: str = "marks"

    def scores(self, query: str, passages: Sequence[Passage]) -> tuple[float, ...]:
        return tuple(0.8 + len(p.text) % 5 / 50 if "ANSWER" in p.text else 0.1 + len(p.text) % 7 / 50 for p in passages)


MARKS = cast("Similarity", Marks())


def assumed(groups: Sequence[Group], config: CleanConfig | None = None, **models: Any) -> CleanConfig:
    given = Models(**{"engine": FakeEngine(answer_by_marks), **models})
    return asyncio.run(assume(groups, given, config=config or CleanConfig(), store=MemoryStore(), stats=Stats()))


def claims(count: int) -> list[Group]:
    """Groups of a subset that is known to hold claims."""
    return [replace(g, query_id=f"c{g.query_id}", extra={"subset": "fever"}) for g in many(count, 6)]


def made(config: CleanConfig) -> dict[str, Calibration]:
    return {c.family: c for c in config.own_calibrations if "rate" in c.fitted}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with formats.GroupWriter(tmp_path / "train.jsonl", "tevatron") as writer:
        for group in many(COUNT, 3):
            writer.write(group)
    return tmp_path


def job(folder: Path, name: str, **settings: Any) -> Job:
    files = Files.beside(str(folder / f"{name}.jsonl"))
    return Job(input=str(folder / "train.jsonl"), files=files, config=CleanConfig(**settings))


def outputs(folder: Path, name: str) -> list[bytes]:
    return [(folder / f"{name}{part}.jsonl").read_bytes() for part in ("", ".decisions")]


def do(job: Job, engine: FakeEngine | None = None, similarity: Similarity | None = None) -> dict[str, Any]:
    return run(job, lambda _: Models(engine=engine or FakeEngine(answer_by_marks), similarity=similarity))


def test_nothing_is_asked_twice_and_confidences_are_the_runs_own() -> None:
    engine, groups = FakeEngine(answer_by_marks), list(many(20))
    results = list(clean_groups(groups, engine))
    assert len({r.key("m") for r in engine.asked}) == len(engine.asked)
    answering = [e for r in results for e in r.extractions[1:] if "ANSWER" in texts(r.group)[e.doc_id]]
    assert {e.status for e in answering} == {"answer"}
    # The LLM's own word would be 0.91 for each of them.
    assert all(e.confidence is not None and e.confidence != pytest.approx(0.909, abs=1e-3) for e in answering)


def texts(group: Group) -> dict[str, str]:
    return {p.doc_id: p.text for p in group.passages}


def test_a_family_with_few_negatives_goes_by_what_all_show() -> None:
    few, enough = claims(2), list(many(10))
    found = made(assumed([*enough, *few]))
    assert found["question"].fitted["negatives"] == 70
    assert found["claim"].fitted["negatives"] == 82
    assert found["title"].fitted == found["claim"].fitted
    assert made(assumed([*enough, *claims(5)]))["claim"].fitted["negatives"] == 30


def test_too_few_negatives_altogether_are_as_with_shipped() -> None:
    assert made(assumed(list(many(4)))) == {}
    for similarity in (None, MARKS):
        one, other = (
            list(clean_groups(many(4), Models(engine=FakeEngine(answer_by_marks), similarity=s), config=c))
            for s, c in ((similarity, CleanConfig()), (None, CleanConfig(calibrations=("shipped",))))
        )
        assert [r.decisions for r in one] == [r.decisions for r in other]
    assert list(clean_groups([], Models(engine=FakeEngine(answer_by_marks), similarity=MARKS))) == []


def test_ones_own_calibration_for_a_family_and_the_rest_made(folder: Path) -> None:
    own = calibrated(model="fake", prompt=prompts.load("question").check.hash, family="question", threshold=0.9)
    config = assumed([*many(10), *claims(10)], CleanConfig(calibrations=(own,)))
    assert (config.calibrations[0], config.calibrations[-1]) == (own, "none")
    assert set(made(config)) == {"claim", "title", "argument", "duplicate", "paraphrase"}
    with formats.GroupWriter(folder / "train.jsonl", "tevatron", overwrite=True) as writer:
        for group in (*many(10), *claims(10)):
            writer.write(group)
    found = do(job(folder, "out", calibrations=(own,)))["calibrations"]
    assert {name: c["source"] for name, c in found.items()} == {"question": "given", "claim": "auto"}
    assert found["question"]["threshold"] == 0.9


@pytest.mark.parametrize("fallback", ["none", "shipped"])
def test_named_otherwise_none_is_made(fallback: str) -> None:
    config = CleanConfig.model_validate({"calibrations": fallback})
    assert assumed(list(many(20)), config) is config


def test_single_answers_and_other_methods_make_none() -> None:
    for config in (CleanConfig(samples=1), CleanConfig(method="rlhn")):
        assert assumed(list(many(20)), config) is config


@pytest.mark.parametrize("similarity", [None, MARKS], ids=["alone", "with similarities"])
def test_a_cluster_makes_the_same_calibrations(folder: Path, similarity: Similarity | None) -> None:
    whole = do(job(folder, "whole"), similarity=similarity)
    assert whole["calibrations"]["question"]["source"] == "auto"
    assert whole["calibrations"]["question"]["fitted"]["groups"] == FIRST_GROUPS
    for size in (5, 16, 30):
        cut = run_inline(job(folder, f"cut{size}"), folder / f"{size}.work", size=size, similarity=similarity)
        assert cut["calibrations"] == whole["calibrations"]
        assert outputs(folder, f"cut{size}") == outputs(folder, "whole")


def test_a_cluster_that_broke_while_gathering_goes_on_to_the_same(folder: Path) -> None:
    def fate(partition: Partition) -> Failed | None:
        lost = partition.gathers and partition.number == 1
        return Failed(error=ClusterError("a worker was lost")) if lost else None

    whole = do(job(folder, "whole"))
    with pytest.raises(PartitionsFailed):
        run_inline(job(folder, "cut"), folder / "work", size=6, fate=fate)
    again = run_inline(job(folder, "cut"), folder / "work", size=6)
    assert again["calibrations"] == whole["calibrations"]
    assert outputs(folder, "cut") == outputs(folder, "whole")


@pytest.mark.parametrize("answers", [30, 84, 95], ids=["while gathering", "later", "still later"])
def test_a_run_that_was_killed_makes_the_same_calibration_again(folder: Path, answers: int) -> None:
    whole = do(job(folder, "whole"), first := FakeEngine(answer_by_marks))
    left = iter(range(answers))

    def script(request: Request) -> Completion | str:
        if next(left, None) is None:
            raise EngineError("killed")
        return answer_by_marks(request)

    with pytest.raises(EngineError):
        do(job(folder, "out"), FakeEngine(script))
    content = do(job(folder, "out"), second := FakeEngine(answer_by_marks))
    assert content["calibrations"] == whole["calibrations"]
    assert outputs(folder, "out") == outputs(folder, "whole")
    assert len(second.asked) == len(first.asked) - answers


def test_where_most_would_be_acted_on_nothing_is(folder: Path, weigh: Weigh) -> None:
    weigh(intercept=5.0)
    content = do(job(folder, "out"))
    assert set(content["negatives"]["action"]) == {"keep"}
    [line] = describe_calibrations(content)
    assert line.startswith("Nothing was changed for question: 100% of the negatives would be acted on. ")


def test_where_all_answers_break_nothing_is_acted_on(folder: Path) -> None:
    """Also on later groups, whose answers are sound."""
    first = {g.query for g in many(FIRST_GROUPS, 3)}

    def script(request: Request) -> Completion | str:
        early = any(f"{query}" in shown(request) for query in first)
        return "garbage" if early and kind_of(request) == "verdict" else answer_by_marks(request)

    content = do(job(folder, "out"), FakeEngine(script))
    assert set(content["negatives"]["action"]) == {"keep"}
    assert content["negatives"]["reason"][Reason.UNCERTAIN.value] == 3 * (COUNT - FIRST_GROUPS)
    assert next(describe_calibrations(content)).startswith("Nothing was changed for question: no group has all its ")


def test_a_similarity_that_says_the_same_of_all_does_no_harm() -> None:
    class Same(Marks):
        def scores(self, query: str, passages: Sequence[Passage]) -> tuple[float, ...]:
            return (0.5,) * len(passages)

    found = made(assumed(list(many(20)), similarity=cast("Similarity", Same())))["question"]
    assert all(found.signals[name].weight == 0 for name in SIMILARITIES)


# What is said of it


def content(precision: float | None = None, **calibrations: dict[str, Any]) -> dict[str, Any]:
    filled = {name: {"source": "none", "fitted": {}} | c for name, c in calibrations.items()}
    return {"calibrations": filled, "settings": {"precision": precision}}


def auto(negatives: int, **fitted: Any) -> dict[str, Any]:
    usual = {"groups": 40, "negatives": negatives, "rate": 0.125, "trust": 1.0}
    return {"source": "auto", "fitted": usual | fitted}


def test_families_that_were_calibrated_alike_share_a_line() -> None:
    lines = list(describe_calibrations(content(question=auto(70), claim=auto(30), title=auto(70))))
    assert len(lines) == 2
    assert lines[0].startswith(
        "Confidences for question, title were made without labels, from the first 40 groups (70 "
    )
    assert "12% of the negatives taken for false." in lines[0]
    assert lines[1].startswith(
        "Confidences for claim were made without labels, from the first 40 groups (30 negatives)"
    )
    assert "similarities" not in lines[0]


def test_a_verdict_that_is_not_trusted_is_said() -> None:
    [line] = describe_calibrations(content(question=auto(70, trust=0.31)))
    assert "how far they go with the similarities: 0.31 of 1." in line


def test_what_was_stopped_comes_first() -> None:
    stopped = auto(70, stopped="61% of the negatives would be acted on")
    lines = list(describe_calibrations(content(claim=auto(40), title={"source": "given"}, question=stopped)))
    assert lines[0].startswith("Nothing was changed for question: 61% of the negatives would be acted on. ")
    assert len(lines) == 3
    assert lines[-1].startswith("Confidences for title were calibrated on labels that it doesn't name. ")


@pytest.mark.parametrize(("precision", "says"), [(None, "own word decides"), (0.9, "their labels stay")])
def test_no_calibration_is_said(precision: float | None, says: str) -> None:
    [line] = describe_calibrations(content(precision, question={}, claim={}))
    assert "question, claim" in line
    assert says in line
    assert ("precision 0.9" in line) == (precision is not None)


def test_notes_are_of_what_a_summary_holds(folder: Path) -> None:
    do(job(folder, "out"))
    summary = json.loads((folder / "out.summary.json").read_bytes())
    [line] = describe_calibrations(summary)
    assert line.startswith("Confidences for question were made without labels, from the first 16 groups (48 ")


def test_enough_negatives_are_enough_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arhn.cleaning.auto_calibration.FIRST_NEGATIVES", 10)
    groups = iter(many(12, 4))
    assert len(take_first(groups, CleanConfig())) == 3
    assert len(list(groups)) == 9, "no more is read"
    assert len(take_first(many(12, 4), CleanConfig(negatives=1))) == 10
    assert len(take_first(many(2, 1), CleanConfig())) == 2


def test_nothing_of_the_first_groups_is_spared() -> None:
    """Their negatives were asked about: what was found is used, in one process and on a cluster."""
    config = CleanConfig().remember_judged(["q1"])
    assert config.judged == {"q1"}
    assert config.model_dump() == CleanConfig().model_dump(), "what a run finds out is no setting"
    assert pickle.loads(pickle.dumps(config)).judged == {"q1"}
    assert config.model_copy(update={"floor": 2}).judged == {"q1"}
