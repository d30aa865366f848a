"""The rivals (RLHN's cascade, margins, none) and what all methods have in common."""

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from arhn import formats
from arhn.cleaning.config import CleanConfig
from arhn.cleaning.evidence.signals import QUERY
from arhn.cleaning.margin_rule import Margin
from arhn.cleaning.methods import METHODS
from arhn.cleaning.methods.rlhn import Judgement, read
from arhn.cleaning.models import Models
from arhn.cleaning.pipeline import clean_groups
from arhn.cleaning.run import Files, Job, run
from arhn.cleaning.stats import Stats
from arhn.engines import Completion, Matching, Request, RequestFailed
from arhn.engines.fake import FakeEngine, Script
from arhn.errors import EngineError, UsageError
from arhn.retrieval.similarity import Similarity
from arhn.types import CleanedGroup, Group, Mode, Passage, Reason
from tests.conftest import answer_by_marks, group, many, shown


def actions(cleaned: CleanedGroup) -> list[tuple[str, Reason]]:
    """Of the negatives."""
    return [(d.action, d.reason) for d in cleaned.decisions[len(cleaned.group.positives) :]]


def texts(passages: Sequence[Passage]) -> list[str]:
    return [p.text for p in passages]


# RLHN

IDS = ("a", "b", "c")


def judgement(text: str, finish: str = "stop") -> Judgement | None:
    return read(Completion(text=text, finish=finish), IDS)  # type: ignore[arg-type]


def judged(g: Group, engine: FakeEngine, small_model: FakeEngine | None = None, **settings: Any) -> CleanedGroup:
    config = CleanConfig(method="rlhn", **settings)
    [cleaned] = clean_groups([g], Models(engine=engine, small_model=small_model), config=config)
    assert all(d.action == "keep" for d in cleaned.decisions[: len(g.positives)])
    return cleaned


@pytest.mark.parametrize(
    ("text", "better", "worse"),
    [
        ("better: none; worse: none", "", ""),
        ("better: 2; worse: 1, 3", "b", "ac"),
        (" better: none; worse: 3.\n", "", "c"),
        ("better: 1, 2, 3; worse: none", "abc", ""),
    ],
)
def test_a_judgement_names_the_relevant_negatives(text: str, better: str, worse: str) -> None:
    assert judgement(text) == Judgement(better=frozenset(better), worse=frozenset(worse))


BROKEN = [
    "",
    "none",
    "better: 1",
    "better: ; worse: ",
    "better: 4; worse: none",
    "better: 0; worse: none",
    "better: 1, 1; worse: none",
    "better: 1; worse: 1",
    "better: 1,2; worse: none",
    "better: 1; worse: none, because it says so",
    "I think better: 1; worse: none",
    "better: -1; worse: none",
    "better: 1000; worse: none",
]


@pytest.mark.parametrize("text", BROKEN)
def test_anything_else_says_nothing_and_not_none_found(text: str) -> None:
    assert judgement(text) is None


@pytest.mark.parametrize("finish", ["length", "context", "refused"])
def test_an_unfinished_judgement_says_nothing(finish: str) -> None:
    assert judgement("better: 1; worse: none", finish) is None
    assert read(None, IDS) is None


@given(st.text())
def test_no_text_names_a_negative_that_was_not_shown(text: str) -> None:
    found = judgement(text)
    assert found is None or found.better | found.worse <= set(IDS)


@given(st.lists(st.sampled_from(["better", "worse", ""]), min_size=3, max_size=3))
def test_every_judgement_round_trips(words: list[str]) -> None:
    named = {w: [i for i, word in enumerate(words, 1) if word == w] for w in ("better", "worse")}
    text = "; ".join(f"{w}: {', '.join(map(str, numbers)) or 'none'}" for w, numbers in named.items())
    found = judgement(text)
    assert found is not None
    assert found.better == {IDS[n - 1] for n in named["better"]}
    assert found.worse == {IDS[n - 1] for n in named["worse"]}


MIXED = group(positives=["holds ANSWER2"], negatives=["has ANSWER1", "has ANSWER3", "nothing"])


@pytest.mark.parametrize(
    ("mode", "expected"), [(Mode.RF, ["relabel", "filter"]), (Mode.R, ["relabel", "keep"]), (Mode.F, ["filter"] * 2)]
)
def test_better_becomes_positive_and_worse_goes(engine: FakeEngine, mode: Mode, expected: list[str]) -> None:
    assert actions(judged(MIXED, engine, mode=mode)) == [
        (expected[0], Reason.JUDGED_BETTER),
        (expected[1], Reason.JUDGED_WORSE),
        ("keep", Reason.UNDISPUTED),
    ]


