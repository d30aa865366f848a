"""The family of a data set as a whole, and tasks that rows name."""

from pathlib import Path
from typing import Any

import pytest
from bench.family_forms import MIXED, WRITTEN, mix, read_written

from arhn.families.choice import FamilyMap, family_of, open_families
from arhn.families.data_set import LEAST, SAMPLE, TOO_FEW, decide
from arhn.families.family import Family
from arhn.families.form import guess
from arhn.families.named_tasks import find_task
from arhn.types import Group, Passage

SETS = {name: (family, groups) for name, family, groups in read_written(WRITTEN)}
DATA = Path(__file__).parents[3] / "shared" / "data"


def group(query: str, positive: str = "Some passage of a few words that says something.", **extra: Any) -> Group:
    return Group(
        query_id=query[:40] or "q",
        query=query,
        positives=(Passage(doc_id="p", text=positive),),
        negatives=(),
        extra=extra,
    )


@pytest.mark.parametrize("name", SETS)
def test_the_family_of_a_data_set_without_a_name(name: str) -> None:
    family, groups = SETS[name]
    opened = open_families(groups, FamilyMap())
    assert opened.opened is not None
    assert opened.opened.whole is not None
    assert opened.opened.whole.family is family
    assert {family_of(each, opened).family for each in groups} == {family}


@pytest.mark.parametrize(("one", "other"), MIXED[:3])
def test_two_families_in_one_file_are_told_apart_by_sure_signs(one: str, other: str) -> None:
    assert mix(SETS, one, other)["rows"] >= 0.9


def test_a_few_rows_say_nothing_together() -> None:
    _, groups = SETS["support_tickets"]
    decision = decide(groups[: LEAST - 1])
    assert decision.family is None
    assert decision.why == TOO_FEW
    assert decision.find_family("Honey never spoils.") is Family.CLAIM


def test_only_the_first_groups_count_and_in_any_number() -> None:
    _, questions = SETS["nq"]
    _, claims = SETS["fever"]
    first = (list(questions) * 10)[:SAMPLE]
    assert open_families(first, FamilyMap()) == open_families([*first, *claims], FamilyMap())
    assert decide(first).groups == SAMPLE


def test_one_query_that_looks_otherwise_is_taken_for_what_the_others_are() -> None:
    _, tickets = SETS["support_tickets"]
    decision = decide(tickets)
    assert guess("The export contains only one row.") is Family.CLAIM
    assert decision.find_family("The export contains only one row.") is Family.QUESTION


def test_subsets_are_decided_by_themselves() -> None:
    def named(name: str) -> list[Group]:
        return [group(g.query, g.positives[0].text, subset=f"mine {name}") for g in SETS[name][1]]

    groups = [each for pair in zip(named("fever"), named("support_tickets"), strict=True) for each in pair]
    opened = open_families(groups, FamilyMap())
    assert family_of(group("It is red.", subset="Mine_Fever"), opened).family is Family.CLAIM
    assert family_of(group("It is red.", subset="mine support-tickets"), opened).family is Family.QUESTION
    # One that isn't among the first groups: by its own form.
    assert family_of(group("It is red.", subset="another"), opened).family is Family.CLAIM


def test_a_field_with_another_value_in_every_row_names_no_subset() -> None:
    groups = [group(g.query, g.positives[0].text, source=f"page {i}") for i, g in enumerate(SETS["support_tickets"][1])]
    opened = open_families(groups, FamilyMap())
    assert family_of(group("It is red.", source="page 4000"), opened).family is Family.QUESTION


def test_names_and_maps_come_before_the_whole() -> None:
    opened = open_families(SETS["support_tickets"][1], FamilyMap.of({"mine": "title"}))
    assert family_of(group("It is red.", subset="fever"), opened) == (Family.CLAIM, "known", "subset", "fever")
    assert family_of(group("It is red.", subset="mine"), opened).family is Family.TITLE


