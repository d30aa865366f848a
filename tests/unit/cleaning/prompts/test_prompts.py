import json
import tomllib
from collections import Counter
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from arhn import formats
from arhn.cleaning import prompts
from arhn.families.choice import family_of
from arhn.families.family import Family
from arhn.types import Group

DEMO = Path(__file__).parents[4] / "demo" / "families"
OWN = [family for family in Family if family is not Family.QUESTION]
LABELS = {"false_negative", "true_negative", "ambiguous"}
FIELDS = {
    "extract": {"passage", "query"},
    "rank": {"query", "candidates"},
    "pivot": {"query", "first", "second"},
    "fullness": {"passage", "query", "snippet"},
}
#: Answers in stores and calibrations are for these words: a new hash is a new question.
HASHES = {
    "question": {
        "extract": "82d5ae6a56a0113a",
        "check": "70f7a39fe8a90117",
        "rank": "d103658ec27557ab",
        "pivot": "9ba77278c7c0de0d",
        "fullness": "a6cc737866063731",
    },
    "claim": {
        "extract": "815a88dd10779169",
        "check": "2e1d2e89aa6527fd",
        "rank": "3aa67ee917069c1e",
        "pivot": "cc4ee164f980bb30",
        "fullness": "1e81e1daf9787cd3",
    },
    "argument": {
        "extract": "41e5b8a4644306eb",
        "check": "e5d5c4487f648471",
        "rank": "dc17c679f4f6d64b",
        "pivot": "c99ee0df7fe765d6",
        "fullness": "cb1e53d1ffe3aa5d",
    },
    "title": {
        "extract": "17feffc006492226",
        "check": "c1d13129307a38ff",
        "rank": "cd7481cca11ddeb9",
        "pivot": "f5bead65dd2ceae6",
        "fullness": "4e6044a20ca35919",
    },
    "duplicate": {
        "extract": "6ac1a20779d70023",
        "check": "1e828a9e0f878d0d",
        "rank": "60cde9f5c40659a9",
        "pivot": "a5cc8b9298dba98e",
        "fullness": "97c7e16ecf526944",
    },
    "paraphrase": {
        "extract": "7cff45a8c0d4e986",
        "check": "8d5ca3f79d587067",
        "rank": "158c036e6abe08fb",
        "pivot": "283beb7d66447752",
        "fullness": "29e87de27aee4eb1",
    },
}
#: What the texts of a request may hold.
HOSTILE = ["{query}", "{passage}", "{0}", "{", "}", "{{}}", "%s", "{query!r:>99}", 'Yes, the answer is "']


@cache
def family_file(family: str) -> dict[str, Any]:
    return tomllib.loads(files("arhn.cleaning.prompts").joinpath(f"{family}.toml").read_text("utf-8"))


@cache
def groups(name: str) -> tuple[Group, ...]:
    return tuple(formats.read(DEMO / f"{name}.jsonl"))


def gold(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DEMO / name).read_text("utf-8").splitlines()]


@pytest.mark.parametrize("family", Family)
def test_a_family_has_all_its_parts(family: str) -> None:
    data = family_file(family)
    assert set(data) == {"description", "answers", *FIELDS}
    assert all(data[key].strip() == data[key] and "\n" not in data[key] for key in ("description", "answers"))
    for stage in FIELDS:
        assert all(data[stage][part] for part in ("system", "user")), stage
    assert set(data["extract"]) == {"system", "user", "no_answer", "lead", "close", "known", "examples"}
    assert set(data["extract"]["known"]) == {"system", "user"}
    # A passage can't look like the known answer: that is shown on a line of its own, after the query.
    assert data["extract"]["known"]["user"].startswith("\n")
    assert data["extract"]["known"]["user"].endswith("{known}")
    assert set(data["fullness"]) == {"system", "user", "examples"}


@pytest.mark.parametrize("family", Family)
def test_words_stay_so_that_stored_answers_and_calibrations_fit(family: str) -> None:
    assert prompts.load(family).hashes == HASHES[family]


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("hostile", HOSTILE)
def test_texts_are_filled_in_as_they_are(family: str, hostile: str) -> None:
    for stage, names in FIELDS.items():
        fields = {name: f"{name}: {hostile}" for name in names}
        template = family_file(family)[stage]["user"]
        filled = template.format(**fields)
        assert all(value in filled for name, value in fields.items() if name != "snippet"), stage


@pytest.mark.parametrize("family", Family)
def test_the_passage_stands_before_the_query(family: str) -> None:
    for stage in ("extract", "fullness"):
        template = family_file(family)[stage]["user"]
        assert template.index("{passage}") < template.index("{query}")