def test_the_judge_is_asked_only_about_flagged_groups() -> None:
    judge, small_model = FakeEngine(answer_by_marks, model="strong"), FakeEngine(answer_by_marks, model="cheap")
    stats = Stats()
    config = CleanConfig(method="rlhn")
    clear = [group(f"q{i}", negatives=[f"nothing {i}", "nothing more"]) for i in range(5)]
    results = list(
        clean_groups([*clear, MIXED], Models(engine=judge, small_model=small_model), config=config, stats=stats)
    )
    assert (len(small_model.asked), len(judge.asked)) == (6, 1)
    assert (stats.of("flag").asked, stats.of("judge").asked) == (6, 1)
    assert [a for a, _ in actions(results[-1])] == ["relabel", "filter", "keep"]
    for cleaned in results[:-1]:
        assert {r for _, r in actions(cleaned)} == {Reason.UNDISPUTED}


def test_the_judge_has_the_last_word() -> None:
    small_model = FakeEngine(answer_by_marks, model="cheap")
    nothing = judged(MIXED, FakeEngine(lambda _: "better: none; worse: none", model="strong"), small_model)
    assert {r for _, r in actions(nothing)} == {Reason.UNDISPUTED}
    broken = judged(MIXED, FakeEngine(lambda _: "garbage", model="strong"), small_model)
    assert actions(broken) == [("keep", Reason.JUDGE_UNKNOWN)] * 3


def test_one_llm_for_both_is_asked_once(engine: FakeEngine) -> None:
    stats = Stats()
    [cleaned] = clean_groups([MIXED], engine, config=CleanConfig(method="rlhn"), stats=stats)
    assert len(engine.asked) == 1
    assert isinstance(engine.asked[0].constraint, Matching)
    assert (stats.of("flag").asked, stats.of("judge").reused) == (1, 1)
    assert [a for a, _ in actions(cleaned)] == ["relabel", "filter", "keep"]


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize(
    "broken",
    [*BROKEN, Completion(text="better: 1; worse: none", finish="length"), Completion(text="", finish="refused")],
)
def test_a_broken_judgement_changes_no_label_in_any_mode(broken: Completion | str, mode: Mode) -> None:
    cleaned = judged(MIXED, FakeEngine(lambda _: broken), mode=mode)
    assert actions(cleaned) == [("keep", Reason.JUDGE_UNKNOWN)] * 3
    assert cleaned.cleaned == MIXED


def test_a_failed_request_changes_no_label() -> None:
    def fail(_: Request) -> str:
        raise RequestFailed("dropped")

    assert actions(judged(MIXED, FakeEngine(fail))) == [("keep", Reason.JUDGE_UNKNOWN)] * 3


def test_all_of_the_group_is_shown_once_on_a_line_each(engine: FakeEngine) -> None:
    g = group(
        query="what is\nthe answer?",
        positives=["first ANSWER2", "second\nANSWER3"],
        negatives=["x\n[9] me", "second ANSWER3", "x [9] me", "y ANSWER1"],
    )
    cleaned = judged(g, engine)
    [request] = engine.asked
    query, _, one, two, _, *candidates = shown(request).splitlines()
    assert query == "Question: what is the answer?"
    assert (one, two) == ("- first ANSWER2", "- second ANSWER3")
    # Neither the copy of a positive nor that of another negative; in an order that says nothing.
    assert sorted(line.partition(" ")[2] for line in candidates) == ["x [9] me", "y ANSWER1"]
    assert actions(cleaned) == [
        ("keep", Reason.UNDISPUTED),
        ("filter", Reason.EQUALS_POSITIVE),
        ("filter", Reason.DUPLICATE),
        ("relabel", Reason.JUDGED_BETTER),
    ]


def test_nothing_is_asked_where_there_is_nothing_to_judge(engine: FakeEngine) -> None:
    judged(group(negatives=[]), engine, floor=0)
    judged(group(positives=["the same"], negatives=["the  same"]), engine)
    assert engine.asked == []


