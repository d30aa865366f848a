"""What the first groups of an input settle, and families of the user's own."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from arhn import formats
from arhn.cleaning import prompts
from arhn.cleaning.config import CleanConfig
from arhn.cleaning.first_groups import open_groups
from arhn.cleaning.models import Models
from arhn.cleaning.pipeline import clean_groups
from arhn.cleaning.prompts.own import OwnFamily, make_prompts
from arhn.cleaning.run import Files, Job, run
from arhn.cleaning.setup import choose_prompt, find_prompts, set_up
from arhn.config.problems import check
from arhn.config.settings import RunConfig
from arhn.config.values import gather
from arhn.engines import Completion, Request
from arhn.engines.fake import FakeEngine
from arhn.errors import UsageError
from arhn.families.choice import Opened
from arhn.families.data_set import SAMPLE
from arhn.families.family import Family
from arhn.types import Group, Passage, Reason
from tests.conftest import answer_by_marks, many
from tests.unit.cluster.inline import run_inline

ANSWERS = "A passage answers a ticket if it says how to solve its problem."
EXAMPLES: list[dict[str, Any]] = [
    {
        "query": "No sound.",
        "passage": "Turn the volume up. Then restart.",
        "answer": "Turn the volume up",
        "known": "up",
    },
    {"query": "No sound.", "passage": "We sell speakers.", "answer": None},
]


def tickets(count: int = 12, **extra: Any) -> list[Group]:
    return [
        Group(
            query_id=f"t{i}",
            query=f"The device number {i} shows a red light.",
            positives=(Passage(doc_id=f"t{i}-p", text=f"A red light on device {i} means heat. Let it cool, ANSWER2."),),
            negatives=(Passage(doc_id=f"t{i}-n", text=f"Device {i} has a light."),),
            extra=extra,
        )
        for i in range(count)
    ]


def settings(**values: Any) -> RunConfig:
    return RunConfig.model_validate(values)


def test_nothing_is_read_ahead_where_nothing_is_to_be_settled() -> None:
    def unread() -> Iterator[Group]:
        raise AssertionError("read")
        yield

    for config in (CleanConfig(method="none"), CleanConfig(families={"*": "claim"})):  # type: ignore[arg-type]
        assert open_groups(unread(), config)[0] is config
    settled, _ = open_groups(tickets(), CleanConfig())
    assert open_groups(unread(), settled)[0] is settled


def test_all_groups_come_again_in_their_order() -> None:
    groups = list(many(SAMPLE + 5))
    config, again = open_groups(iter(groups), CleanConfig())
    assert list(again) == groups
    assert config.families.opened is not None
    assert config.families.entries == {}


def test_a_whole_set_of_problems_is_asked_about_as_questions() -> None:
    engine = FakeEngine(answer_by_marks)
    groups = [*tickets(3), *many(30)]
    cleaned = list(clean_groups(groups, Models(engine=engine), config=CleanConfig()))
    assert {c.family for c in cleaned} == {"question"}
    alone = list(clean_groups(groups[:1], Models(engine=engine), config=CleanConfig()))
    assert alone[0].family == "claim"


def test_a_task_without_a_family_is_left_alone_and_counted(tmp_path: Path) -> None:
    engine = FakeEngine(answer_by_marks)
    groups = tickets(3, prompt="Find the matching intent.", type="symmetric_class")
    with formats.GroupWriter(tmp_path / "in.jsonl", "tevatron") as writer:
        for each in groups:
            writer.write(each)
    job = Job(input=str(tmp_path / "in.jsonl"), files=Files.beside(str(tmp_path / "out.jsonl")))
    content = run(job, lambda _: Models(engine=engine))
    assert engine.asked == []
    assert content["families"] == {"none (named)": 3}
    assert content["left_alone"] == {"groups": 3, "tasks": ["Find the matching intent."]}
    assert content["negatives"]["reason"] == {str(Reason.UNDISPUTED): 3}
    assert list(formats.read(tmp_path / "out.jsonl")) == list(formats.read(tmp_path / "in.jsonl"))


def test_contradictions_are_no_evidence_where_rows_ask_for_the_same_meaning() -> None:
    row = tickets(1, prompt="Retrieve semantically similar text.", type="only_1neg")
    engine = FakeEngine(answer_by_marks)
    none = CleanConfig(calibrations="none")  # type: ignore[arg-type]
    [cleaned] = clean_groups(row, Models(engine=engine), config=none)
    assert (cleaned.family, cleaned.family_from) == ("paraphrase", "named")
    # Without a calibration labels stay.
    assert engine.asked == []
    assert {d.action for d in cleaned.decisions} == {"keep"}
    chosen_family = CleanConfig(families={"*": "paraphrase"}, calibrations="none")  # type: ignore[arg-type]
    [chosen] = clean_groups(row, Models(engine=engine), config=chosen_family)
    assert chosen.extractions
    systems = {r.messages[0].content for r in engine.asked}
    assert all("contradicts" in system for system in systems if "judge" in system)


def test_a_cluster_settles_the_same_as_one_process(tmp_path: Path) -> None:
    groups = [*tickets(12), *many(6)]
    with formats.GroupWriter(tmp_path / "in.jsonl", "tevatron") as writer:
        for each in groups:
            writer.write(each)
    config = CleanConfig(family={"tickets": {"answers": ANSWERS}}, families={"other": "tickets"})  # type: ignore[dict-item, arg-type]
    outputs = []
    for name in ("one", "many"):
        files = Files.beside(str(tmp_path / f"{name}.jsonl"))
        job = Job(input=str(tmp_path / "in.jsonl"), files=files, config=config)
        content = run_inline(job, tmp_path / "work", size=2, workers=2) if name == "many" else run(
            job, lambda _: Models(engine=FakeEngine(answer_by_marks))
        )  # fmt: skip
        outputs.append((files.decisions.read_bytes(), content["families"], content["families_settled"]))
    assert outputs[0] == outputs[1]
    assert outputs[0][1] == {"claim (guessed)": 12, "question (guessed)": 6}


def test_a_family_of_ones_own_is_asked_by_its_own_words() -> None:
    config = settings(family={"tickets": {"answers": ANSWERS, "examples": EXAMPLES}}).cleaning
    engine = FakeEngine(answer_by_marks)
    cleaned = list(clean_groups(tickets(2), Models(engine=engine), config=config))
    assert {(c.family, c.family_from) for c in cleaned} == {("tickets", "map")}
    first = engine.asked[0].messages
    assert ANSWERS in first[0].content
    assert first[2].content == 'Yes, the words are "Turn the volume up"'
    assert first[4].content == "No"


def test_with_other_families_chosen_it_is_for_subsets_of_its_name_and_those_named() -> None:
    config = settings(family={"my tickets": {"answers": ANSWERS}}, families={"mine": "my_tickets"}).cleaning
    engine = FakeEngine(answer_by_marks)

    def family(**extra: Any) -> str:
        return next(iter(clean_groups(tickets(1, **extra), Models(engine=engine), config=config))).family

    assert family(subset="mine") == family(subset="My-Tickets") == "my tickets"
    assert family(subset="fever") == "claim"


def test_examples_are_taken_from_the_groups_where_none_are_given() -> None:
    config = settings(family={"tickets": {"answers": ANSWERS}}).cleaning
    groups = tickets()
    settled, _ = open_groups(groups, config)
    again, _ = open_groups(groups, config)
    assert settled == again
    examples = settled.family["tickets"].examples
    assert [e.answer is None for e in examples] == [True, False, True, False]
    for example in examples:
        positive = next(g.positives[0].text for g in groups if g.query == example.query)
        assert (example.passage == positive) == (example.answer is not None)
        assert example.answer is None or example.answer in example.passage
    assert settled.families.opened == Opened()
    # One group gives none, and the run goes on without.
    assert open_groups(groups[:1], config)[0].family["tickets"].examples == ()


def test_what_was_taken_is_in_the_summary_and_can_be_given_again(tmp_path: Path) -> None:
    with formats.GroupWriter(tmp_path / "in.jsonl", "tevatron") as writer:
        for each in tickets():
            writer.write(each)
    config = settings(family={"tickets": {"answers": ANSWERS}})
    files = Files.beside(str(tmp_path / "out.jsonl"))
    job = Job(input=str(tmp_path / "in.jsonl"), files=files, config=config.cleaning, whole=config.record)
    content = run(job, lambda _: Models(engine=FakeEngine(answer_by_marks)))
    assert list(content["prompts"]) == ["tickets"]
    read = check(RunConfig, gather(files.summary))
    assert len(read.family["tickets"].examples) == 4
    assert find_prompts("tickets", read.cleaning).hashes == content["prompts"]["tickets"]


def test_each_word_of_it_is_part_of_its_hash_and_no_other_family_changes() -> None:
    own = OwnFamily(answers=ANSWERS, examples=EXAMPLES)  # type: ignore[arg-type]
    hashes = make_prompts(own).hashes
    assert len({*hashes.values()}) == 5
    for change in ({"answers": ANSWERS + "!"}, {"prompt": "{passage} {query}"}, {"examples": ()}):
        changed = make_prompts(OwnFamily.model_validate(own.model_dump() | change)).hashes
        assert changed["extract"] != hashes["extract"]
        assert changed["check"] != hashes["check"]
    config = settings(family={"tickets": own.model_dump()}).cleaning
    assert choose_prompt(Family.CLAIM, config).hash == prompts.load("claim").check.hash
    assert set(set_up(config, Models(engine=FakeEngine(answer_by_marks)).record)) == {*Family, "tickets"}


@pytest.mark.parametrize("text", ["{passage}", "{query} {0}", "}{", "%s {known}", "{{}}"])
def test_texts_are_filled_in_as_they_are(text: str) -> None:
    own = OwnFamily.model_validate(
        {
            "answers": text or ANSWERS,
            "examples": [{"query": text, "passage": text, "answer": text}, {"query": "q", "passage": text}],
        }
    )
    made = make_prompts(own)
    for prompt in (made.extract, made.check, made.fullness):
        shown = prompt.messages(passage=text, query=text, known=text)
        assert text in shown[0].content
        assert shown[-1].content.count(text) >= 2


def test_examples_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in EXAMPLES), "utf-8")
    config = settings(family={"tickets": {"answers": ANSWERS, "examples": str(path)}})
    assert [e.answer for e in config.family["tickets"].examples] == ["Turn the volume up", None]
    by_hand = gather(None, ['family.tickets.answers="x"', f'family.tickets.examples="{path}"'])
    assert len(check(RunConfig, by_hand).family["tickets"].examples) == 2


GOOD: dict[str, Any] = {"answers": ANSWERS}


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"question": GOOD}, "'question' is a family that comes with arhn"),
        ({"Dupli-cate": GOOD}, "is a family that comes with arhn"),
        ({"tickets": GOOD, "Tickets": GOOD}, "are one name"),
        ({"--": GOOD}, "is no name for a family"),
        ({"tickets": {}}, "is missing"),
        ({"tickets": {"answers": " "}}, "is empty"),
        ({"tickets": {"answers": 3}}, "answers"),
        ({"tickets": "how"}, "tickets"),
        ("tickets", "expected a table"),
        ({"tickets": {**GOOD, "example": "x"}}, "tickets.example: no such setting. Keys: answers, prompt, examples"),
        ({"tickets": {**GOOD, "prompt": "Ticket: {query}"}}, "has no {passage}"),
        ({"tickets": {**GOOD, "prompt": "{passage} {query} {name}"}}, "{name} isn't a field"),
        ({"tickets": {**GOOD, "prompt": "{passage} {query} {"}}, "can't be filled in"),
        ({"tickets": {**GOOD, "prompt": "{passage:>9} {query}"}}, "can't have formats"),
        ({"tickets": {**GOOD, "prompt": "{passage.x} {query}"}}, "has no {passage}"),
        ({"tickets": {**GOOD, "examples": "nowhere.jsonl"}}, "can't be read"),
        ({"tickets": {**GOOD, "examples": "."}}, "can't be read"),
        ({"tickets": {**GOOD, "examples": 3}}, "expected the path"),
        ({"tickets": {**GOOD, "examples": EXAMPLES[:1]}}, "no example of a passage that doesn't answer"),
        ({"tickets": {**GOOD, "examples": EXAMPLES * 9}}, "more than 16 examples"),
        ({"tickets": {**GOOD, "examples": [{**EXAMPLES[0], "answer": "elsewhere"}]}}, "isn't a part of the passage"),
        ({"tickets": {**GOOD, "examples": [{"query": "x"}]}}, "example 1: passage: Field required"),
    ],
)
def test_what_is_wrong_with_a_family_of_ones_own(table: Any, says: str, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"family": table}), "utf-8")
    with pytest.raises(UsageError) as caught:
        check(RunConfig, gather(path))
    assert says in str(caught.value)
    assert "families" not in str(caught.value).partition(":")[0]


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"", b"3\n", b"[" * 100_000, b'{"query": "\\ud800"}'])
def test_what_is_wrong_with_a_file_of_examples(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_bytes(content)
    with pytest.raises(ValidationError, match=r"mine\.jsonl"):
        CleanConfig(family={"tickets": {**GOOD, "examples": path}})  # type: ignore[dict-item]


def test_a_subset_may_have_it_and_a_family_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match="'ticket' isn't a family") as caught:
        settings(family={"tickets": GOOD}, families={"a": "ticket"})
    assert "tickets" in str(caught.value)


def test_an_answer_that_breaks_changes_no_label() -> None:
    def script(_: Request) -> Completion | str:
        return "garbage"

    config = settings(family={"tickets": GOOD}).cleaning
    for cleaned in clean_groups(tickets(3), Models(engine=FakeEngine(script)), config=config):
        assert {d.action for d in cleaned.decisions} == {"keep"}