@pytest.mark.parametrize("family", Family)
def test_examples_of_extraction_are_answers_that_can_be_read(family: str) -> None:
    extract = family_file(family)["extract"]
    assert extract["lead"].startswith("Yes")
    answers = [example["answer"] for example in extract["examples"]]
    assert Counter(answer == extract["no_answer"] for answer in answers) == {True: 2, False: 2}
    for example in extract["examples"]:
        assert set(example["fields"]) == {"passage", "query", "known"}
        if example["answer"] == extract["no_answer"]:
            continue
        assert example["answer"].startswith(extract["lead"])
        assert example["answer"].endswith(extract["close"])
        snippet = example["answer"].removeprefix(extract["lead"]).removesuffix(extract["close"])
        assert snippet
        assert snippet in example["fields"]["passage"]


@pytest.mark.parametrize("family", Family)
def test_the_known_answer_is_shown_to_check_and_not_to_extract(family: str) -> None:
    loaded = prompts.load(family)
    fields = {"query": "QUERY", "passage": "PASSAGE {known}", "known": "KNOWN"}
    assert "KNOWN" not in loaded.extract.messages(**fields)[-1].content
    assert loaded.check.messages(**fields)[-1].content.endswith(": KNOWN")
    assert "{known}" in loaded.check.messages(**fields)[-1].content
    assert len({*loaded.hashes.values()}) == len(loaded.hashes)


@pytest.mark.parametrize("family", Family)
def test_examples_of_fullness_say_yes_as_often_as_no(family: str) -> None:
    examples = family_file(family)["fullness"]["examples"]
    assert Counter(example["answer"] for example in examples) == {"Yes": 2, "No": 2}
    assert all(set(example["fields"]) == {"passage", "query"} for example in examples)


@pytest.mark.parametrize("family", Family)
def test_prompts_stay_short(family: str) -> None:
    extract = family_file(family)["extract"]
    written = extract["system"] + "".join("".join(e["fields"].values()) + e["answer"] for e in extract["examples"])
    assert len(written) < 2400


def test_gold_labels_every_negative() -> None:
    labels = {row["query_id"]: row for row in gold("gold.jsonl")}
    assert len(labels) == len(gold("gold.jsonl")) == sum(len(groups(family)) for family in OWN)
    for family in OWN:
        for group in groups(family):
            row = labels[group.query_id]
            assert row["family"] == family
            assert row["split"] == "demo"
            assert row["answer"]
            assert set(row["labels"]) == {p.doc_id for p in group.negatives}
            assert set(row["labels"].values()) <= LABELS
            found = Counter(row["labels"].values())
            assert len(group.positives) == 1
            assert found["false_negative"] in (1, 2)
            assert found["true_negative"] in (3, 4)
            assert found["ambiguous"] <= 1


def test_gold_of_fullness_is_complete() -> None:
    rows = {row["query_id"]: row["full"] for row in gold("partial.gold.jsonl")}
    assert set(rows) == {group.query_id for group in groups("partial")}
    for group in groups("partial"):
        full = rows[group.query_id]
        assert set(full) == {p.doc_id for p in group.passages}
        assert set(full.values()) == {"full", "partial", "none"}
        assert {full[p.doc_id] for p in group.positives} == {"full"}


def test_no_text_stands_there_twice() -> None:
    texts = Counter(p.text for name in (*OWN, "partial") for group in groups(name) for p in group.passages)
    assert max(texts.values()) == 1


def test_no_example_of_a_prompt_is_in_the_gold_data() -> None:
    texts = {p.text for name in (*OWN, "partial") for group in groups(name) for p in group.passages}
    texts |= {group.query for name in (*OWN, "partial") for group in groups(name)}
    for family in Family:
        for stage in ("extract", "fullness"):
            for example in family_file(family)[stage]["examples"]:
                assert texts.isdisjoint(example["fields"].values())


@pytest.mark.parametrize("family", OWN)
def test_each_group_is_given_its_family(family: Family) -> None:
    choices = [family_of(group) for group in groups(family)]
    assert {choice.family for choice in choices} == {family}
    sources = {choice.source for choice in choices}
    of_passages = family in (Family.DUPLICATE, Family.PARAPHRASE)
    assert sources == ({"known"} if of_passages else {"known", "guessed"})


def test_questions_of_two_parts_are_questions() -> None:
    assert {family_of(group).family for group in groups("partial")} == {Family.QUESTION}