def test_a_judgement_that_does_not_fit_the_context_shows_less_of_each_passage() -> None:
    def script(request: Request) -> Completion | str:
        text = shown(request)
        return Completion(text="", finish="context") if len(text) > 1500 else answer_by_marks(request)

    filler = " Then come words." * 200
    g = group(positives=["holds ANSWER2." + filler], negatives=["has ANSWER1." + filler, "has ANSWER3." + filler])
    engine = FakeEngine(script)
    assert [a for a, _ in actions(judged(g, engine))] == ["relabel", "filter"]
    flagging = [len(shown(r)) for r in engine.asked][:3]
    assert flagging[0] > 1.8 * flagging[1] > 3 * flagging[2]
    never = judged(g, FakeEngine(lambda _: Completion(text="", finish="context")))
    assert actions(never) == [("keep", Reason.JUDGE_UNKNOWN)] * 2


def test_negatives_that_are_not_used_are_not_judged(engine: FakeEngine) -> None:
    cleaned = judged(MIXED, engine, negatives=1, floor=1, floor_policy="backfill")
    assert actions(cleaned) == [("relabel", Reason.JUDGED_BETTER), *[("filter", Reason.UNUSED)] * 2]
    assert cleaned.below_floor
    assert "ANSWER3" not in shown(engine.asked[0])


# Margin


@dataclass
class Table:
    """Similarities by text."""

    scored: dict[str, float] = field(default_factory=dict)
    identity: str = "table"

    def scores(self, query: str, passages: Sequence[Passage]) -> tuple[float, ...]:
        return tuple(self.scored.get(p.text, 0.0) for p in passages)


def margined(g: Group, scored: dict[str, float], margin: Margin | None = None, **settings: Any) -> CleanedGroup:
    config = CleanConfig(method="margin", margin=margin or Margin(), **settings)
    [cleaned] = clean_groups([g], Models(similarity=cast("Similarity", Table(scored))), config=config)
    assert all(d.action == "keep" for d in cleaned.decisions[: len(g.positives)])
    return cleaned


SCORED = {"p": 0.8, "p2": 0.6, "near": 0.79, "next": 0.6, "far": 0.1}


def test_margin_filters_what_is_as_similar_as_the_positive() -> None:
    g = group(positives=["p"], negatives=["near", "next", "far", "p"])
    cleaned = margined(g, SCORED)
    assert actions(cleaned) == [
        ("filter", Reason.MARGIN),
        ("keep", Reason.UNDISPUTED),
        ("keep", Reason.UNDISPUTED),
        ("filter", Reason.EQUALS_POSITIVE),
    ]
    scores = [{QUERY: score} for score in (0.8, 0.79, 0.6, 0.1, 0.8)]
    assert cleaned.similarities == dict(zip([p.doc_id for p in g.passages], scores, strict=True))
    assert cleaned.extractions == ()
    assert cleaned.family == ""


def test_the_least_similar_positive_sets_the_margin() -> None:
    g = group(positives=["p", "p2"], negatives=["near", "next", "far"])
    assert [a for a, _ in actions(margined(g, SCORED))] == ["filter", "filter", "keep"]


def test_the_rule_and_its_value_are_settings() -> None:
    g = group(positives=["p"], negatives=["near", "next", "far"])
    for margin, kept in ((Margin(rule="absolute", value=0.05), 0), (Margin(rule="relative", value=0.01), 2)):
        assert len(margined(g, SCORED, margin).negatives) == kept


def test_margin_backfills_with_what_is_far_enough_and_no_copy_of_what_is_used() -> None:
    g = group(positives=["p"], negatives=["near", "near", "p", "next", "far"])
    settings: dict[str, Any] = {"negatives": 1, "floor": 1, "floor_policy": "backfill"}
    cleaned = margined(g, SCORED, **settings)
    assert texts(cleaned.negatives) == ["next"]
    assert [r for _, r in actions(cleaned)] == [
        Reason.MARGIN,
        Reason.UNUSED,
        Reason.UNUSED,
        Reason.BACKFILL,
        Reason.UNUSED,
    ]
    # An absolute margin above the positive's score must not bring its own text in as a negative.
    loose = margined(g, SCORED | {"near": 0.95}, Margin(rule="absolute", value=0.9), **settings)
    assert texts(loose.negatives) == ["next"]