@pytest.mark.parametrize(
    ("field", "text", "family"),
    [
        ("prompt", "Retrieve semantically similar text.", Family.PARAPHRASE),
        ("prompt", "Given a premise, retrieve a hypothesis that is entailed by the premise", Family.PARAPHRASE),
        ("type", "symmetric_sts", Family.PARAPHRASE),
        ("type", "only_1neg", Family.PARAPHRASE),
        ("task", "nli", Family.PARAPHRASE),
        ("prompt", "Given a question, retrieve questions that are semantically equivalent", Family.DUPLICATE),
        ("prompt", "Find the duplicates of this post", Family.DUPLICATE),
        ("prompt", "Given a claim, find documents that refute the claim", Family.ARGUMENT),
        ("instruction", "Given a scientific claim, retrieve documents that support or refute the claim", Family.CLAIM),
        ("prompt", "Given a scientific paper title, retrieve paper abstracts that are cited", Family.TITLE),
        ("prompt", "Given a query, retrieve relevant entity descriptions from DBPedia", Family.TITLE),
        ("prompt", "Given a web search query, retrieve relevant passages that answer the query.", Family.QUESTION),
        ("prompt", "Given a question, retrieve Wikipedia passages that answer the question", Family.QUESTION),
        ("prompt", "Find the matching intent.", None),
        ("prompt", "Given a banking query, find the intent.", None),
        ("type", "symmetric_class", None),
        ("type", "symmetric_clustering", None),
        ("prompt", "Identify the topic or theme of the given news articles", None),
        ("prompt", "Classify the sentiment of the review", None),
    ],
)
def test_a_task_that_a_row_names(field: str, text: str, family: Family | None) -> None:
    found = find_task(group("The harbour bridge was opened in 1931.", **{field: text}))
    assert found is not None
    assert found == (family, field, text)
    choice = family_of(group("The harbour bridge was opened in 1931.", **{field: text}))
    assert choice.family == (family or "")
    assert choice.source in ("named", "known")


@pytest.mark.parametrize(
    "extra",
    [
        {"prompt": "Represent this sentence for searching relevant passages:"},
        {"prompt": "search_query: "},
        {"type": "normal"},
        {"task": "retrieval"},
        {"prompt": 3},
        {"prompt": "x" * 5000},
        {"type": ["symmetric_sts"]},
        {},
    ],
)
def test_what_names_no_task(extra: dict[str, Any]) -> None:
    assert find_task(group("Honey never spoils.", **extra)) is None


def test_a_question_with_one_negative_stays_a_question() -> None:
    assert find_task(group("Who built the bridge?", type="only_1neg")) is None


def test_an_instruction_comes_before_a_type() -> None:
    one = group("Honey never spoils.", prompt="Retrieve passages that answer the question", type="only_1neg")
    assert family_of(one).family is Family.QUESTION


def test_rows_left_alone_are_named() -> None:
    groups = [group(f"text {i}", prompt="Find the matching intent.") for i in range(3)]
    opened = open_families(groups, FamilyMap()).opened
    assert opened is not None
    assert opened.left_alone == ("Find the matching intent.",)
    assert opened.whole is None
    # A choice of the user's comes first.
    assert family_of(groups[0], FamilyMap.of({"*": "title"})).family is Family.TITLE


@pytest.mark.parametrize(
    "query",
    [
        "I can't log in",
        "My printer doesn't print.",
        "kubectl restart all pods",
        "sort a list of dicts by key python",
        "convert string to datetime",
        "Ways to mend a tap",
        "How to mend a tap",
        "The app crashes on launch.",
        "Please cancel the order",
        "Drucker druckt nicht",
        "无法登录账户",
        "印刷できない",
        "لا يعمل التطبيق",
        "не работает микрофон",
    ],
)
def test_problems_requests_and_commands_are_questions(query: str) -> None:
    assert guess(query) is Family.QUESTION


@pytest.mark.parametrize("query", ["a " * 50000, "error" * 20000, "geht " * 20000, "keeps " * 20000, "(" * 50000])
@pytest.mark.timeout(20)
def test_odd_texts_take_no_time(query: str) -> None:
    decide([group(query, query)] * LEAST)