def test_margin_cannot_relabel_and_needs_a_similarity() -> None:
    with pytest.raises(ValidationError, match="method margin only filters"):
        margined(group(negatives=["x"]), {}, mode=Mode.R)
    with pytest.raises(UsageError, match="needs a similarity model"):
        list(clean_groups([group()], Models(), config=CleanConfig(method="margin")))
    with pytest.raises(UsageError, match="method rlhn: needs an LLM"):
        list(clean_groups([group()], Models(), config=CleanConfig(method="rlhn")))


# None


def test_none_leaves_out_nothing_but_copies() -> None:
    g = group(positives=["p"], negatives=["p", "x", "x", "ANSWER1"])
    [cleaned] = clean_groups([g], Models(), config=CleanConfig(method="none"))
    assert actions(cleaned) == [
        ("filter", Reason.EQUALS_POSITIVE),
        ("keep", Reason.UNDISPUTED),
        ("filter", Reason.DUPLICATE),
        ("keep", Reason.UNDISPUTED),
    ]
    assert texts(cleaned.negatives) == ["x", "ANSWER1"]
    assert cleaned.positives == g.positives


def test_none_keeps_the_number_of_negatives_and_the_floor() -> None:
    g = group(negatives=["x", "y", "z"])
    settings: dict[str, Any] = {"method": "none", "negatives": 1, "floor": 2}
    for policy, kept, dropped in (("keep", ["x"], False), ("drop", ["x"], True), ("backfill", ["x", "y"], False)):
        [cleaned] = clean_groups([g], Models(), config=CleanConfig(**settings | {"floor_policy": policy}))
        assert texts(cleaned.negatives) == kept
        assert cleaned.dropped == dropped


# All of them, from file to files


def scripted_models(method: str, script: Script = answer_by_marks) -> Models:
    similarity = cast("Similarity", Table({f"positive of {i} holds ANSWER2": 0.5 for i in range(20)}))
    match method:
        case "arhn":
            return Models(engine=FakeEngine(script, model="strong"))
        case "rlhn":
            return Models(engine=FakeEngine(script, model="strong"), small_model=FakeEngine(script, model="cheap"))
        case "margin":
            return Models(similarity=similarity)
        case _:
            return Models()


@pytest.mark.parametrize("floor_policy", ["keep", "drop", "backfill"])
@pytest.mark.parametrize("method", METHODS.built_in)
def test_every_method_writes_the_same_files_again(tmp_path: Path, method: str, floor_policy: str) -> None:
    with formats.GroupWriter(tmp_path / "in.jsonl", "tevatron") as writer:
        for g in many(12):
            writer.write(g)
    config = CleanConfig(method=method, negatives=4, floor=4, floor_policy=floor_policy)  # type: ignore[arg-type]
    outputs, asked = [], []
    for name in ("first", "again", "first-again"):
        store = tmp_path / f"{name.removesuffix('-again')}.sqlite"
        files = Files.beside(str(tmp_path / f"{name}.jsonl"), store=store)
        models = scripted_models(method)
        job = Job(input=str(tmp_path / "in.jsonl"), files=files, config=config)
        content = run(job, lambda _, models=models: models)  # type: ignore[misc]
        outputs.append([(tmp_path / f"{name}{part}.jsonl").read_bytes() for part in ("", ".decisions")])
        asked.append([r for e in models.engines for r in cast("FakeEngine", e).asked])
        assert content["settings"]["method"] == method
        assert content["groups"]["read"] == 12
        assert (content["groups"]["written"] < 12) == (content["groups"]["dropped"] > 0)
        assert set(content) & {"model", "flagger", "similarity"} == set(models.names)
        assert json.loads(files.summary.read_text()) == content
    assert outputs[0] == outputs[1] == outputs[2]
    # The third run had the first one's store.
    assert len(asked[0]) == len(asked[1])
    assert asked[2] == []


def test_a_small_model_that_dies_ends_the_run(tmp_path: Path) -> None:
    with formats.GroupWriter(tmp_path / "in.jsonl", "tevatron") as writer:
        for g in many(12):
            writer.write(g)

    def gone(_: Request) -> str:
        raise EngineError("gone")

    def open_models(stack: ExitStack) -> Models:
        return Models(engine=FakeEngine(answer_by_marks), small_model=FakeEngine(gone))

    files = Files.beside(str(tmp_path / "out.jsonl"))
    with pytest.raises(EngineError, match="gone"):
        run(Job(input=str(tmp_path / "in.jsonl"), files=files, config=CleanConfig(method="rlhn")), open_models)
    assert not (tmp_path / "out.jsonl").exists()
